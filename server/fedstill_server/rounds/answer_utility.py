"""How much a device's answer says: its statistical utility, for selection by utility (oort.py).

It is the number by which a method compares answers (consensus/folds/norms.py: how far an answer moves what
the fleet says, or a student); of class means, how far they are from those of the others. Where a method has
neither, all answers say the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from fedstill_proto.messages import SoftLabelSummary

from fedstill_server.consensus.aggregation import RowSums
from fedstill_server.methods.interface import Method
from fedstill_server.state import FleetState


def statistical_utilities(
    method: Method, summaries: Mapping[str, SoftLabelSummary], state: FleetState, *, round_number: int
) -> dict[str, float]:
    """How far each device's answer moves what the fleet says, by name.

    Args:
        method: The method of the round.
        summaries: The answers that counted, by device.
        state: The state that they answer.
        round_number: The round.
    """
    contribution = method.contribution(state, round_number=round_number)
    parts = {device: contribution(summary) for device, summary in summaries.items()}
    found = {device: _length(method, part) for device, part in parts.items()}
    rows = {device: part for device, part in parts.items() if isinstance(part, RowSums)}
    if all(value is None for value in found.values()) and rows:
        return _apart(rows)
    return {device: 1.0 if value is None else value for device, value in found.items()}


def _length(method: Method, part: object) -> float | None:
    """The method's own number of an answer; None where it has none."""
    groups = [numbers for numbers in method.norms(part).by_group.values() if len(numbers)]
    return max(float(numbers.max()) for numbers in groups) if groups else None


def _apart(rows: Mapping[str, RowSums]) -> dict[str, float]:
    """How far each device's rows are from the mean of all that gave them."""
    weights = sum(part.weights for part in rows.values())
    totals = sum(part.totals for part in rows.values())
    mean = totals / np.where(weights > 0, weights, 1)[:, None]
    return {
        device: float(np.linalg.norm((part.result() - mean)[part.weights > 0]))
        for device, part in rows.items()
    }
