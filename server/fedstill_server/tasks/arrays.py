"""The task of most fleets: arrays of real numbers, each of one class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from fedstill_proto.errors import InvalidValue
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.input_rule import InputRule
from fedstill_proto.package.target import SINGLE_LABEL
from fedstill_proto.package.target_labels import TargetReader, target_reader
from fedstill_proto.readers.classes import UNLABELLED, LabelNames, label_array, names_of_labels
from fedstill_proto.readers.errors import DataError
from fedstill_proto.readers.given import GivenExamples, class_numbers, is_table

from fedstill_server.config.fleet import FleetConfig, TeacherConfig
from fedstill_server.data.errors import ExamplesError
from fedstill_server.data.examples import Examples, npz_of
from fedstill_server.data.forms import AMOUNTS
from fedstill_server.families import ARRAYS
from fedstill_server.tasks.array_files import ArrayFiles, read_array_files
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
        """.npz files with x [n, *shape] and y [n], tables, or folders of pictures or windows."""
        given = read_array_files(files.public, files.test, files.reading, columns=files.columns)
        rule = files.input_rule or InputRule()
        if files.input_rule is None and self.form.amounts and given.columns is None:
            try:
                rule = InputRule.of(given.public.x, normalize=files.normalize, channels=files.channels)
            except InvalidValue as error:
                raise ExamplesError(f"{files.public}: {error}") from None
        try:
            names = _label_names(given, files)
            public, test = self._examples(given.public, names, rule), None
            contents = {"public.npz": _kept(files.public, given.public, public)}
            if given.test is not None and files.test is not None:
                test = self._examples(given.test, names, rule, labels_needed=True)
                contents["test.npz"] = _kept(files.test, given.test, test)
        except DataError as error:
            raise ExamplesError(str(error)) from None
        return Material(
            task=self,
            public=public,
            classes=names.classes,
            teacher=self.default_teacher(len(public), made=False),
            files=contents,
            test=test,
            input_rule=rule,
            class_names=names.names if isinstance(names, LabelNames) else (),
            columns=given.columns,
            target=SINGLE_LABEL if isinstance(names, LabelNames) else names.target,
        )

    def _examples(
        self,
        part: GivenExamples,
        names: LabelNames | TargetReader,
        rule: InputRule,
        *,
        labels_needed: bool = False,
    ) -> Examples:
        """What a network reads of examples as they are given."""
        checked = self.form.checked(part.x, classes=names.classes, where=part.where)
        x = self.form.checked(rule.apply(checked), classes=names.classes, where=part.where)
        if part.y is None and not labels_needed:
            return Examples(x)
        if isinstance(names, TargetReader):
            return Examples(x, names(part))
        y = class_numbers(part, names, unlabelled=not labels_needed)
        return Examples(x, None if np.all(y == UNLABELLED) else y)


def _label_names(given: ArrayFiles, files: FleetFiles) -> LabelNames | TargetReader:
    """The classes, which the labels show or somebody says; or what reads labels of another target."""
    labelled = [part for part in (given.public, given.test) if part is not None and part.y is not None]
    if not files.target.is_class:
        return target_reader(labelled, files.target, public=given.public, where=str(files.public))
    labels = [label_array(part.y, where=part.labels) for part in labelled]
    if given.public.y is not None:
        return names_of_labels(labels, where=given.public.labels, classes=files.classes)
    if files.classes is None:
        raise ExamplesError(
            f"{files.public}: it holds no labels y; say how many classes there are (--classes)."
        )
    return LabelNames(files.classes)


def _kept(path: Path, given: GivenExamples, examples: Examples) -> bytes:
    """The content of a file of the fleet: the given one, where nothing had to be changed."""
    same_x = examples.x.dtype == given.x.dtype and np.array_equal(examples.x, given.x)
    y = np.asarray(given.y)
    same_y = examples.y is None or (y.dtype.kind == examples.y.dtype.kind and np.array_equal(examples.y, y))
    return (
        path.read_bytes() if path.is_file() and not is_table(path) and same_x and same_y else npz_of(examples)
    )
