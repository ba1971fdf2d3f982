"""The 1,797 scans of handwritten digits, 8x8, that ship inside scikit-learn.

The rows are 14 handwriting forms one after another, one writer each.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray

from fedstill_server.data.errors import ExamplesError

CLASSES = 10
FIRST_ROWS = (0, 130, 256, 386, 516, 646, 776, 906, 1029, 1157, 1287, 1415, 1545, 1667)
"""The first row of each form."""


def digits_examples() -> tuple[FloatArray, IntArray]:
    """All digits: x float32 [1797, 8, 8] in 0 to 1, y int64 [1797]."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise ExamplesError(
            "digits: ships with scikit-learn, which is missing; pip install 'fedstill[server]'"
        )
    file = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    # The file itself: to import scikit-learn for it costs a second and 85 MB in every process.
    table = np.loadtxt(file, delimiter=",", dtype=np.float32)  # [1797, 64 pixels and a label]
    return (table[:, :-1] / 16.0).reshape(-1, 8, 8), table[:, -1].astype(np.int64)
