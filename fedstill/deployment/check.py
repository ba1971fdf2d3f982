"""`fedstill.check`: what a network comes to as a student or a teacher, before any run."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedstill_proto.errors import FedstillError
from fedstill_proto.system.extras import require_extra

from fedstill.models import Student

if TYPE_CHECKING:
    import numpy as np
    from fedstill_proto.arrays import Parameters
    from fedstill_proto.package.artifact import TrainingArtifact
    from fedstill_server.export.build import ArtifactOptions
    from fedstill_server.export.gate import GateReport
    from torch import nn

    from fedstill.models import Network

_ROWS = 16
_MANY_BYTES = 4 << 20  # of a weight update
_SLOWER = 1.25
_REPEATS, _LEAST_SECONDS = 7, 0.4
_STEPS_OF_A_ROUND = 8


class CheckError(FedstillError):
    """What is to be checked, or what it would read, is not what it has to be."""


@dataclass(frozen=True, kw_only=True)
class NetworkCost:
    """What a student takes.

    Attributes:
        package_bytes: The graphs and weights that a device installs.
        update_bytes: All that it trains and moves, in float32, as a weight update has it.
        update_bytes_int8: The same in 8 bits, with a scale for each block of 32 values.
        step_ms: Of a training step on one thread, by the device's own code: the median of some runs.
        torch_step_ms: Of the same step in eager torch on one thread, measured in turn with it.
        answer_ms: Of an answer to one example.
        memory_bytes: At most about what training takes beside the runtime itself.
    """

    package_bytes: int
    update_bytes: int
    update_bytes_int8: int
    step_ms: float
    torch_step_ms: float
    answer_ms: float
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class GateFigures:
    """The largest relative differences from torch in float64, over 20 steps with one and two threads.

    Attributes:
        agreeing_steps: How many of a large network's steps agreed, each taken by itself; 0 where they were
            taken in a row.
        answers: Of the inference graph's answers from torch's, relative to the largest.
    """

    gradients: float
    losses: float
    parameters: float
    agreeing_steps: int
    answers: float


@dataclass(frozen=True, kw_only=True)
class Check:
    """What a network comes to.

    Attributes:
        network: Its name.
        role: "student" or "teacher".
        input_shape: Of one example.
        classes: How many there are.
        rows: Examples of a training step.
        trained: Values that learn by gradients.
        moving: Values that training moves without gradients, such as the means of batch normalization.
        frozen: Values that nobody changes.
        problems: Why it cannot be one, a line each; none where it can.
        missing: Every operator that has no translation, with how often it stands there and the line of the
            network that made it.
        cost: What it takes; None where it has no graph, and of teachers.
        gate: How far it is from torch in float64; None where it has no graph, and of teachers.
        one_at_a_time: Why a simulator cannot train several devices in one run of the graph; "" where it can.
        answer_ms: Of a teacher's answers to `rows` examples; 0 of students.
        advice: What to change, or to know, a line each.
    """

    network: str
    role: str
    input_shape: tuple[int, ...]
    classes: int
    rows: int
    trained: int = 0
    moving: int = 0
    frozen: int = 0
    problems: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    cost: NetworkCost | None = None
    gate: GateFigures | None = None
    one_at_a_time: str = ""
    answer_ms: float = 0.0
    advice: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether it can be what it was checked as."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """All figures, as JSON has them."""
        return {"fits": self.fits, **dataclasses.asdict(self)}

    def __str__(self) -> str:
        if self.problems:
            return f"{self.network} cannot be a {self.role}: " + "; ".join(self.problems)
        return (
            f"{self.network} can be a {self.role}: {self.trained:,} values train, {self.frozen:,} are frozen"
        )


def check(
    network: Student | Network,
    *,
    input_shape: Sequence[int],
    classes: int = 10,
    rows: int = _ROWS,
    optimizer: str = "sgd",
    teacher: bool = False,
    cache: Path | None = None,
) -> Check:
    """Say what a network comes to as a student or a teacher, before any run.

    A student is captured, translated and compared with torch in float64, and its step and answers are timed
    beside eager torch on one thread. What keeps it from being one is said all at once.

    Args:
        network: A class or function of torch modules, the name of a family, `module:Net`, or a `Student`;
            for a teacher, what stands for one on a command line, or a network that is made already.
        input_shape: The shape of one example.
        classes: How many classes there are.
        rows: Examples of a training step.
        optimizer: "sgd", "momentum" or "adamw".
        teacher: Check it as a teacher: only its answers matter.
        cache: A folder that keeps the training graph of a student that fits.

    Raises:
        FedstillError: The network cannot be found or built, or the shape or the classes are none.
        MissingExtra: fedstill[sim] is not installed.

    Example:
        >>> import fedstill as fs
        >>> fs.check("mlp-small", input_shape=(8, 8)).fits
        True
    """
    require_extra("server", what="fedstill.check")
    shape = tuple(input_shape)
    if not shape or not all(isinstance(size, int) and size > 0 for size in shape):
        raise CheckError(
            f"input_shape {shape}: give the sizes of one example, each 1 or more, such as (3, 32, 32)"
        )
    if classes < 2:
        raise CheckError(f"classes {classes}: a classifier tells 2 classes apart at least")
    if rows < 2:
        raise CheckError(f"rows {rows}: a step takes 2 examples at least, of which one may be padding")
    if teacher:
        return _teacher(network, shape, classes, rows)
    return _student(network, shape, classes, rows, optimizer, cache)


def _student(
    network: Student | Network,
    shape: tuple[int, ...],
    classes: int,
    rows: int,
    optimizer: str,
    cache: Path | None,
) -> Check:
    from fedstill_proto.messages import Optimizer
    from fedstill_server.export.build import ArtifactOptions, captured_student
    from fedstill_server.families import FAMILIES, build_student
    from fedstill_server.families.state import frozen_tensors, student_state

    from fedstill.chosen import family_of_student

    if optimizer not in [each.value for each in Optimizer]:
        known = ", ".join(each.value for each in Optimizer)
        raise CheckError(f"optimizer {optimizer!r}: give one of {known}")
    family, _ = family_of_student(network if isinstance(network, Student) else Student(network))
    if FAMILIES.form_of(family).tables:
        raise CheckError(
            f"{family}: a student of text is built for a vocabulary; benchmarks/keyboard.py has one"
        )
    built = build_student(family, shape, classes)
    state = student_state(built)
    known_so_far = Check(
        network=family,
        role="student",
        input_shape=shape,
        classes=classes,
        rows=rows,
        trained=_values(state.trainable),
        moving=_values(state.buffers),
        frozen=_values(frozen_tensors(built)),
    )
    options = ArtifactOptions(
        family=family,
        input_shape=shape,
        classes=classes,
        optimizer=Optimizer(optimizer),
        soft_labels="dense",
        stack_size=1,
        step_rows=rows,
    )
    try:
        captured = captured_student(options)
    except FedstillError as error:
        return dataclasses.replace(
            known_so_far,
            problems=(f"it cannot be captured: {_first_line(error)}",),
            advice=(
                "What a network computes may depend on the shapes of its examples, and not on their values: "
                "write an `if` on values as torch.where.",
            ),
        )
    if missing := captured.missing():
        return dataclasses.replace(
            known_so_far,
            problems=(f"{len(missing)} operators have no translation to ONNX",),
            missing=tuple(map(str, missing)),
            advice=("Write these lines with other operators; all that is missing is named above.",),
        )
    return _measured(known_so_far, options, cache)


def _measured(found: Check, options: ArtifactOptions, cache: Path | None) -> Check:
    """Add what needs the graphs: the gate, the inference graph, the times and the stack."""
    import numpy as np
    from fedstill_client.model.predictor import Predictor
    from fedstill_proto.package.artifact import StudentPackage
    from fedstill_server.export.build import build_artifact, captured_student
    from fedstill_server.export.cache import keep_artifact
    from fedstill_server.export.gate import verify_artifact
    from fedstill_server.export.int8 import quantize_student
    from fedstill_server.export.stacks import stack_bytes
    from fedstill_server.export.student import export_student
    from fedstill_server.families import FAMILIES, build_student, initial_parameters

    try:
        artifact = build_artifact(options, verify=False)
        report = verify_artifact(artifact)
        if cache is not None:
            keep_artifact(artifact, cache / options.folder_name)
        first = initial_parameters(options.family, found.input_shape, found.classes, 0)
        manifest, graph = export_student(
            family=options.family, input_shape=found.input_shape, classes=found.classes, parameters=first
        )
    except FedstillError as error:
        return dataclasses.replace(found, problems=(_first_line(error),))
    predictor = Predictor(StudentPackage(manifest, graph, first))
    form = FAMILIES.form_of(options.family)
    x = form.random((found.rows, *found.input_shape), classes=found.classes, random=np.random.default_rng(0))
    answers = _answer_difference(
        build_student(options.family, found.input_shape, found.classes), predictor, x
    )
    step, torch_step = _step_times(artifact, first)
    eight_bit = quantize_student(graph, first)
    values = sum(spec.size for spec in artifact.manifest.parameters)
    cost = NetworkCost(
        package_bytes=len(graph) + _bytes(artifact) + 4 * values + (len(eight_bit.graph) if eight_bit else 0),
        update_bytes=4 * values,
        update_bytes_int8=values + 4 * math.ceil(values / 32),
        step_ms=1e3 * step,
        torch_step_ms=1e3 * torch_step,
        answer_ms=1e3 * min(_seconds(lambda: predictor.logits(x[:1])) for _ in range(20)),
        memory_bytes=stack_bytes(artifact),
    )
    checked = dataclasses.replace(
        found,
        cost=cost,
        gate=_gate(report, answers),
        one_at_a_time=captured_student(options).one_at_a_time if FAMILIES.is_own(options.family) else "",
    )
    return dataclasses.replace(checked, advice=tuple(_advice(checked, cost)))


def _advice(found: Check, cost: NetworkCost) -> list[str]:
    advice = []
    if found.one_at_a_time:
        advice.append(f"Simulations train one device at a time: {found.one_at_a_time}.")
    if cost.step_ms > _SLOWER * cost.torch_step_ms:
        advice.append(
            f"A step takes {cost.step_ms / cost.torch_step_ms:.1f} times as long as in torch on one thread."
        )
    if cost.update_bytes > _MANY_BYTES:
        advice.append(
            f'Methods that send weights send {cost.update_bytes / 1e6:.1f} MB a round; train="head" or '
            'train="lora:8" of fs.Student sends far less, and soft labels send no weights at all.'
        )
    return advice


def _step_times(artifact: TrainingArtifact, first: Parameters) -> tuple[float, float]:
    """A training step's median seconds on the device, and in eager torch, in turn and on one thread each."""
    import numpy as np
    import torch
    from fedstill_client.model.batches import plan_batches
    from fedstill_client.model.private_stack import PrivateStack
    from fedstill_client.model.trainer import Personalizer
    from fedstill_proto.messages import RoundTask, SummaryKind, SummaryRequest, TrainingPlan
    from fedstill_server.export.reference import ReferenceStudent, one_torch_thread
    from fedstill_server.export.trial import learning_rate, random_batch, share

    manifest, rate = artifact.manifest, learning_rate(artifact.manifest)
    batch = random_batch(manifest, 0, rows=manifest.step_rows)
    # All rows weigh: what the device trains on has no padding.
    own = {
        **share(batch, 0),
        "hard_weight": np.full(manifest.step_rows, 0.4 / manifest.step_rows, np.float32),
        "soft_weight": np.full(manifest.step_rows, 0.6 / manifest.step_rows, np.float32),
    }
    personalizer = Personalizer(artifact)
    private = PrivateStack(batch["x"], batch["labels"], np.array([manifest.step_rows]))
    # Examples go through a frozen first part once a round, and not once a step.
    taken = _STEPS_OF_A_ROUND if manifest.prefix_shape else 1
    plan = TrainingPlan(
        epochs=taken,
        batch_size=manifest.step_rows,
        learning_rate=rate,
        optimizer=manifest.optimizer,
        temperature=1.0,
        soft_weight=0.0,
        seed=0,
    )
    task = RoundTask("check", 0, manifest.family, plan, SummaryRequest(SummaryKind.NONE))
    steps = plan_batches(private, np.zeros(1, np.uint64), task, manifest=manifest)
    reference = ReferenceStudent(manifest, first, dtype=torch.float32)

    def ours() -> None:
        personalizer.take(steps, 0, taken)

    def theirs() -> None:
        reference.step(own, learning_rate=rate)

    personalizer.train(first, steps, copy=False)
    with one_torch_thread():
        theirs()
        repeats = max(_REPEATS, min(50, int(_LEAST_SECONDS / max(_seconds(theirs), 1e-4))))
        pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(repeats)]
    device, torch_ = (statistics.median(each) for each in zip(*pairs, strict=True))
    return device / taken, torch_


def _teacher(network: Any, shape: tuple[int, ...], classes: int, rows: int) -> Check:
    import numpy as np
    from fedstill_server.distill.teachers.opening import open_teacher
    from fedstill_server.teachers.registry import TEACHERS
    from torch import nn

    from fedstill.chosen import importable_place

    name = network if isinstance(network, str) else importable_place(network)
    if name is None:
        name = getattr(network, "__name__", type(network).__name__)
        TEACHERS.register(name, network)
    teacher = open_teacher(name, input_shape=shape, classes=classes)
    x = np.random.default_rng(0).normal(size=(rows, *shape)).astype(np.float32)
    made = next((each for each in vars(teacher).values() if isinstance(each, nn.Module)), None)
    found = Check(
        network=name,
        role="teacher",
        input_shape=shape,
        classes=classes,
        rows=rows,
        trained=0 if made is None else _values(dict(made.named_parameters())),
    )
    try:
        answered = teacher.answer(x).logits.shape
        seconds = min(_seconds(lambda: teacher.answer(x)) for _ in range(3))
    except FedstillError as error:
        return dataclasses.replace(found, problems=(_first_line(error),))
    except Exception as error:  # whatever its own code raises
        problem = f"it does not answer examples [{rows}, {_sizes(shape)}]: {_first_line(error)}"
        return dataclasses.replace(found, problems=(problem,))
    if answered != (rows, classes):
        problem = f"to {rows} examples it answers {list(answered)}; its logits should be [{rows}, {classes}]"
        return dataclasses.replace(found, problems=(problem,))
    return dataclasses.replace(found, answer_ms=1e3 * seconds)


def _answer_difference(built: nn.Module, predictor: Any, x: np.ndarray) -> float:
    """The largest difference of the inference graph's answers from torch's, relative to the largest."""
    import numpy as np
    import torch

    with torch.no_grad():
        expected = built.eval()(torch.from_numpy(x)).numpy()
    difference = np.abs(predictor.logits(x) - expected).max() / max(1.0, np.abs(expected).max())
    return float(difference)


def _gate(report: GateReport, answers: float) -> GateFigures:
    return GateFigures(
        gradients=report.gradients.artifact,
        losses=report.losses.artifact,
        parameters=report.parameters.artifact,
        agreeing_steps=report.agreeing,
        answers=max(answers, report.logits.artifact),
    )


def _bytes(artifact: TrainingArtifact) -> int:
    return sum(len(content) for content in artifact.contents().values())


def _seconds(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _values(tensors: dict[str, Any]) -> int:
    return sum(tensor.numel() for tensor in tensors.values())


def _sizes(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
