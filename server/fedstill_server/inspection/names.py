"""Robustness and explanation where an example's values are names: numbers of sub-words, or hashed n-grams.

There is no half of a name, so none is blurred: some are left out. Outliers are the same names in another
order, and names drawn from all that the task knows. The tree that imitates the student asks whether a name
is there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from sklearn.tree import DecisionTreeClassifier, export_text

from fedstill_server.inspection.corruption import Answer, CorruptedAccuracy
from fedstill_server.inspection.outliers import auroc, confidence
from fedstill_server.inspection.surrogate import DEPTH, Surrogate

DROPPED = (0.1, 0.25, 0.5)
_ASKED_FOR = 300  # names that the tree may ask for: the commonest


def dropped_accuracies(
    answer: Answer, x: FloatArray, labels: IntArray, *, nothing: float, seed: int = 0
) -> list[CorruptedAccuracy]:
    """Accuracies on rows [n, S] in which a share of names is left out, and the rest moves up."""
    random = np.random.default_rng(seed)
    return [
        CorruptedAccuracy(
            corruption="left out",
            severity=share,
            unit="of all names",
            accuracy=float((answer(left_out(x, share, nothing, random)).argmax(-1) == labels).mean()),
        )
        for share in DROPPED
    ]


def left_out(x: FloatArray, share: float, nothing: float, random: np.random.Generator) -> FloatArray:
    """Rows [n, S] without this share of names; what is left keeps its order, and nothing is at the end."""
    dropped = np.where(random.random(x.shape) < share, np.float32(nothing), x)
    order = np.argsort(dropped == nothing, axis=1, kind="stable")
    moved: FloatArray = np.take_along_axis(dropped, order, axis=1)
    return moved


def outlier_auroc_of_names(
    answer: Answer, x: FloatArray, public: FloatArray, *, nothing: float, seed: int = 0
) -> dict[str, float]:
    """The AUROC of the confidence by kind of outlier; see outliers.py."""
    random = np.random.default_rng(seed)
    known = np.unique(public[public != nothing])
    drawn = random.choice(known, x.shape).astype(np.float32)
    kinds = {
        "names in another order": in_another_order(x, nothing, random),
        "names drawn at random": np.where(x == nothing, np.float32(nothing), drawn),
    }
    inside = confidence(answer(x))
    return {kind: auroc(inside, confidence(answer(rows))) for kind, rows in kinds.items()}


def in_another_order(x: FloatArray, nothing: float, random: np.random.Generator) -> FloatArray:
    """Rows [n, S] whose names are shuffled among themselves; nothing stays where it is."""
    keys = np.where(x == nothing, 2.0 + np.arange(x.shape[1]), random.random(x.shape))
    mixed: FloatArray = np.take_along_axis(x, np.argsort(keys, axis=1), axis=1)
    there = x != nothing
    placed = np.full_like(x, nothing)
    placed[there] = mixed[mixed != nothing]
    return placed


def surrogate_of_names(
    public: FloatArray,
    answers: IntArray,
    held_x: FloatArray,
    held_answers: IntArray,
    *,
    nothing: float,
    called: Callable[[int], str],
) -> Surrogate:
    """A tree that asks whether names are in a row; see surrogate.py.

    Args:
        public: Rows [n, S] that the tree is fitted to.
        answers: What the student says of them [n].
        held_x: Rows that it is judged by.
        held_answers: What the student says of those.
        nothing: The number that is no name.
        called: What a name is called.
    """
    names, counts = np.unique(public[public != nothing], return_counts=True)
    asked = names[np.argsort(-counts, kind="stable")[:_ASKED_FOR]]
    tree = DecisionTreeClassifier(max_depth=DEPTH, random_state=0)
    tree.fit(_there(public, asked), answers)
    words = [called(int(name)) for name in asked]
    order = np.argsort(-tree.feature_importances_, kind="stable")[:8]
    return Surrogate(
        depth=int(tree.get_depth()),
        leaves=int(tree.get_n_leaves()),
        fidelity=float((tree.predict(_there(held_x, asked)) == held_answers).mean()),
        rules=export_text(tree, feature_names=words, decimals=1),
        important=tuple((words[n], float(tree.feature_importances_[n])) for n in order),
    )


def _there(x: FloatArray, names: FloatArray) -> FloatArray:
    """Whether each name [k] is in each row [n, S]: [n, k]."""
    there = np.zeros((len(x), len(names)), np.float32)
    for column, name in enumerate(names):
        there[:, column] = (x == name).any(axis=1)
    return there
