"""Data sets of the benchmarks, by names that `fedstill-sim` takes: `fedstill-sim run benchmarks.sets:watch`.

A name is a data set and what is changed about it, each after an underscore:

    digits, mnist1d, mnist5k, watch, strokes, strokes1000

    _unlabelled    the public set has no labels
    _20rows        the public set has 20 rows (200 unless said; of strokes1000, 1,000)
    _3classes      the public set has rows of the first three classes alone
    _inverted      the public set is of another domain: each value's opposite in the data's range
    _noise         the public set is noise, without labels
    _5renamed      five of the devices give the classes other names, each in a way of its own
    _40examples    a device has at most 40 training examples (70 unless said; of strokes1000, 1,000)

`benchmarks.sets:watch_800rows_unlabelled` is an example. Each takes devices (12 unless said), dirichlet and
seed. `watch` without dirichlet is natural, a device is an arm; the others have a skew of 0.5 then.

Whatever is named is made by code or comes with a package: `pip install 'fedstill[benchmarks]'`.
"""

from __future__ import annotations

from collections.abc import Callable

from fedstill_sim.data.fleet import FleetData

from .fleets import FleetPlan, deal
from .names import variant_of


def __getattr__(name: str) -> Callable[..., FleetData]:
    if name.startswith("_"):
        raise AttributeError(name)
    variant = variant_of(name)

    def fleet(*, devices: int = 12, dirichlet: float | None = None, seed: int = 0) -> FleetData:
        return deal(variant, FleetPlan(devices=devices, dirichlet=dirichlet, seed=seed))

    return fleet
