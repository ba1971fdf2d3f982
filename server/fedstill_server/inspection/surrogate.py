"""A decision tree that imitates the student (Craven and Shavlik 1995): an approximation, not the student.

Fidelity is how often the tree answers as the student does, on examples that it was not fitted to. A low one
means that the tree explains little, and is always reported with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from sklearn.tree import DecisionTreeClassifier, export_text

DEPTH = 5


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    depth: int
    leaves: int
    fidelity: float
    rules: str
    important: tuple[tuple[str, float], ...]  # value of the input, share of the tree's decisions


def surrogate(
    x: FloatArray, answers: IntArray, held_x: FloatArray, held_answers: IntArray, *, depth: int = DEPTH
) -> Surrogate:
    """Fit a tree to the student's answers [n] to x [n, *shape], and judge it on held-out ones."""
    tree = DecisionTreeClassifier(max_depth=depth, random_state=0)
    tree.fit(x.reshape(len(x), -1), answers)
    names = [f"x[{','.join(map(str, index))}]" for index in np.ndindex(x.shape[1:])]
    order = np.argsort(-tree.feature_importances_, kind="stable")[:8]
    return Surrogate(
        depth=int(tree.get_depth()),
        leaves=int(tree.get_n_leaves()),
        fidelity=float((tree.predict(held_x.reshape(len(held_x), -1)) == held_answers).mean()),
        rules=export_text(tree, feature_names=names, decimals=2),
        important=tuple((names[n], float(tree.feature_importances_[n])) for n in order),
    )
