"""Deals a source's examples out to the devices of a fleet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_sim.data.fleet import DeviceRows, FleetData
from fedstill_sim.data.pools import DEFAULT_ALPHA, TEST_FRACTION, device_names
from fedstill_sim.data.splits import dirichlet_split

from .names import SetError, Variant
from .sources import SOURCES, Source

_FEWEST = 8  # examples of a device


@dataclass(frozen=True, kw_only=True)
class FleetPlan:
    """How examples are dealt out.

    Attributes:
        devices: How many devices there are.
        dirichlet: The skew over classes; None is natural where the source has natural devices, else 0.5.
        seed: Decides every random draw.
    """

    devices: int = 12
    dirichlet: float | None = None
    seed: int = 0


def deal(variant: Variant, plan: FleetPlan) -> FleetData:
    """Make the fleet.

    What a device does not train on is its test set, at least a quarter; all of these are the global test set.

    Raises:
        SetError: The source does not suffice.
    """
    source = SOURCES[variant.source](plan.seed)
    parts, how = _parts(source, plan)
    cut = [
        _cut(part, most=variant.examples or source.examples, seed=(plan.seed, device))
        for device, part in enumerate(parts)
    ]
    train, test = [train for train, _ in cut], [test for _, test in cut]
    everyones = np.concatenate(test)
    public_x, public_y = _public_set(source, variant, plan.seed)
    x, y, train, test = _renamed(source, variant, train, test, seed=plan.seed)
    labels = "labelled" if variant.labelled else "unlabelled"
    return FleetData(
        name=variant.name,
        description=f"{source.said}; {len(parts)} devices, {how}; public set: {len(public_x)} {labels} rows"
        + (f", {variant.renamed} devices rename the classes" if variant.renamed else "")
        + ("" if variant.domain == "own" else f", {variant.domain}")
        + ("" if variant.public_classes is None else f", of {variant.public_classes} classes"),
        classes=source.classes,
        device_names=tuple(device_names(len(parts))),
        families=("",) * len(parts),
        x=x,
        y=y,
        train=DeviceRows.of(train),
        test=DeviceRows.of(test),
        public_x=public_x,
        public_y=public_y,
        global_x=source.x[everyones],
        global_y=source.y[everyones],
    )


def _parts(source: Source, plan: FleetPlan) -> tuple[list[IntArray], str]:
    natural = len(source.private) > 1
    if natural and plan.dirichlet is None:
        if plan.devices > len(source.private):
            raise SetError(f"data set: there are {len(source.private)} natural devices, not {plan.devices}")
        return list(source.private[: plan.devices]), "natural"
    alpha = DEFAULT_ALPHA if plan.dirichlet is None else plan.dirichlet
    pool = np.concatenate(source.private)
    split = dirichlet_split(
        source.y[pool],
        classes=source.classes,
        devices=plan.devices,
        alpha=alpha,
        min_examples=_FEWEST,
        seed=plan.seed,
    )
    return [pool[part] for part in split], f"Dirichlet({alpha:g})"


def _cut(part: IntArray, *, most: int, seed: tuple[int, int]) -> tuple[IntArray, IntArray]:
    order = np.random.default_rng(list(seed)).permutation(part)
    trains = min(most, len(part) - max(1, round(len(part) * TEST_FRACTION)))
    return np.sort(order[:trains]), np.sort(order[trains:])


def _public_set(source: Source, variant: Variant, seed: int) -> tuple[FloatArray, IntArray | None]:
    rows = source.public
    if variant.public_classes is not None:
        rows = rows[source.y[rows] < variant.public_classes]
    wanted = variant.rows or source.rows
    if wanted > len(rows):
        raise SetError(f"data set {variant.name}: there are {len(rows)} public rows, not {wanted}")
    generator = np.random.default_rng([seed, 2])
    rows = generator.permutation(rows)[:wanted]
    x = source.x[rows]
    low, high = source.x[source.public].min(axis=0), source.x[source.public].max(axis=0)
    if variant.domain == "inverted":
        x = (low.min() + high.max() - x).astype(np.float32)
    elif variant.domain == "noise":
        x = generator.uniform(low, high, x.shape).astype(np.float32)
    return x, source.y[rows] if variant.labelled else None


def _renamed(
    source: Source, variant: Variant, train: list[IntArray], test: list[IntArray], *, seed: int
) -> tuple[FloatArray, IntArray, list[IntArray], list[IntArray]]:
    """Give the first few devices copies of their examples, under other labels."""
    x, y = [source.x], [source.y]
    rows = len(source.x)
    for device in range(min(variant.renamed, len(train))):
        names = np.random.default_rng([seed, 3, device]).permutation(source.classes)
        for owned in (train, test):
            part = owned[device]
            x.append(source.x[part])
            y.append(names[source.y[part]])
            owned[device] = np.arange(rows, rows + len(part))
            rows += len(part)
    return np.concatenate(x), np.concatenate(y), train, test
