"""`fedstill.distill`: a student from a teacher and examples in memory, as a package for devices."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.errors import FedstillError, unknown_name
from fedstill_proto.package.input_rule import InputRule
from fedstill_proto.system.extras import require_extra
from fedstill_server.config.options import values_of
from fedstill_server.data.examples import Examples
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.distill.registry import TECHNIQUES
from fedstill_server.distill.request import DistillRequest

from fedstill.chosen import as_students, family_of_student, importable_place
from fedstill.examples import as_array, checked_x, checked_y, pair
from fedstill.models import PackagedStudent, Student, Teacher

if TYPE_CHECKING:
    from fedstill_server.distill.run import Outcome
    from fedstill_server.distill.tasks import DistillTask
    from fedstill_server.distill.teachers import TeacherModel
    from fedstill_server.distill.text_tables import TextRows

    from fedstill.models import Network

_USUAL_STUDENT = "mlp-32"
_HELD_OUT = 0.25  # of the labelled examples, to measure on where no others are given
_REQUEST = ("answers", "combination", "trainable", "normalize", "channels")
_PLAN = tuple(field.name for field in fields(DistillPlan) if field.name != "seed")


class Distilled:
    """A distilled student, and how good it is.

    Attributes:
        student: The student, which answers from ONNX Runtime.
        package: The folder with its package, which `fedstill.publish` and devices take. A temporary folder
            goes when this object does.
        accuracy: The share of the test examples that the student gets right.
        teacher_accuracy: The teacher's share; None where there is no teacher.
        exits: The accuracy of further students that a technique made, by family.
        notes: What happened, in words.
    """

    def __init__(self, outcome: Outcome, *, kept: tempfile.TemporaryDirectory[str] | None = None) -> None:
        self.student = PackagedStudent.load(outcome.package)
        self.package = outcome.package
        self.accuracy = outcome.accuracy
        self.teacher_accuracy = outcome.teacher_accuracy
        self.exits = dict(outcome.exits)
        self.notes = outcome.notes
        self._kept = kept

    def predict(self, x: Any) -> npt.NDArray[np.float32]:
        """Return class probabilities [n, classes] of examples as they are given [n, *shape], or of texts."""
        return self.student.predict(x)

    def __repr__(self) -> str:
        teacher = "" if self.teacher_accuracy is None else f", the teacher's {self.teacher_accuracy:.1%}"
        return f"<Distilled {self.student.family}: accuracy {self.accuracy:.1%}{teacher}>"


def distill(
    teacher: Any,
    *,
    public: Any,
    student: Student | Network = _USUAL_STUDENT,
    private: tuple[Any, Any] | None = None,
    test: tuple[Any, Any] | None = None,
    techniques: Sequence[Any] = ("kd",),
    seed: int = 0,
    **options: Any,
) -> Distilled:
    """Distil a student from a teacher, or several, and pack it for devices.

    Args:
        teacher: A torch module, an estimator with `predict_proba`, a `Teacher`, or a name: an .onnx file, the
            folder of a run or a package, `module:name`, or `train:mlp-128-128` for one that is trained on the
            labels first. A list of several is an ensemble; None learns the labels alone.
        public: Examples that the teacher is asked about: x [n, *shape], or a tuple (x, y) where their labels
            may be learned, too. Or a list of texts, or one beside a list of their labels: teacher and student
            are then models of Hugging Face by their places, such as "hf:models/bert".
        student: What is made: the name of a family, a class of torch modules, or a `Student`.
        private: (x, y), examples whose labels the student learns besides.
        test: (x, y) to measure on; by default a quarter of the labelled examples is held out for that.
        techniques: Objects of `fedstill.techniques`, or names; at most one of them a recipe.
        seed: Decides every random draw.
        **options: epochs, batch_size, learning_rate, weight_decay, temperature, soft_weight, input_noise,
            online and checkpoint_epochs of the training; combination of several teachers; trainable, whether
            devices may train the student; answers, a file that keeps the teacher's; out, a folder to keep;
            normalize and channels, as of `Fleet.from_arrays`, which the package carries: a teacher that is
            given reads what the student reads, so that "auto" scales uint8 alone, by 1/255.

    Returns:
        The student with its package.

    Raises:
        FedstillError: An argument does not fit; the text names it.
        MissingExtra: fedstill[server] is not installed.

    Example:
        >>> import fedstill as fs
        >>> data = fs.datasets.digits().data
        >>> public, test = (data.public_x, data.public_y), (data.global_x, data.global_y)
        >>> small = fs.distill("train:mlp-32", public=public, test=test, student="mlp-8", epochs=2)
        >>> small.predict(data.global_x[:3]).shape
        (3, 10)
    """
    require_extra("server", what="fedstill.distill")
    from fedstill_server.distill.run import distil_task, rule_for

    known = (*_PLAN, *_REQUEST, "out")
    for name in options:
        if name not in known:
            raise unknown_name("distill: option", name, known)
    if is_texts(public):
        return _of_texts(teacher, public, student, private, test, techniques, seed=seed, options=options)
    names, tables = _techniques(techniques)
    (wanted,) = as_students(student)
    family, place = family_of_student(wanted)
    given = teacher if isinstance(teacher, list | tuple) else () if teacher is None else (teacher,)
    request = DistillRequest(
        task="arrays in memory",
        teacher=tuple(one for one in map(_network, given) if isinstance(one, str)),
        family=f"{family}={place}" if place else family,
        technique=names if given or techniques != ("kd",) else (),
        options=tables,
        plan=DistillPlan(seed=seed, **{name: options[name] for name in _PLAN if name in options}),
        **{name: options[name] for name in _REQUEST if name in options},
    )
    shared = public[0] if isinstance(public, tuple) and public else public
    rule = rule_for(
        request,
        as_array("public", "x", shared),
        given=len(given) > len(request.teacher),
    )
    task = _task(public, private, test, seed=seed, rule=rule)
    teachers = [_answering(one, task) for one in map(_network, given) if not isinstance(one, str)]
    kept = tempfile.TemporaryDirectory(prefix="fedstill-") if options.get("out") is None else None
    folder = Path(kept.name if kept else options["out"])
    folder.mkdir(parents=True, exist_ok=True)
    return Distilled(distil_task(request, task, folder, teachers=teachers), kept=kept)


def _of_texts(
    teacher: Any,
    public: Any,
    student: Any,
    private: Any,
    test: Any,
    techniques: Sequence[Any],
    *,
    seed: int,
    options: Mapping[str, Any],
) -> Distilled:
    """The same of texts."""
    from fedstill_server.distill.run import distil_task
    from fedstill_server.distill.subword_plan import SUBWORD_PLAN
    from fedstill_server.distill.subword_request import open_subwords
    from fedstill_server.distill.text_tables import text_files

    given = teacher if isinstance(teacher, list | tuple) else () if teacher is None else (teacher,)
    if not all(isinstance(one, str) for one in (*given, student)):
        raise DistillError(
            "teacher: of texts, teachers and students are named by places, such as hf:models/bert"
        )
    names, tables = _techniques(techniques)
    plan = {**SUBWORD_PLAN, **{name: options[name] for name in _PLAN if name in options}}
    request = DistillRequest(
        task="texts in memory",
        teacher=tuple(given),
        family="" if student == _USUAL_STUDENT else student,
        technique=names,
        options=tables,
        plan=DistillPlan(seed=seed, **plan),
        **{name: options[name] for name in _REQUEST if name in options},
    )
    files = text_files(
        "texts", text_rows("public", public), private=_rows("private", private), test=_rows("test", test)
    )
    request, task = open_subwords(request, files)
    kept = tempfile.TemporaryDirectory(prefix="fedstill-") if options.get("out") is None else None
    folder = Path(kept.name if kept else options["out"])
    folder.mkdir(parents=True, exist_ok=True)
    return Distilled(distil_task(request, task, folder), kept=kept)


def is_texts(given: Any) -> bool:
    """Whether examples are texts, or texts beside their labels."""
    texts = given[0] if isinstance(given, tuple) and given else given
    return isinstance(texts, list) and bool(texts) and all(isinstance(text, str) for text in texts)


def _rows(where: str, given: Any) -> TextRows | None:
    return None if given is None else text_rows(where, given)


def text_rows(where: str, given: Any) -> TextRows:
    """Texts, or texts beside their labels, as a table has them; None as a label is unknown."""
    from fedstill_server.distill.text_tables import TextRows

    texts, labels = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    if not is_texts(texts) or (labels is not None and len(labels) != len(texts)):
        raise DistillError(f"{where}: give a list of texts, or a tuple of one and a list of as many labels")
    named = None if labels is None else ["" if label is None else str(label) for label in labels]
    return TextRows(texts=texts, labels=named)


def _techniques(given: Sequence[Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The names of techniques and recipes, and a table of those options that differ from their defaults."""
    names: list[str] = []
    tables: dict[str, Any] = {}
    for part in (given,) if isinstance(given, str) else given:
        if isinstance(part, str):
            names.append(part)
            continue
        kind = part if isinstance(part, type) else type(part)
        name = TECHNIQUES.name_of(kind) or importable_place(kind)
        if name is None:
            name = str(getattr(kind, "name", kind.__name__))
            TECHNIQUES.register(name, kind)
        TECHNIQUES.load(name, where="techniques")
        names.append(name)
        if not isinstance(part, type):
            usual = values_of(kind())
            tables[name] = {key: value for key, value in values_of(part).items() if value != usual[key]}
    return tuple(names), tables


def _network(given: Any) -> Any:
    return given.network if isinstance(given, Teacher) else given


def _answering(given: Any, task: DistillTask) -> TeacherModel:
    """A teacher that answers, of a torch module, an estimator, or what makes one."""
    from fedstill_server.distill.teachers import EstimatorTeacher, TorchTeacher
    from fedstill_server.families.family import family_of
    from fedstill_server.plugins import called
    from fedstill_server.teachers.registry import is_made
    from torch import nn

    name = getattr(given, "__name__", type(given).__name__)
    if not is_made(given):
        try:
            given = family_of(given).build(task.input_shape, task.classes)
        except FedstillError as error:
            raise DistillError(f"teacher: {name}: {error}") from None
    teacher: TeacherModel = (
        TorchTeacher(given, name=name)
        if isinstance(given, nn.Module)
        else EstimatorTeacher(given, classes=task.classes, name=name)
    )
    called(f"teacher: {name}", lambda: teacher.answer(task.public.x[:1]))
    return teacher


def _task(public: Any, private: Any, test: Any, *, seed: int, rule: InputRule) -> DistillTask:
    """The examples, checked, as a student learns them and is measured on them."""
    from fedstill_server.distill.tasks import DistillTask

    shared = _read("public", public if isinstance(public, tuple) else (public, None), rule)
    shape = rule.given_shape(shared.x.shape[1:])
    own = Examples(shared.x[:0], np.zeros(0, np.int64))
    if private is not None:
        own = _read("private", private, rule, shape)
    parts: dict[str, Examples] = {"public": shared, "private": own}
    if test is None:
        parts["test"] = _hold_out(parts, seed=seed)
    else:
        parts["test"] = _read("test", test, rule, shape)
    labelled = [part for name, part in parts.items() if name != "test" and part.y is not None]
    known = [part.y for part in (*labelled, parts["test"]) if part.y is not None and len(part)]
    teaching = Examples(
        np.concatenate([part.x for part in labelled]),
        np.concatenate([part.y for part in labelled if part.y is not None]),
    )
    return DistillTask(
        name="arrays",
        classes=max(2, max(int(y.max()) for y in known) + 1),
        public=parts["public"],
        private=parts["private"],
        validation=Examples(shared.x[:0], np.zeros(0, np.int64)),
        test=parts["test"],
        teaching=teaching,
        input_rule=rule,
    )


def _read(
    where: str, given: tuple[Any, Any], rule: InputRule, shape: tuple[int, ...] | None = None
) -> Examples:
    x, y = pair(where, given)
    checked = rule.apply(checked_x(where, "x", x, shape))
    return Examples(checked, None if y is None else checked_y(where, "y", y, len(checked)))


def _hold_out(parts: dict[str, Examples], *, seed: int) -> Examples:
    """A quarter of the larger labelled part, which is taken out of it."""
    sizes: Mapping[str, int] = {name: len(part) for name, part in parts.items() if part.y is not None}
    name = max(sizes, key=lambda one: sizes[one])
    part, count = parts[name], round(sizes[name] * _HELD_OUT)
    if count == 0 or part.y is None:
        raise DistillError("test: needed to measure the student, since no examples have labels; give (x, y)")
    order = np.random.default_rng(seed).permutation(len(part))
    kept, held = np.sort(order[count:]), np.sort(order[:count])
    parts[name] = Examples(part.x[kept], part.y[kept])
    return Examples(part.x[held], part.y[held])
