"""Soft labels on grids, and delta_base that resemble them, for hypothesis and by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import FloatArray
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_proto.soft_labels.levels import Grid, Levels, quantized
from hypothesis import strategies as st

from tests.proto.wire_samples import distributions, random_rows


@dataclass(frozen=True)
class Sample:
    """Probabilities, and others that resemble them, on one grid."""

    probabilities: FloatArray
    levels: Levels
    base: Levels


@st.composite
def samples(draw: st.DrawFn, *, max_rows: int = 30, max_classes: int = 200) -> Sample:
    probabilities = draw(distributions(max_rows=max_rows, max_classes=max_classes))
    rows, classes = probabilities.shape
    other = random_rows(rows, classes, seed=draw(st.integers(0, 99))) if rows else probabilities
    share = draw(st.sampled_from([0.0, 0.1, 1.0]))
    near = ((1 - share) * probabilities + share * other).astype(np.float32)
    k, bits, grid = draw(st.integers(0, 12)), draw(st.integers(1, 8)), draw(st.sampled_from(Grid))
    levels, base = (
        quantized(DenseSoftLabels(one), k=k, bits=bits, grid=grid) for one in (probabilities, near)
    )
    return Sample(probabilities, levels, base)


def same(one: Levels, other: Levels) -> bool:
    """Whether two values hold the same numbers."""
    return one.digest() == other.digest()
