"""Ways to split examples over devices: pure functions of their arguments and a seed.

Each returns positions in the arrays it was given, one int64 array a device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray

from fedstill_sim.data.fleet import FleetDataError

Number = TypeVar("Number", bound=np.integer)

_MOST_DRAWS = 10_000
_DRAWN_AT_ONCE = 1 << 14  # devices


def natural_split(first_rows: Sequence[int], rows: int) -> list[IntArray]:
    """Split rows into consecutive runs: part i starts at first_rows[i] and ends where the next one starts."""
    ends = [*first_rows[1:], rows]
    return [np.arange(first, end, dtype=np.int64) for first, end in zip(first_rows, ends, strict=True)]


def iid_split(examples: int, *, devices: int, seed: int) -> list[IntArray]:
    """Split at random into parts whose sizes differ by at most one."""
    order = np.random.default_rng(seed).permutation(examples)
    return [np.sort(part).astype(np.int64) for part in np.array_split(order, devices)]


def dirichlet_split(
    labels: IntArray, *, classes: int, devices: int, alpha: float, min_examples: int, seed: int
) -> list[IntArray]:
    """Split with label skew: each class is shared out in proportions drawn from Dirichlet(alpha).

    The rule of Li, Diao, Chen and He, "Federated Learning on Non-IID Data Silos" (2021, arXiv:2102.02079): a
    device that already holds its fair share gets no more, and the whole draw is repeated until every device
    has at least min_examples.
    """
    if not 0 < alpha < math.inf:
        raise FleetDataError(
            f"dirichlet: alpha must be above 0, not {alpha}; 0.1 is strongly skewed, 100 hardly"
        )
    if devices * min_examples > len(labels):
        raise FleetDataError(
            f"dirichlet: {len(labels)} examples cannot give {devices} devices {min_examples} each; "
            "use fewer devices"
        )
    generator = np.random.default_rng(seed)
    for _ in range(_MOST_DRAWS):
        owner = _dirichlet_owners(labels, classes=classes, devices=devices, alpha=alpha, generator=generator)
        if np.bincount(owner, minlength=devices).min() >= min_examples:
            order = np.argsort(owner, kind="stable")
            return np.split(order, np.cumsum(np.bincount(owner, minlength=devices))[:-1])
    raise FleetDataError(
        f"dirichlet: no draw in {_MOST_DRAWS} gave each of {devices} devices {min_examples} examples at "
        f"alpha {alpha}; use a larger alpha or fewer devices"
    )


def _dirichlet_owners(
    labels: IntArray, *, classes: int, devices: int, alpha: float, generator: np.random.Generator
) -> IntArray:
    """Draw the device of each example: int64 [examples]."""
    owner = np.empty(len(labels), np.int64)
    held = np.zeros(devices, np.int64)
    fair_share = len(labels) / devices
    for label in range(classes):
        examples = generator.permutation(np.flatnonzero(labels == label))
        shares: npt.NDArray[np.float64] = generator.dirichlet(np.full(devices, alpha)) * (held < fair_share)
        if shares.sum() == 0:  # every share that is left underflowed to 0: deal this class evenly
            shares = (held < fair_share).astype(np.float64)
        cuts = (np.cumsum(shares / shares.sum())[:-1] * len(examples)).astype(np.int64)
        sizes = np.diff(np.concatenate([[0], cuts, [len(examples)]]))
        owner[examples] = np.repeat(np.arange(devices), sizes)
        held += sizes
    return owner


def resampled_split(labels: IntArray, *, mixtures: FloatArray, counts: IntArray, seed: int) -> list[IntArray]:
    """Draw with replacement: device d gets counts[d] examples whose classes follow mixtures[d].

    Args:
        labels: The labels of all examples.
        mixtures: Shares of the classes for each device [devices, classes]; rows sum to 1, and are 0 for a
            class that no example has.
        counts: How many examples each device gets [devices].
        seed: Decides the draw.
    """
    places = np.arange(len(labels), dtype=np.int64)
    picked = resampled_rows(labels, mixtures=mixtures, counts=counts, seed=seed, among=places)
    return np.split(picked, np.cumsum(counts)[:-1])


def resampled_rows(
    labels: IntArray,
    *,
    mixtures: FloatArray,
    counts: IntArray,
    seed: int,
    among: npt.NDArray[Number],
) -> npt.NDArray[Number]:
    """What `resampled_split` draws, one device after the other, in one array of sum(counts) rows.

    It is drawn by pieces, and is the same by pieces of any size: memory is that of what is returned.

    Args:
        labels: The labels of all examples.
        mixtures: As in `resampled_split`.
        counts: As there.
        seed: As there.
        among: What an example is called [examples], in the type of what is returned.
    """
    by_class = np.argsort(labels, kind="stable")
    names = among[by_class]
    class_sizes = np.bincount(labels, minlength=mixtures.shape[1])
    class_starts = np.cumsum(class_sizes) - class_sizes
    if np.any(mixtures[:, class_sizes == 0] > 0):
        raise FleetDataError("resampled: a mixture asks for a class that has no examples")
    classes, ends = mixtures.shape[1], np.cumsum(counts)
    rows = int(ends[-1]) if len(ends) else 0
    heights, places = np.random.default_rng(seed), np.random.default_rng(seed)
    places.bit_generator.advance(rows)  # type: ignore[attr-defined]  # what `heights` draws comes first
    picked = np.empty(rows, names.dtype)
    for first in range(0, len(counts), _DRAWN_AT_ONCE):
        last = min(first + _DRAWN_AT_ONCE, len(counts))
        device = np.repeat(np.arange(first, last), counts[first:last])
        # A row's cumulated mixture, shifted by its device, makes one rising sequence for a single search.
        cumulated = np.cumsum(mixtures[first:last], axis=1, dtype=np.float64)
        cumulated /= cumulated[:, -1:]
        ladder = (cumulated + np.arange(first, last)[:, None]).ravel()
        # (device + random) may round up to the next device's first step, so it is kept just below.
        height = np.minimum(device + heights.random(len(device)), np.nextafter(device + 1.0, 0.0))
        drawn = np.searchsorted(ladder, height, side="right") - (device - first) * classes
        within = (places.random(len(device)) * class_sizes[drawn]).astype(np.int64)
        start = int(ends[first] - counts[first])
        picked[start : start + len(device)] = names[class_starts[drawn] + within]
    return picked


def hold_out(part: IntArray, *, fraction: float, seed: Sequence[int]) -> tuple[IntArray, IntArray]:
    """Cut a part at random into (train, test), both in stored order; each gets at least one.

    Raises:
        FleetDataError: The part has fewer than two examples.
    """
    if len(part) < 2:
        raise FleetDataError(f"hold out: {len(part)} examples cannot be cut into a train and a test part")
    tests = min(max(1, round(len(part) * fraction)), len(part) - 1)
    order = np.random.default_rng(list(seed)).permutation(len(part))
    return part[np.sort(order[tests:])], part[np.sort(order[:tests])]
