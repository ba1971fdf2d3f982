"""All of a student package's inspection, as one value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fedstill_proto.package.artifact import StudentPackage, load_student

from fedstill_server.calibration import Calibration
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.subword_task import SubwordTask
from fedstill_server.distill.tasks import DistillTask
from fedstill_server.distill.teachers import TeacherModel
from fedstill_server.inspection.agreement import Agreement
from fedstill_server.inspection.corruption import CorruptedAccuracy
from fedstill_server.inspection.energy import Energy
from fedstill_server.inspection.explaining import Explained, explained
from fedstill_server.inspection.forms import GraphForm, answering, forms_of
from fedstill_server.inspection.graph.cost import GraphCost
from fedstill_server.inspection.judging.judges import judge_of
from fedstill_server.inspection.judging.of_classes import ClassJudge
from fedstill_server.inspection.judging.quality import Judge, Quality
from fedstill_server.inspection.measuring import Speed, graph_cost, speed_of
from fedstill_server.inspection.options import INT8, InspectOptions
from fedstill_server.inspection.parting.asking import ask_both
from fedstill_server.inspection.parting.report import Parting
from fedstill_server.inspection.speed.machine import Machine, this_machine
from fedstill_server.inspection.stepping import StepSpeed, step_speed_of, streaming_package
from fedstill_server.inspection.surrogate import Surrogate
from fedstill_server.inspection.tokens import TextFigures

OnStage = Callable[[str, int, int], None]
"""Is told what is looked at, how much of it is done, and of how much."""

_STEPS = 0.3  # the share of a form's seconds that steps of one token get


@dataclass(frozen=True, kw_only=True)
class FormReport:
    """One form of the graph: float32, or one of 8 bits.

    Attributes:
        name: The form's.
        stored_bytes: Of its graph and weights in a package.
        score: Its accuracy, or what the task has in its place.
        agreement: How often it and the float32 form have the same first choice; of vectors, the same nearest
            other example.
        cosine: Of vectors, the mean cosine with those of the float32 form; None of others.
        plain: Its calibration as it is; None of vectors.
        scaled: The same after temperature scaling.
        next_tokens: Of a student of text; None of classes.
        cost: What one example takes, by the graph.
        speed: What was measured; None where nothing was.
        step: A step of one token; None where it has no such graph.
    """

    name: str
    stored_bytes: int
    score: float
    agreement: float
    cosine: float | None
    plain: Calibration | None
    scaled: Calibration | None
    next_tokens: TextFigures | None
    cost: GraphCost
    speed: Speed | None
    step: StepSpeed | None


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """All figures of an inspection.

    Attributes:
        task: The task's name.
        family: The student's.
        parameters: How many values the student has.
        package_bytes: The size of the package.
        package_parts: The bytes of each of its files.
        test_examples: How many examples it was tested on; of text, rows.
        score_name: What its score is: accuracy, or what the task has in its place.
        plain: Its calibration as it is; of text, by token; None of vectors.
        scaled: The same after temperature scaling; None without examples to fit it on.
        scaling_examples: How many those were; of text, tokens.
        corrupted: Accuracies under noise, blur and rotation; of names, where some are left out.
        outliers: AUROC by kind of outlier; none of text and vectors.
        agreement: With the teacher, if there is one.
        int8_agreement: How often the 8-bit graph and the float32 graph have the same first choice.
        surrogate: A decision tree that imitates the student; None of text and vectors.
        energy: What an answer costs; None where nothing was measured.
        forms: The forms of the graph, float32 first.
        machine: What speed and energy were measured on.
        options: How.
        parting: Where it and its teacher part most, if there is one.
    """

    task: str
    family: str
    parameters: int
    package_bytes: int
    package_parts: tuple[tuple[str, int], ...]
    test_examples: int
    score_name: str
    plain: Calibration | None
    scaled: Calibration | None
    scaling_examples: int
    corrupted: tuple[CorruptedAccuracy, ...]
    outliers: tuple[tuple[str, float], ...]
    agreement: Agreement | None
    int8_agreement: float | None
    surrogate: Surrogate | None
    energy: Energy | None
    forms: tuple[FormReport, ...]
    machine: Machine
    options: InspectOptions
    parting: Parting | None = None

    @property
    def next_tokens(self) -> TextFigures | None:
        """Of next tokens, as float32."""
        return self.forms[0].next_tokens

    def to_json(self) -> dict[str, Any]:
        document = dataclasses.asdict(self)
        if self.agreement is not None:
            document["agreement"]["worst"] = dataclasses.asdict(self.agreement.worst)
        return document


def inspect_package(
    folder: Path,
    task: DistillTask,
    *,
    teacher: TeacherModel | None = None,
    options: InspectOptions | None = None,
    told: OnStage = lambda what, done, total: None,
) -> Inspection:
    """Inspect a package.

    It asks the package's own graphs through ONNX Runtime, with one thread unless the options say otherwise,
    as a device would.

    Args:
        folder: The package's.
        task: What it was made for.
        teacher: Whom to compare it with.
        options: How it is measured.
        told: Is told how far it is.

    Raises:
        DistillError: The package is not made for the task.
        InspectionError: ONNX Runtime does not run one of its graphs.
    """
    options = options or InspectOptions()
    package = load_student(folder)
    manifest = package.manifest
    if manifest.input_shape != task.input_shape or manifest.classes != task.classes:
        raise DistillError(
            f"{folder}: takes {list(manifest.input_shape)} and knows {manifest.classes} {task.class_name}; "
            f"task {task.name} has {list(task.input_shape)} and {task.classes}{task.hint}"
        )
    machine = this_machine(threads=options.threads)
    if isinstance(task, SubwordTask) and teacher is not None:
        asked = teacher
        task = task.compared_with(lambda x: asked.answer(x).logits)
    judge = judge_of(task, rows=options.rows)
    forms = forms_of(package, options.forms, task.public.x)
    told("asking its forms", 0, len(forms))
    qualities: dict[str, Quality] = {}
    for form in forms:
        qualities[form.name] = judge.quality(answering(form.graph))
        told("asking its forms", len(qualities), len(forms))
    reports = _reports(package, forms, qualities, judge, options, told)
    plain, answer = reports[0], answering(forms[0].graph)
    told("comparing it with its teacher", 0, 0)
    agreement = None if teacher is None else judge.agreement(answer, teacher)
    tried = Explained()
    if isinstance(judge, ClassJudge):
        told("changing what it reads", 0, 0)
        tried = explained(answer, task, judge)
    return Inspection(
        task=task.name,
        family=manifest.family,
        parameters=manifest.parameter_count,
        package_bytes=sum(part.size_bytes for part in manifest.parts),
        package_parts=tuple((part.name, part.size_bytes) for part in manifest.parts),
        test_examples=judge.examples,
        score_name=task.score_name,
        plain=plain.plain,
        scaled=plain.scaled,
        scaling_examples=qualities[plain.name].scaling_examples,
        corrupted=tried.corrupted,
        outliers=tried.outliers,
        agreement=agreement,
        int8_agreement=next((one.agreement for one in reports if one.name == INT8), None),
        surrogate=tried.surrogate,
        energy=None if plain.speed is None else plain.speed.energy,
        forms=tuple(reports),
        machine=machine,
        options=options,
        parting=None
        if teacher is None or not task.has_classes
        else ask_both(package, answer, task, teacher, rows=options.rows),
    )


def _reports(
    package: StudentPackage,
    forms: list[GraphForm],
    qualities: Mapping[str, Quality],
    judge: Judge,
    options: InspectOptions,
    told: OnStage,
) -> list[FormReport]:
    """What is said of each form, after measuring one after another."""
    manifest = package.manifest
    sizes = {spec.name: spec.size for spec in (*manifest.parameters, *manifest.frozen)}
    measured = options.seconds > 0
    streaming = streaming_package(package) if measured and manifest.labels_each_place else None
    seconds = options.seconds / len(forms)
    alone = seconds * (1 - _STEPS if streaming is not None else 1)
    reports = []
    for place, form in enumerate(forms):
        told(f"measuring {form.name}", place, len(forms))
        quality, first = qualities[form.name], qualities[forms[0].name]
        speed = step = None
        if measured:
            speed = speed_of(form, judge.x, accuracy=quality.score, seconds=alone, options=options)
        if streaming is not None:
            step = step_speed_of(streaming, form.name, judge.x, seconds=_STEPS * seconds, options=options)
        reports.append(
            FormReport(
                name=form.name,
                stored_bytes=form.stored_bytes,
                score=quality.score,
                agreement=float((quality.first == first.first).mean()),
                cosine=_mean_cosine(quality, first),
                plain=quality.plain,
                scaled=quality.scaled,
                next_tokens=quality.next_tokens,
                cost=graph_cost(form, judge.x, sizes),
                speed=speed,
                step=step,
            )
        )
    return reports


def _mean_cosine(one: Quality, other: Quality) -> float | None:
    if one.vectors is None or other.vectors is None:
        return None
    return float(np.einsum("nw,nw->n", one.vectors, other.vectors).mean())
