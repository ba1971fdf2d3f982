"""Which judge a task has."""

from __future__ import annotations

from fedstill_server.distill.subword_task import SubwordTask
from fedstill_server.distill.tasks import DistillTask
from fedstill_server.inspection.judging.of_classes import ClassJudge
from fedstill_server.inspection.judging.of_text import TextJudge
from fedstill_server.inspection.judging.of_vectors import VectorJudge
from fedstill_server.inspection.judging.quality import Judge


def judge_of(task: DistillTask, *, rows: int = 0) -> Judge:
    """What judges students of a task.

    Args:
        task: The task.
        rows: Test examples at most; 0 is all, and of text as many as take seconds.
    """
    if task.places > 1:
        return TextJudge(task, rows)
    if isinstance(task, SubwordTask) and not task.has_classes:
        return VectorJudge(task, rows)
    return ClassJudge(task, rows)
