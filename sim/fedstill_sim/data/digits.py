"""The digits task: 1,797 scans of handwritten digits, 8x8, that ship inside scikit-learn.

The rows are 14 handwriting forms one after another, one writer each. The first four writers are the public set, the
other ten are the private data: ten natural devices, or a pool for larger and more skewed fleets.
"""

from __future__ import annotations

from collections.abc import Sequence

from fedstill_sim.data.fleet import FleetData

PUBLIC_WRITERS = 4
DEFAULT_ALPHA = 0.5


def load_digits(
    *,
    devices: int = 10,
    dirichlet: float | None = None,
    seed: int = 0,
    families: Sequence[str] = ("mlp-small",),
) -> FleetData:
    """The digits fleet; families are dealt out to devices in turn."""
    raise NotImplementedError
