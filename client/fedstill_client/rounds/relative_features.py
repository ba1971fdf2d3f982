"""Features that students of any family have in common: how alike an example is to the same few public ones.

Students of different families, or with different weights, make features of different widths and directions,
and a mean of them means nothing. Relative representations (Moschella et al. 2022, arXiv 2209.15430) describe
an example by its cosines with W anchors, public examples that all devices have:

    r(x)_j = cos(f(x) - m, f(a_j) - m),    m = mean_j f(a_j)

They are W numbers in -1 to 1 for every student, and stay what they are when features are turned or scaled.
FedProto's prototype of a class (Tan et al. 2021, arXiv 2105.00243) is the mean of r over its examples.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray


def relative_features(features: FloatArray, anchors: FloatArray) -> FloatArray:
    """Cosines [n, W] of features [n, width] with those of the anchors [W, width]; of nothing they are 0."""
    middle = anchors.mean(axis=0, dtype=np.float64)
    ours, theirs = _unit(features - middle), _unit(anchors - middle)
    # Each row is a product of its own: a device's features do not depend on how many it has.
    return np.asarray(np.einsum("nf,wf->nw", ours, theirs), np.float32)


def class_prototypes(relative: FloatArray, labels: IntArray) -> tuple[IntArray, IntArray, FloatArray]:
    """(present classes [m], examples of each [m], their mean relative features [m, W])."""
    present, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.zeros((len(present), relative.shape[1]))
    np.add.at(sums, place, relative.astype(np.float64))
    return present.astype(np.int64), counts.astype(np.int64), (sums / counts[:, None]).astype(np.float32)


def _unit(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    lengths = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return np.asarray(rows / np.where(lengths > 1e-12, lengths, np.inf))
