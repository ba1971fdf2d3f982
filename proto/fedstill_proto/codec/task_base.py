"""The delta base that a task brings: an answer may be coded against the soft labels that the task carries.

A device answers with soft labels of public rows, after it has learned from the fleet's soft labels of the
same rows: the two are alike, and what is alike need not be sent. The base is the task's soft labels of the
asked rows, as the device decodes them, on the grid of the answer. The server names it in its request by a
digest; a device that comes to another one, say because its processor rounds a logarithm elsewhere, answers
without a base.
"""

from __future__ import annotations

import numpy as np

from fedstill_proto.messages import PublicSoftLabels, RoundTask, SoftTargets, SummaryKind, SummaryRequest
from fedstill_proto.soft_labels.base_table import BaseTable
from fedstill_proto.soft_labels.delta_base import DeltaBase
from fedstill_proto.soft_labels.levels import Levels


def base_of_targets(request: SummaryRequest, targets: SoftTargets | None) -> Levels | None:
    """The base for an answer to `request`, if it asks for a delta and the targets cover every row of it.

    Args:
        request: What the task asks for.
        targets: The task's soft labels, as the device decodes them.
    """
    if request.codec is None or not request.codec.delta or request.kind is not SummaryKind.PUBLIC_SET:
        return None
    if not isinstance(targets, PublicSoftLabels) or targets.soft_labels.rows != len(targets.public_rows):
        return None
    order = np.argsort(targets.public_rows)
    places = np.searchsorted(targets.public_rows, request.public_rows, sorter=order)
    if (places == len(order)).any():
        return None
    rows = order[places]
    if (targets.public_rows[rows] != request.public_rows).any():
        return None
    return request.codec.levels(targets.soft_labels).of_rows(rows)


def task_base(request: SummaryRequest, targets: SoftTargets | None) -> Levels | None:
    """The base that a decoded task brings, if this side comes to the same one as the server."""
    if not request.base:
        return None
    base = base_of_targets(request, targets)
    return base if base is not None and base.name() == request.base else None


def delta_base_of(task: RoundTask, table: BaseTable | None = None) -> DeltaBase | None:
    """What an answer to a decoded task may be coded against; None where it asks for no delta.

    Args:
        task: The task.
        table: What the device sent up to the round that the task names (`base_round`).
    """
    request = task.request
    if request.codec is None or not request.codec.delta or request.kind is not SummaryKind.PUBLIC_SET:
        return None
    return DeltaBase(request.public_rows, task_base(request, task.soft_targets), table)
