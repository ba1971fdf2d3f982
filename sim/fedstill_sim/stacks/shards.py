"""What the stacks path asks of a worker, and what it gets back: arrays and handles, no object a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import BoolArray, IntArray

from fedstill_sim.engine.shards import TaskShard
from fedstill_sim.workers.keeper import Handle, Keeper

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class FoldShard:
    """Devices [n] to train, whose answers are folded, or kept for the next pass.

    Attributes:
        shard: The devices and their students; its task is in the round's context, and empty here.
        task: Names the task there.
        context: The round's context (round_context.py).
        keeper: Where that is, and where answers are kept.
        stored: Whose trained students are stored [n].
        start: The start that its devices share, where that was made before; else it is made here.
        folds: Whether answers are folded at once; otherwise they are kept, and measured for the fold.
        measures: Whether all answers that are kept count, so that their norms are those of the round.
    """

    shard: TaskShard
    task: str
    context: Handle
    keeper: Keeper
    stored: BoolArray
    folds: bool
    measures: bool
    start: Handle | None = None


@dataclass(frozen=True, kw_only=True)
class SharedStart:
    """A start to make that all devices of a task share.

    Attributes:
        run_folder: The run.
        stack_size: Devices that one run of the family's training graph trains together.
        task: Names the task in the round's context.
        context: The round's context.
        keeper: Where that is, and where the start is kept.
    """

    run_folder: Path
    stack_size: int
    task: str
    context: Handle
    keeper: Keeper


@dataclass(frozen=True, kw_only=True)
class ShardRefusal:
    """Why the answer of a shard's device does not count: its place in the shard, and as in Quarantined."""

    place: int
    reason: str
    text: str


@dataclass(frozen=True, kw_only=True)
class FoldedShard:
    """What became of a shard's devices [n].

    Attributes:
        process: The process that did the work.
        bytes: Of each device's answer [n]; 0 where there is none.
        left_out: Those whose answers do not count.
        partial: The fold of the others, where it was asked for.
        norms: The fold of their norms, where these were asked for.
        kept: Their answers, where those are to be read again.
        trained: Devices that trained, whether their answers count or not: their students are new [n].
    """

    process: int
    bytes: IntArray
    left_out: tuple[ShardRefusal, ...]
    trained: BoolArray
    partial: Arrays | None = None
    norms: Arrays | None = None
    kept: Handle | None = None

    @property
    def counts(self) -> BoolArray:
        """Which devices' answers count [n]."""
        counts = np.ones(len(self.bytes), np.bool_)
        counts[[one.place for one in self.left_out]] = False
        return counts


@dataclass(frozen=True, kw_only=True)
class KeptShard:
    """Answers that were kept, to be measured or folded.

    Attributes:
        run_folder: The run.
        task: Names the task that they answer, in the round's context.
        kept: The answers.
        counted: Which of them count [answers]; None where all do.
        context: The round's context.
        keeper: Where both are.
        norms: The norms of all answers of the round, where the fold compares answers.
    """

    run_folder: Path
    task: str
    kept: Handle
    counted: BoolArray | None
    context: Handle
    keeper: Keeper
    norms: Handle | None = None


@dataclass(frozen=True, kw_only=True)
class CountedShard:
    """Right answers of a shard's devices: [n, 6], in the order of EvaluationCounts; -1 where none is."""

    process: int
    counts: IntArray
    failures: Mapping[int, str] = field(default_factory=dict)
