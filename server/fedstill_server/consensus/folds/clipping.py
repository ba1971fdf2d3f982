"""Clipping, which comes before every robust fold: no row, and no student, goes beyond the round's limit.

    s_i <- s_i min(1, limit / |s_i|),    limit = 2 usual for rows, usual for students    (norms.py)

Rows have some room: where devices know few classes, those rows that one moves furthest are those that only it
knows, and a limit at the 75th percentile itself took two points of accuracy. Of shifts, the mean over the
rows is taken off before: it says how often a device sees each class, and nothing of the rows.

A device may say what it likes of where a row belongs; it cannot say it louder than the others. The 4-bit
answers of `fedstill` reach norms of 3.2, where those of devices that tell the truth are .3 to .6.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fedstill_server.consensus.aggregation import FamilySums, ParameterSum, RowSums
from fedstill_server.consensus.folds.norms import Norms, norm_of, row_norms, stack_norms
from fedstill_server.consensus.row_stack import RowStack

ROOM = 2.0


def without_prior(part: RowSums) -> RowSums:
    """One device's shifts, less their mean over the rows that it answered."""
    answered = part.weights > 0
    mean = part.totals[answered].mean(axis=0) if answered.any() else 0.0
    return replace(part, totals=np.where(answered[:, None], part.totals - mean, 0))


def clipped_rows(part: RowSums, norms: Norms) -> RowSums:
    """One device's rows, each at most as long as the limit."""
    lengths, limit = row_norms(part), ROOM * norms.usual()
    shares = np.minimum(1, limit / np.where(lengths > 0, lengths, 1))
    return replace(part, totals=part.totals * shares[:, None])


def stack_without_prior(stack: RowStack) -> RowStack:
    """The same of each device of a stack."""
    return replace(stack, values=stack.values - stack.values.mean(axis=1, keepdims=True))


def clipped_stack(stack: RowStack, norms: Norms) -> RowStack:
    """The same of each device of a stack."""
    lengths, limit = stack_norms(stack), ROOM * norms.usual()
    shares = np.minimum(1, limit / np.where(lengths > 0, lengths, 1))
    return replace(stack, values=stack.values * shares[:, :, None])


def clipped_students(part: FamilySums, norms: Norms) -> FamilySums:
    """One device's step, at most as long as the limit of its family."""
    return replace(
        part, families={family: _clipped(one, norms.usual(family)) for family, one in part.families.items()}
    )


def _clipped(part: ParameterSum, limit: float) -> ParameterSum:
    length = norm_of(part.totals)
    share = min(1.0, limit / length) if length > 0 else 1.0
    return ParameterSum({name: share * array for name, array in part.totals.items()}, part.weight)
