"""What a student is to learn: the public set, a labelled private part, and what it is judged by.

Here arrays of one class each; texts, whose labels are the words that come next, are a task of their own
(text_task.py).
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.package.input_rule import InputRule
from torch import nn

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.data.digits import CLASSES, FIRST_ROWS, digits_examples
from fedstill_server.data.examples import Examples, load_examples
from fedstill_server.data.forms import AMOUNTS, ExampleForm
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.run_folder import CONFIG_FILE, read_fleet_config
from fedstill_server.tasks.interface import NO_FILES, PackageFiles

DIGITS_TEST = 500
DIGITS_VALIDATION = 100


@dataclass(frozen=True, kw_only=True)
class DeviceStep:
    """The step of training that a package brings a device; as in ArtifactOptions."""

    soft_labels: str = "dense"
    k: int = 0
    rows: int = 64
    vocabulary: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class DistillTask:
    """`public` may have labels, `private`, `validation` and `test` have them; the middle two may be empty.

    teaching: what a teacher that is trained on the spot learns, all labels that there are. test_groups: a
    name for each test example (a writer, a site), by which slices are made; None where there are none.

    Attributes:
        form: Of its examples.
        default_family: The student where none is named.
        teacher_plan: How a teacher that is trained on the spot learns.
        rows_asked: Examples that a teacher is asked about at a time, to measure it; 0 is all.
        keeps_answers: Whether a teacher's logits of all examples fit into memory, and are kept.
        class_name: What its classes are called.
        hint: What to do where a teacher has others.
        input_rule: How the examples were made of values as they are given.
        class_names: Of all classes, or none.
    """

    form: ClassVar[ExampleForm] = AMOUNTS
    default_family: ClassVar[str] = "mlp-32"
    teacher_plan: ClassVar[DistillPlan] = DistillPlan(batch_size=32, learning_rate=1e-3, input_noise=0.1)
    rows_asked: ClassVar[int] = 0
    keeps_answers: ClassVar[bool] = True
    class_name: ClassVar[str] = "classes"
    hint: ClassVar[str] = ""

    name: str
    classes: int
    public: Examples
    private: Examples
    validation: Examples
    test: Examples
    teaching: Examples
    test_groups: tuple[str, ...] | None = None
    files: PackageFiles = NO_FILES
    input_rule: InputRule = field(default_factory=InputRule)
    class_names: tuple[str, ...] = ()

    @classmethod
    def is_at(cls, name: str) -> bool:
        """Whether a task of this name is of this kind."""
        return True

    @property
    def score_name(self) -> str:
        """What a student's score is: the share of labels that are its first choice."""
        return "accuracy"

    @property
    def has_classes(self) -> bool:
        """Whether an answer says which class an example is of."""
        return True

    def scored(self, answers: Answers) -> float | None:
        """A score in the place of accuracy, of what answers examples; None where accuracy counts."""
        return None

    @property
    def places(self) -> int:
        """Labels of an example."""
        return math.prod(self.form.label_shape(self.input_shape))

    def measured(self, network: nn.Module) -> dict[str, float]:
        """How good a network is on the test examples, beside its accuracy."""
        return {}

    def device_step(self) -> DeviceStep:
        """What a device's step of training is over."""
        return DeviceStep()

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.public.x.shape[1:]


Answers = Callable[[FloatArray], FloatArray]
"""What a student or a teacher says of examples [n, *input_shape]."""
RuleOf = Callable[[npt.NDArray[Any]], InputRule]
"""Gives the rule of public examples [n, ...] as they are given."""


def open_task(
    name: str,
    *,
    seed: int = 0,
    private_labels: int = 100,
    public_labels: bool = False,
    rule_of: RuleOf = InputRule.of,
) -> DistillTask:
    """`digits`, or a folder: public.npz (x, maybe y), test.npz (x, y), maybe private.npz and validation.npz.

    Args:
        name: The task's.
        seed: Of every draw.
        private_labels: Of digits, how many examples the student knows the labels of.
        public_labels: Whether the public set's labels may be used.
        rule_of: How inputs are scaled. The files of a fleet or a run are scaled already, by its own rule.
    """
    if name == "digits":
        task = _digits(seed=seed, private_labels=private_labels)
    else:
        task = _folder(Path(name), rule_of)
    if public_labels:
        return task
    return DistillTask(**{**vars(task), "public": Examples(task.public.x)})


def _digits(*, seed: int, private_labels: int) -> DistillTask:
    """1,797 digits in a seeded order: test, validation, the private part, and the public set."""
    x, y = digits_examples()
    most = len(x) - DIGITS_TEST - DIGITS_VALIDATION - 1
    if not 0 <= private_labels <= most:
        raise DistillError(f"private_labels: {private_labels} is not from 0 to {most}")
    order = np.random.default_rng(seed).permutation(len(x))
    cuts = np.cumsum([DIGITS_TEST, DIGITS_VALIDATION, private_labels])
    test, validation, private, public = np.split(order, cuts)
    rest = order[cuts[1] :]
    return DistillTask(
        name="digits",
        classes=CLASSES,
        public=Examples(x[public], y[public]),
        private=Examples(x[private], y[private]),
        validation=Examples(x[validation], y[validation]),
        test=Examples(x[test], y[test]),
        teaching=Examples(x[rest], y[rest]),
        test_groups=tuple(f"writer {_writer(row):02d}" for row in test),
    )


def _writer(row: int) -> int:
    return int(np.searchsorted(FIRST_ROWS, row, side="right"))


def _folder(folder: Path, rule_of: RuleOf) -> DistillTask:
    public_path, test_path = folder / "public.npz", folder / "test.npz"
    if not test_path.is_file():
        test_path = folder / "global_test.npz"  # a fleet's
    for path in (public_path, test_path):
        if not path.is_file():
            raise DistillError(
                f"task: {path} is missing; give `digits`, a folder with public.npz and test.npz, "
                "or text: a .txt file, or a folder with public.txt"
            )
    given_shape, classes = _outline(test_path)
    fleet = _fleet_of(public_path)
    if fleet is not None:
        rule, shape, classes = InputRule(), given_shape, fleet.classes
    else:
        rule = _rule(public_path, rule_of)
        shape = rule.read_shape(given_shape)
    public = load_examples(public_path, input_shape=shape, classes=classes, rule=rule)
    test = load_examples(test_path, input_shape=shape, classes=classes, labels_needed=True, rule=rule)

    def maybe(name: str) -> Examples:
        path = folder / name
        if not path.is_file():
            return Examples(public.x[:0], np.zeros(0, np.int64))
        return load_examples(path, input_shape=shape, classes=classes, labels_needed=True, rule=rule)

    private, validation = maybe("private.npz"), maybe("validation.npz")
    labelled = [part for part in (public, private) if part.y is not None and len(part)]
    teaching = Examples(
        np.concatenate([part.x for part in labelled]) if labelled else public.x[:0],
        np.concatenate([part.y for part in labelled if part.y is not None])
        if labelled
        else np.zeros(0, np.int64),
    )
    return DistillTask(
        name=folder.resolve().name,
        classes=classes,
        public=public,
        private=private,
        validation=validation,
        test=test,
        teaching=teaching,
        input_rule=rule if fleet is None else fleet.input_rule,
        class_names=() if fleet is None else fleet.class_names,
    )


def _fleet_of(public: Path) -> FleetConfig | None:
    """The configuration of the fleet, or of the run, whose public set the file is."""
    for folder in (public.parent, public.parent.parent):
        if (folder / CONFIG_FILE).is_file():
            config = read_fleet_config(folder)
            return config if (folder / config.public_set).resolve() == public.resolve() else None
    return None


def _rule(public: Path, rule_of: RuleOf) -> InputRule:
    try:
        with np.load(public, allow_pickle=False) as file:
            x = file["x"]
        rule = rule_of(x)
        rule.check(rule.read_shape(x.shape[1:]))
        return rule
    except InvalidValue as error:
        raise DistillError(f"{public}: {error}") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DistillError(f"{public}: not an .npz file with x ({error})") from None


def _outline(path: Path) -> tuple[tuple[int, ...], int]:
    """The shape of an example and the number of classes, by the test set."""
    try:
        with np.load(path, allow_pickle=False) as file:
            y: IntArray = file["y"]
            shape: tuple[int, ...] = file["x"].shape[1:]
    except (OSError, ValueError, KeyError) as error:
        raise DistillError(f"{path}: not an .npz file with x and y ({error})") from None
    if y.size == 0 or y.dtype.kind not in "iu" or y.min() < 0 or y.max() < 1:
        raise DistillError(f"{path}: y holds no labels from 0 to 1 or more")
    return shape, int(y.max()) + 1
