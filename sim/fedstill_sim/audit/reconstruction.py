"""Reconstruction: do answers show private examples better than the public set does?

Two kinds of candidates are made of what the watched device answers. From any answer z, the mean example of
each class, by the best linear estimate over the adversary's own shadows, whose means m it knows

    m(z) = mean m + cov(m, z) (cov(z) + (s^2 + r) I)^-1 (z - mean z)

with the noise s^2 of an answer and a ridge r. From parameters besides, for each unit of the first layer, how
far its weights moved in units of how far its bias did: that is a mean of the examples which the unit saw,
and where it saw a single one, that example (Phong et al. 2018; Geiping et al. 2020, arXiv 2003.14053). A
private example counts as found where a candidate correlates with it better, by a hundredth, than every public
row, and every class mean of them and of the adversary's shadows, do. A server that may choose the student
that a device starts from, or only the soft labels that make it, finds far more: see traps.py, inversion.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Float64Array, FloatArray, IntArray, Parameters

from fedstill_sim.audit.bounds import interval_of_share
from fedstill_sim.audit.found_examples import compare_found

_MARGIN = 0.01  # of a correlation: less is no find
_RIDGE = 0.3  # in units of the whole variance a shadow


@dataclass(frozen=True, kw_only=True)
class ReconstructionResult:
    """How well private examples are shown.

    Attributes:
        examples: The watched device's.
        candidates: What the adversary made of its answers.
        above: Examples that a candidate shows better than all that needs no answer.
        share_interval: 95 % interval of their share.
        correlation: Median of the best candidate's correlation with each example.
        public_correlation: The same of the best public row or mean.
    """

    examples: int
    candidates: int
    above: int
    share_interval: tuple[float, float]
    correlation: float
    public_correlation: float


def class_means_of(x: FloatArray, labels: IntArray, classes: int) -> Float64Array:
    """The mean example of each class [classes, pixels]; where there is none, that of all."""
    flat = x.reshape(len(x), -1).astype(np.float64)
    means = np.tile(flat.mean(axis=0), (classes, 1))
    for label in np.unique(labels):
        means[label] = flat[labels == label].mean(axis=0)
    return means


def estimated_means(
    shadows: Float64Array, means: Float64Array, answer: Float64Array, *, noise: float
) -> Float64Array:
    """The mean example of each class [classes, pixels] behind an answer [k].

    Args:
        shadows: The adversary's own shadows, without noise [n, k].
        means: What they hold [n, classes, pixels].
        answer: What is seen of the watched device.
        noise: The deviation of the noise in each number of an answer.
    """
    flat = means.reshape(len(means), -1)
    shift, middle = shadows.mean(axis=0), flat.mean(axis=0)
    centred = shadows - shift
    covariance = centred.T @ centred / len(shadows)
    ridge = _RIDGE * np.trace(covariance) / len(shadows) + noise**2 + 1e-12
    across = centred.T @ (flat - middle) / len(shadows)
    told = middle + (answer - shift) @ np.linalg.solve(covariance + ridge * np.eye(len(covariance)), across)
    return np.asarray(told.reshape(means.shape[1:]))


def first_layer_means(moved: Float64Array, start: Parameters, pixels: int) -> Float64Array:
    """What the units of the first layer saw on average [units, pixels].

    Args:
        moved: How far the parameters moved, one after another in the order of `start`.
        start: The student that they moved from.
        pixels: Numbers in an example; a first layer that does not read them all tells nothing here.
    """
    parts: list[npt.NDArray[np.float64]] = []
    at = 0
    for array in start.values():
        parts.append(moved[at : at + array.size].reshape(array.shape))
        at += array.size
    nothing = np.zeros((0, pixels))
    if len(parts) < 2 or parts[0].ndim != 2 or parts[0].shape[1] != pixels:
        return nothing
    weight, bias = parts[0], parts[1]
    if bias.ndim != 1 or len(bias) != len(weight):
        return nothing
    seen = np.abs(bias) > 1e-9
    return np.asarray(weight[seen] / bias[seen, None])


def reconstruction_result(
    candidates: Float64Array,
    private_x: FloatArray,
    labels: IntArray,
    *,
    public_x: FloatArray,
    known_means: Float64Array,
) -> ReconstructionResult:
    """Hold candidates [m, pixels] against the private examples, beside public rows and known means."""
    shape = private_x.shape[1:]
    everything = np.concatenate([public_x, known_means.reshape(-1, *shape).astype(np.float32)])
    found = compare_found(candidates, private_x, labels, everything)
    above = int((found.found > found.public + _MARGIN).sum())
    return ReconstructionResult(
        examples=len(private_x),
        candidates=len(candidates),
        above=above,
        share_interval=interval_of_share(above, len(private_x)),
        correlation=float(np.median(found.found)),
        public_correlation=float(np.median(found.public)),
    )
