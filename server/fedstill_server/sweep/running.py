"""Distils the students of a sweep, one after another; one that is stopped goes on where it was.

<out>/sweep.json             what was asked for, every student, the curves; written anew after each student
<out>/sweep.html             the same to look at
<out>/points/<name>-<seed>/  a student's package, as distill writes it, and point.json
<out>/teacher/               checkpoints of a teacher that is trained here
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedstill_proto.package.artifact import load_student
from fedstill_proto.system.sealed import read_sealed_json, write_sealed_json

from fedstill_server.config.codec import from_json, to_json
from fedstill_server.distill.request import DistillRequest
from fedstill_server.distill.run import distil_task, open_distillation
from fedstill_server.distill.scoring import teacher_accuracy
from fedstill_server.distill.stage_runner import StageRunner
from fedstill_server.distill.subword_request import open_subwords
from fedstill_server.distill.subword_task import SubwordTask
from fedstill_server.distill.tasks import DistillTask
from fedstill_server.distill.teachers import TeacherModel
from fedstill_server.families import FAMILIES
from fedstill_server.inspection.forms import answering
from fedstill_server.inspection.graph.cost import cost_of_graph
from fedstill_server.inspection.speed.latency import latency_of
from fedstill_server.inspection.speed.machine import Machine, this_machine
from fedstill_server.sweep.curve import CapacityCurve, capacity_curve
from fedstill_server.sweep.errors import SweepError
from fedstill_server.sweep.grid import Size, sizes_of
from fedstill_server.sweep.options import SweepOptions
from fedstill_server.sweep.page import write_sweep_page
from fedstill_server.sweep.point import SweepPoint, smallest_near_best, summaries_of
from fedstill_server.sweep.sweep import Sweep

RECORD_FILE, PAGE_FILE, POINT_FILE = "sweep.json", "sweep.html", "point.json"
AGAINST = ("parameters", "flops", "latency_us")

OnStudent = Callable[[str, int, int], None]
"""Is told what is done, how many students are, and of how many."""


def run_sweep(
    request: DistillRequest, out: Path, options: SweepOptions, *, told: OnStudent = lambda *_: None
) -> Sweep:
    """Distil all students of a sweep.

    Args:
        request: The task, the teachers, the techniques and the plan; its family is not looked at.
        out: The folder to write; one that holds this sweep, stopped half-way, is gone on with.
        options: The sizes and the seeds.
        told: Is told after each student.

    Raises:
        FedstillError: Something asked for is not there, or does not fit, or the folder holds another sweep.
    """
    sizes = sizes_of(options.family, widths=options.widths, depths=options.depths)
    names = FAMILIES.named([size.family for size in sizes], where="--family")
    out.mkdir(parents=True, exist_ok=True)
    asked = _asked(request, options)
    _check_same(out, asked)
    told("opening the task and the teacher", 0, 0)
    request, task, teacher = open_distillation(
        replace(request, family=sizes[0].family), StageRunner(folder=out / "teacher")
    )
    task = _compared(task, teacher)
    taught = None if teacher is None else teacher_accuracy(teacher, task)
    planned = [
        _planned(request, task, teacher, size, name, first=size is sizes[0])
        for size, name in zip(sizes, names, strict=True)
    ]
    machine, points = this_machine(), []
    order = [(seed, one) for seed in range(options.seeds) for one in planned]
    latencies: dict[str, float] = {}
    for done, (seed, one) in enumerate(order):
        told("distilling students", done, len(order))
        points.append(_point(one, teacher, seed, out, options, latencies))
        sweep = _summed(request, task, taught, machine, points, len(order), options)
        _write(out, asked, sweep)
    told("distilling students", len(order), len(order))
    return sweep


@dataclass(frozen=True, kw_only=True, eq=False)
class _Planned:
    """A size with what its students are asked for and learn."""

    size: Size
    name: str
    request: DistillRequest
    task: DistillTask


def _planned(
    request: DistillRequest,
    task: DistillTask,
    teacher: TeacherModel | None,
    size: Size,
    name: str,
    *,
    first: bool,
) -> _Planned:
    """A size's own request; a student of sub-words has a task of its own, by what its configuration says."""
    if isinstance(task, SubwordTask) and not first:
        request, own = open_subwords(replace(request, family=size.family))
        task = _compared(own, teacher)
    elif not isinstance(task, SubwordTask):
        request = replace(request, family=size.family)
    return _Planned(size=size, name=name, request=request, task=task)


def _compared(task: DistillTask, teacher: TeacherModel | None) -> DistillTask:
    """The task with what its students are tested by, where that is the teacher's own answers."""
    if not isinstance(task, SubwordTask) or teacher is None:
        return task
    return task.compared_with(lambda x: teacher.answer(x).logits)


def _check_same(out: Path, asked: dict[str, Any]) -> None:
    path = out / RECORD_FILE
    if path.is_file() and read_sealed_json(path).get("asked") != asked:
        raise SweepError(
            f"--out: {out} holds another sweep ({path}); give another folder, or ask for the same: only "
            "--seeds may be larger"
        )


def _asked(request: DistillRequest, options: SweepOptions) -> dict[str, Any]:
    """What has to be the same for a sweep to go on; more seeds only add to it."""
    fixed = to_json(options)
    for name in ("seeds", "within", "seconds"):
        fixed.pop(name, None)
    return {"request": to_json(replace(request, family="")), "options": fixed}


def _point(
    planned: _Planned,
    teacher: TeacherModel | None,
    seed: int,
    out: Path,
    options: SweepOptions,
    latencies: dict[str, float],
) -> SweepPoint:
    """One student: read, where it is there already."""
    size, task = planned.size, planned.task
    folder = out / "points" / f"{planned.name}-{seed}"
    record = folder / POINT_FILE
    if record.is_file():
        point = from_json(SweepPoint, read_sealed_json(record), where=str(record))
        latencies.setdefault(size.family, point.latency_us)
        return point
    began = time.perf_counter()
    plan = planned.request.plan
    asked = replace(planned.request, plan=replace(plan, seed=plan.seed + seed))
    folder.mkdir(parents=True, exist_ok=True)
    outcome = distil_task(
        replace(asked, teacher=()), task, folder, teachers=() if teacher is None else (teacher,)
    )
    # With the teacher's name, so that the student can be inspected by itself.
    write_sealed_json(folder / "distill.json", {"request": to_json(asked), "outcome": outcome.to_json()})
    package = load_student(outcome.package)
    graph, manifest = package.whole(package.inference_graph), package.manifest
    answer, x = answering(graph), task.test.x
    if size.family not in latencies:
        timed = latency_of(lambda turn: answer(x[turn % len(x)][None]), seconds=options.seconds)
        latencies[size.family] = timed.p50_us
    weights = {spec.name: spec.size for spec in (*manifest.parameters, *manifest.frozen)}
    cost = cost_of_graph(graph, {"x": x[:1]}, parameters=weights)
    point = SweepPoint(
        family=size.family,
        width=size.width,
        depth=size.depth,
        seed=seed,
        accuracy=outcome.accuracy,
        perplexity=outcome.perplexity,
        parameters=cost.parameters,
        outside_tables=cost.parameters - cost.table_parameters,
        flops=cost.flops,
        latency_us=latencies[size.family],
        package_bytes=sum(part.size_bytes for part in manifest.parts),
        seconds=time.perf_counter() - began,
    )
    write_sealed_json(record, to_json(point))
    return point


def _summed(
    request: DistillRequest,
    task: DistillTask,
    taught: float | None,
    machine: Machine,
    points: Sequence[SweepPoint],
    planned: int,
    options: SweepOptions,
) -> Sweep:
    sizes = summaries_of(points)
    return Sweep(
        task=task.name,
        teacher=request.teacher,
        techniques=request.technique,
        teacher_accuracy=taught,
        by_token=points[0].perplexity is not None,
        planned=planned,
        points=tuple(points),
        sizes=tuple(sizes),
        curves=curves_of(points),
        pick=smallest_near_best(sizes, within=options.within),
        within=options.within,
        machine=machine,
    )


def curves_of(points: Sequence[SweepPoint]) -> tuple[CapacityCurve, ...]:
    """The curves against each kind of size, where there are enough sizes and larger ones are better."""
    curves = []
    for against in AGAINST:
        losses: dict[float, list[float]] = {}
        for point in points:
            losses.setdefault(float(getattr(point, against)), []).append(point.loss)
        curve = capacity_curve(against, losses)
        if curve is not None:
            curves.append(curve)
    return tuple(curves)


def _write(out: Path, asked: dict[str, Any], sweep: Sweep) -> None:
    write_sealed_json(out / RECORD_FILE, {"asked": asked, **sweep.to_json()})
    write_sweep_page(sweep, out / PAGE_FILE)
