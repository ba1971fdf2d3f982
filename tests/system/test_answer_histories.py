"""Random histories of a device and its server: whatever is lost, nothing is decoded wrong, and it mends.

Both sides are the real ones: the device's store on disk, the server's tables through their bytes, tasks and
summaries through the wire. Messages get lost, come twice, come late; either side is put back to an earlier
day or loses its disk; the device joins late and misses rounds.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from fedstill_client.rounds.base_table_store import BaseTableStore
from fedstill_proto.arrays import FloatArray
from fedstill_proto.codec.api import Expected, decode_summary, decode_task, encode_task
from fedstill_proto.codec.summary_codec import summary_and_table
from fedstill_proto.codec.task_base import delta_base_of
from fedstill_proto.messages import (
    PrivateStatistics,
    PublicSoftLabels,
    RoundTask,
    SoftLabelSummary,
    SummaryKind,
    SummaryRequest,
)
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.entropy import MissingBase
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_proto.soft_labels.levels import Grid
from fedstill_server.rounds.base_tables import BaseTables
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.proto.wire_samples import FAMILY, PLAN, RUN, UINT8, random_rows

DEVICE, PUBLIC, CLASSES = "kitchen", 80, 5
# Enough of them that an answer is shorter against a base than in plain bits.
ROWS = st.sampled_from(
    [set(range(PUBLIC)), set(range(60)), set(range(30, PUBLIC)), set(range(1, PUBLIC, 2)), {3}]
)


class History(RuleBasedStateMachine):
    """One device, one server, and what lies between."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = BaseTableStore(self.folder / "device")
        self.held = BaseTables()
        self.round = 0
        self.earlier: list[bytes] = []  # what the server's disk was
        self.refused = 0  # answers that needed to be whole

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @initialize(
        bits=st.integers(1, 4), k=st.sampled_from([0, 2]), grid=st.sampled_from(Grid), carries=st.booleans()
    )
    def starts(self, bits: int, k: int, grid: Grid, carries: bool) -> None:
        self.codec = SoftLabelCodec(Encoding.LEVELS, k, bits, grid, entropy=True, delta=True)
        self.carries = carries

    @rule(seed=st.integers(0, 20), rows=ROWS, selects=st.booleans())
    def a_whole_round(self, seed: int, rows: set[int], selects: bool) -> None:
        blob = self._asked(rows)
        self._received(self._answered(blob, seed, selects), blob, seed, selects)

    @rule(rows=ROWS)
    def a_task_is_lost(self, rows: set[int]) -> None:
        self._asked(rows)

    @rule(seed=st.integers(0, 20), rows=ROWS)
    def an_answer_is_lost(self, seed: int, rows: set[int]) -> None:
        self._answered(self._asked(rows), seed)

    @rule(seed=st.integers(0, 20), rows=ROWS)
    def a_task_comes_twice(self, seed: int, rows: set[int]) -> None:
        blob = self._asked(rows)
        first = self._answered(blob, seed)
        assert self._answered(blob, seed) == first
        self._received(first, blob, seed)

    @rule(rounds=st.integers(1, 6))
    def the_device_misses_rounds(self, rounds: int) -> None:
        self.round += rounds

    @rule()
    def the_device_loses_its_disk(self) -> None:
        shutil.rmtree(self.store.folder, ignore_errors=True)

    @rule(byte=st.integers(0, 255), place=st.floats(0, 0.999))
    def the_devices_disk_is_damaged(self, byte: int, place: float) -> None:
        for file in self.store.folder.glob("*.answers"):
            content = bytearray(file.read_bytes())
            content[int(place * len(content))] = byte
            file.write_bytes(bytes(content))

    @rule()
    def the_devices_disk_is_copied(self) -> None:
        shutil.rmtree(self.folder / "copy", ignore_errors=True)
        if self.store.folder.exists():
            shutil.copytree(self.store.folder, self.folder / "copy")

    @rule()
    def the_devices_disk_is_put_back(self) -> None:
        if (self.folder / "copy").exists():
            shutil.rmtree(self.store.folder, ignore_errors=True)
            shutil.copytree(self.folder / "copy", self.store.folder)

    @rule()
    def the_server_starts_anew(self) -> None:
        self.held = BaseTables.from_bytes(self.held.to_bytes())

    @rule()
    def the_server_loses_its_tables(self) -> None:
        self.held = BaseTables()

    @rule(back=st.integers(1, 3), same_rounds=st.booleans())
    def the_server_is_put_back(self, back: int, same_rounds: bool) -> None:
        """To an earlier checkpoint, from which it plays its rounds again."""
        if len(self.earlier) >= back:
            self.held = BaseTables.from_bytes(self.earlier[-back])
            if same_rounds:
                self.round = max(self.held.round_of(DEVICE), self.round - back)

    @rule()
    def the_server_needs_the_space(self) -> None:
        limit = replace(self.held, limit_bytes=0)
        self.held = replace(limit.after([], mistaken=[]), limit_bytes=BaseTables().limit_bytes)
        assert self.held.round_of(DEVICE) == 0

    @rule(seed=st.integers(0, 20), rows=ROWS)
    def both_remember_a_round_differently(self, seed: int, rows: set[int]) -> None:
        """The server plays a round again, with another answer; the device's disk is put back to the first."""
        held = self.held
        self.a_whole_round(seed, rows, False)
        self.the_devices_disk_is_copied()
        self.held, self.round = held, self.round - 1
        self.a_whole_round(seed + 1, rows, False)
        self.the_devices_disk_is_put_back()

    @rule(seed=st.integers(0, 20))
    def two_rounds_in_peace_end_in_deltas(self, seed: int) -> None:
        """Whatever came before: at most one answer is refused, and then each is held."""
        rows, before = set(range(PUBLIC)), self.refused
        for _ in range(2):
            self.a_whole_round(seed, rows, False)
        assert self.refused <= before + 1
        assert self.held.round_of(DEVICE) == self.round
        assert self.store.table(DEVICE, run=RUN, round=self.round) is not None

    def _asked(self, rows: set[int]) -> bytes:
        """The round's task, as the server sends it."""
        self.round += 1
        self.earlier.append(self.held.to_bytes())
        asked = np.array(sorted(rows), np.int64)
        task = RoundTask(
            run=RUN,
            round=self.round,
            family=FAMILY,
            training=PLAN,
            request=SummaryRequest(
                SummaryKind.PUBLIC_SET, self.codec, asked, base_round=self.held.round_of(DEVICE)
            ),
            soft_targets=PublicSoftLabels(
                np.arange(PUBLIC), DenseSoftLabels(random_rows(PUBLIC, CLASSES, seed=self.round))
            )
            if self.carries
            else None,
        )
        return encode_task(task, codec=UINT8)

    def _answered(self, blob: bytes, seed: int, selects: bool = False) -> bytes:
        """What the device says, as its round work does."""
        task = decode_task(blob)
        held = self.store.table(DEVICE, run=task.run, round=task.request.base_round)
        summary = self._said(task, seed, selects)
        answer, table = summary_and_table(summary, codec=self.codec, delta_base=delta_base_of(task, held))
        if table is not None:
            self.store.keep(DEVICE, table, run=task.run, round=task.round)
        return answer

    def _received(self, answer: bytes, blob: bytes, seed: int, selects: bool = False) -> None:
        """Never anything but what was said, on the grid; or a clear word that it needs to be whole."""
        task = decode_task(blob)
        expected = Expected.of(task, CLASSES)
        expected = replace(expected, selected=selects).with_table(self.held.table_of(DEVICE))
        try:
            summary = decode_summary(answer, expected=expected)
        except MissingBase:
            self.refused += 1
            self.held = self.held.after([], mistaken=[DEVICE])
            return
        said = self._said(task, seed, selects).statistics.soft_labels
        assert said is not None
        assert summary.statistics.soft_labels is not None
        wanted = self.codec.rounded(said).dense()
        np.testing.assert_array_equal(summary.statistics.soft_labels.dense(), wanted)
        # A selection may leave out every row: then both sides hold what they held.
        tables = [] if summary.table is None else [(DEVICE, task.round, summary.table)]
        self.held = self.held.after(tables, mistaken=[])

    def _said(self, task: RoundTask, seed: int, selects: bool) -> SoftLabelSummary:
        rows = task.request.public_rows
        probabilities = _opinion(seed)[rows]
        answered = rows % 2 == 0 if selects else None
        if answered is not None:
            probabilities = probabilities[answered]
        statistics = PrivateStatistics(soft_labels=DenseSoftLabels(probabilities), answered=answered)
        return SoftLabelSummary(task.run, task.round, task.family, task.request.kind, statistics)


def _opinion(seed: int) -> FloatArray:
    return random_rows(PUBLIC, CLASSES, seed=seed)


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
