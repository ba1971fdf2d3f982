"""All of a student package's inspection, as one value."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort
from fedstill_proto.arrays import FloatArray
from fedstill_proto.package.artifact import StudentPackage, load_student

from fedstill_server.calibration import Calibration, calibration, fitted_temperature
from fedstill_server.data.forms import Labels
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.tasks import DistillTask
from fedstill_server.distill.teachers import TeacherModel
from fedstill_server.inspection.agreement import Agreement, agreement
from fedstill_server.inspection.corruption import Answer, CorruptedAccuracy, corrupted_accuracies
from fedstill_server.inspection.energy import Energy, energy_of
from fedstill_server.inspection.outliers import outlier_auroc
from fedstill_server.inspection.surrogate import Surrogate, surrogate

DEFAULT_WATTS = 5.0
"""What a small board takes under load; the figure of your board is better."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """All figures of an inspection.

    Attributes:
        task: The task's name.
        family: The student's.
        parameters: How many values the student has.
        package_bytes: The size of the package.
        test_examples: How many examples it was tested on.
        plain: Its calibration as it is.
        scaled: The same after temperature scaling; None without examples to fit it on.
        scaling_examples: How many those were.
        corrupted: Accuracies under noise, blur and rotation.
        outliers: AUROC by kind of outlier.
        agreement: With the teacher, if there is one.
        int8_agreement: How often the 8-bit graph and the float32 graph have the same first choice.
        surrogate: A decision tree that imitates the student.
        energy: What an answer costs.
    """

    task: str
    family: str
    parameters: int
    package_bytes: int
    test_examples: int
    plain: Calibration
    scaled: Calibration | None
    scaling_examples: int
    corrupted: tuple[CorruptedAccuracy, ...]
    outliers: tuple[tuple[str, float], ...]
    agreement: Agreement | None
    int8_agreement: float | None
    surrogate: Surrogate
    energy: Energy

    def to_json(self) -> dict[str, Any]:
        document = dataclasses.asdict(self)
        if self.agreement is not None:
            document["agreement"]["worst"] = dataclasses.asdict(self.agreement.worst)
        return document


def inspect_package(
    folder: Path, task: DistillTask, *, teacher: TeacherModel | None = None, watts: float = DEFAULT_WATTS
) -> Inspection:
    """Inspect a package.

    It asks the package's own graph through ONNX Runtime, with one thread, as a device would.

    Args:
        folder: The package's.
        task: What it was made for.
        teacher: Whom to compare it with.
        watts: What the board takes under load, where energy cannot be measured.

    Raises:
        DistillError: The package is not made for the task, or is text.
    """
    package = load_student(folder)
    manifest = package.manifest
    if manifest.input_shape != task.input_shape or manifest.classes != task.classes:
        raise DistillError(
            f"{folder}: takes {list(manifest.input_shape)} and knows {manifest.classes} classes; task "
            f"{task.name} has {list(task.input_shape)} and {task.classes}"
        )
    if task.form.labels is Labels.EACH_PLACE:
        raise DistillError(
            f"{folder}: is of text, which cannot be inspected; distill.json has its accuracy and perplexity"
        )
    assert task.test.y is not None
    answer, x, y = _answering(package.inference_graph), task.test.x, task.test.y
    logits = answer(x)
    fit_x, fit_y = task.validation.x, task.validation.y
    scaled = None
    if fit_y is not None and len(fit_y):
        scaled = calibration(logits, y, temperature=fitted_temperature(answer(fit_x), fit_y))
    return Inspection(
        task=task.name,
        family=manifest.family,
        parameters=manifest.parameter_count,
        package_bytes=sum(part.size_bytes for part in manifest.parts),
        test_examples=len(y),
        plain=calibration(logits, y),
        scaled=scaled,
        scaling_examples=len(fit_x),
        corrupted=tuple(corrupted_accuracies(answer, x, y)),
        outliers=tuple(outlier_auroc(answer, x).items()),
        agreement=None
        if teacher is None
        else agreement(x, y, logits, teacher.answer(x).logits, groups=task.test_groups),
        int8_agreement=_int8_agreement(package, x, logits),
        surrogate=surrogate(task.public.x, answer(task.public.x).argmax(-1), x, logits.argmax(-1)),
        energy=energy_of(answer, x, watts=watts),
    )


def _answering(graph: bytes) -> Answer:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def answer(x: FloatArray) -> FloatArray:
        logits: FloatArray = session.run(["logits"], {"x": x})[0]
        return logits

    return answer


def _int8_agreement(package: StudentPackage, x: FloatArray, logits: FloatArray) -> float | None:
    if package.int8_graph is None:
        return None
    return float((_answering(package.int8_graph)(x).argmax(-1) == logits.argmax(-1)).mean())
