"""What is measured of students that say several labels or numbers, beside the share of right answers.

    labels     macro F1, the mean over labels of F1 at a chance of .5; micro F1, over all together; mean
               average precision, over labels that occur: the mean precision at each example that has the
               label, by falling chance
    numbers    RMSE and MAE of each number in the user's units; R2, the mean over numbers of 1 - MSE over the
               variance of the tested ones; NLL, the mean negative log likelihood of a number in standard
               units, in nats

Figures are of the devices' own students on their own test examples, all together ("personal"), and on
everyone's, the mean over devices ("global"); and of the fleet's students on everyone's, the mean over
families ("fleet").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray
from fedstill_proto.package.target import Target

Figures = dict[str, Any]
_SCOPES = {
    "personal": "own examples",
    "global": "everyone's examples",
    "fleet": "fleet's student on everyone's",
}


def label_figures(chances: FloatArray, labels: npt.NDArray[np.int64]) -> Figures:
    """Figures of the chances [n, K] of labels [n, K]."""
    said, true = chances > 0.5, labels == 1
    hits, claims, occurring = ((said & true).sum(axis=0), said.sum(axis=0), true.sum(axis=0))
    counted = claims + occurring > 0
    f1 = 2 * hits[counted] / (claims + occurring)[counted]
    precisions = [average_precision(chances[:, k], true[:, k]) for k in np.flatnonzero(occurring)]
    return {
        "macro_f1": float(f1.mean()) if len(f1) else 0.0,
        "micro_f1": float(2 * hits.sum() / max(claims.sum() + occurring.sum(), 1)),
        "mean_average_precision": float(np.mean(precisions)) if precisions else 0.0,
    }


def average_precision(chances: FloatArray, true: npt.NDArray[np.bool_]) -> float:
    """The mean precision [n] at each example that has the label, by falling chance; equal chances as they
    come.
    """
    right = true[np.argsort(-chances, kind="stable")]
    places = np.flatnonzero(right)
    return float((np.arange(1, len(places) + 1) / (places + 1)).mean())


def number_figures(answers: FloatArray, numbers: FloatArray, target: Target) -> Figures:
    """Figures of (mean, log variance) [n, D, 2] of numbers [n, D], both in standard units."""
    off = answers[..., 0].astype(np.float64) - numbers
    log_variance = answers[..., 1].astype(np.float64)
    spread = np.maximum(numbers.astype(np.float64).var(axis=0), np.finfo(np.float32).tiny)
    scale = np.asarray(target.scale)
    likely = (math.log(2 * math.pi) + log_variance + off**2 * np.exp(-log_variance)) / 2
    return {
        "rmse": (np.sqrt((off**2).mean(axis=0)) * scale).tolist(),
        "mae": (np.abs(off).mean(axis=0) * scale).tolist(),
        "r2": float((1 - (off**2).mean(axis=0) / spread).mean()),
        "nll": float(likely.mean()),
    }


def mean_figures(figures: Sequence[Figures]) -> Figures:
    """The mean of each figure."""
    return {name: np.mean([each[name] for each in figures], axis=0).tolist() for name in figures[0]}


def lines_of(figures: Mapping[str, Any]) -> list[str]:
    """Figures in plain words, a line a scope."""
    return [
        f"{figures['target']}, {words}: "
        + ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in figures[scope].items())
        for scope, words in _SCOPES.items()
        if scope in figures
    ]


def _shown(value: float | list[float]) -> str:
    return ", ".join(map(_shown, value)) if isinstance(value, list) else f"{value:.4g}"
