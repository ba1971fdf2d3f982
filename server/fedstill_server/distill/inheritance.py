"""What a distilled student must never answer: what its teachers must not, and what the request adds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.package.constraints.classes import class_numbers
from fedstill_proto.package.constraints.constraints import Constraints, read_constraints
from fedstill_proto.package.constraints.union import united

from fedstill_server.data.forms import Labels
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.request import DistillRequest
from fedstill_server.distill.tasks import DistillTask
from fedstill_server.publish.constraints import folder_constraints


def with_constraints(request: DistillRequest, task: DistillTask) -> DistillTask:
    """The task, whose packages carry the constraints; raises DistillError for a list that does not fit."""
    given = _given(request, task)
    inherited = [folder_constraints(folder) for folder in map(_folder_of, request.teacher) if folder]
    constraints = united(*inherited, given).with_named_classes(task.class_names)
    if constraints.is_empty:
        return task
    return replace(task, files=replace(task.files, constraints=constraints.to_json()))


def _given(request: DistillRequest, task: DistillTask) -> Constraints:
    if not request.suppress:
        return united()
    try:
        given = read_constraints(Path(request.suppress))
        if task.form.labels is not Labels.EACH_PLACE:
            class_numbers(given, classes=task.classes, names=task.class_names, strict=True)
    except (WireError, InvalidValue) as error:
        raise DistillError(f"suppress: {error}") from None
    return given


def _folder_of(teacher: str) -> Path | None:
    """The folder of a teacher that has one: of a package, a run, or a model of Hugging Face."""
    place = teacher.removeprefix("hf:").partition("?")[0]
    folder = Path(place)
    return folder if folder.is_dir() else None
