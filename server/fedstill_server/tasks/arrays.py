"""The task of most fleets: arrays of real numbers, each of one class."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import IntArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.input_rule import InputRule

from fedstill_server.config.fleet import FleetConfig, TeacherConfig
from fedstill_server.data.errors import ExamplesError
from fedstill_server.data.examples import Examples, load_examples, npz_of
from fedstill_server.data.forms import AMOUNTS
from fedstill_server.families import ARRAYS
from fedstill_server.tasks.interface import FleetFiles, LocalWork, Material, Task

if TYPE_CHECKING:
    from fedstill_server.tasks.training import ServerTraining


class ArrayTask(Task):
    """Classes of arrays: pictures, measurements, tables."""

    line = "arrays of numbers, each of one class"
    form = AMOUNTS
    families_of = (ARRAYS,)

    def training(self, config: FleetConfig) -> ServerTraining:
        from fedstill_server.tasks.training import ServerTraining  # torch takes a second to import

        return ServerTraining(config)

    def default_work(self, *, labelled: bool) -> LocalWork:
        return LocalWork(epochs=20, batch_size=16, learning_rate=0.02, optimizer=Optimizer.MOMENTUM)

    def default_teacher(self, examples: int, *, made: bool) -> TeacherConfig:
        return TeacherConfig()

    def read(self, files: FleetFiles) -> Material:
        """.npz files: x [n, *shape] and y [n]."""
        x, labels = _x_and_labels(files.public)
        rule = InputRule()
        if self.form.amounts:
            try:
                rule = InputRule.of(x, normalize=files.normalize, channels=files.channels)
            except InvalidValue as error:
                raise ExamplesError(f"{files.public}: {error}") from None
        shape = rule.read_shape(x.shape[1:])
        classes = files.classes or (None if labels is None else int(labels.max()) + 1)
        if classes is None:
            raise ExamplesError(
                f"{files.public}: it holds no labels y; say how many classes there are (--classes)."
            )
        public, test = self._examples(files.public, shape, classes, rule), None
        contents = {"public.npz": _as_read(files.public, public, rule)}
        if files.test is not None:
            test = self._examples(files.test, shape, classes, rule, labels_needed=True)
            contents["test.npz"] = _as_read(files.test, test, rule)
        return Material(
            task=self,
            public=public,
            classes=classes,
            teacher=self.default_teacher(len(public), made=False),
            files=contents,
            test=test,
            input_rule=rule,
        )

    def _examples(
        self,
        path: Path,
        shape: tuple[int, ...],
        classes: int,
        rule: InputRule,
        *,
        labels_needed: bool = False,
    ) -> Examples:
        return load_examples(
            path, input_shape=shape, classes=classes, labels_needed=labels_needed, form=self.form, rule=rule
        )


def _as_read(path: Path, examples: Examples, rule: InputRule) -> bytes:
    """The content of a file of the fleet, of a file with examples as they are given."""
    return path.read_bytes() if rule.changes_nothing else npz_of(examples)


def _x_and_labels(path: Path) -> tuple[npt.NDArray[Any], IntArray | None]:
    """Examples and labels, before either is checked."""
    try:
        with np.load(path, allow_pickle=False) as file:
            x = file["x"]
            labels = np.asarray(file["y"]) if "y" in file.files else None
    except FileNotFoundError:
        raise ExamplesError(f"{path}: no such file") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ExamplesError(f"{path}: not an .npz file with an array x ({error})") from None
    if x.ndim < 2 or (labels is not None and not labels.size):
        raise ExamplesError(f"{path}: x has shape {list(x.shape)}, expected [n, *shape of an example]")
    return x, labels
