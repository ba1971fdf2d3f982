"""Which public rows it is the turn of: a part of the public set in each round, and all in some rounds."""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import IntArray

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.randomness import generator


def anchor_rows(config: FleetConfig, rows: int, count: int) -> IntArray:
    """At most `count` public rows, of so many, that features are compared with: in every round the same."""
    order = generator(config.seed, 0, "anchors").permutation(rows)
    return np.sort(order[:count])


def rows_in_turn(config: FleetConfig, rows: int, count: int, round_number: int, purpose: str) -> IntArray:
    """At most `count` of so many rows (0: all), increasing: the parts of a seeded order, then a new order."""
    if count == 0 or count >= rows:
        return np.arange(rows)
    parts = -(-rows // count)
    turn, part = divmod(round_number - 1, parts)
    order = generator(config.seed, turn, f"public rows/{purpose}").permutation(rows)
    return np.sort(np.array_split(order, parts)[part])


def answered_rows(config: FleetConfig, rows: int, round_number: int) -> IntArray:
    """The public rows, of so many, that devices answer in a round, increasing."""
    return rows_in_turn(config, rows, config.public_batch, round_number, "answers")


def taught_rows(config: FleetConfig, rows: int, round_number: int) -> IntArray:
    """The public rows, of so many, whose soft labels a round's task carries, increasing."""
    return rows_in_turn(config, rows, config.public_targets, round_number, "targets")
