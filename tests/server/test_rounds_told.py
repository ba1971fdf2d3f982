"""Rounds whose tasks are coded against what devices were told before: what the server holds, and mends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.rounds.replies import refusal_of
from fedstill_client.rounds.told_labels import ToldLabelsFile
from fedstill_proto.codec.api import TASK_LIMIT_BYTES, decode_task
from fedstill_proto.codec.told_labels import KEPT_ROUNDS, OLDEST_ROUNDS, table_told
from fedstill_proto.errors import WireError
from fedstill_proto.flower_records import RECORD, hello_reply, pack, unpack
from fedstill_proto.soft_labels.base_table import BaseTable
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_proto.v1 import fedstill_pb2 as pb
from fedstill_server.config.fleet import CohortRule, FleetConfig
from fedstill_server.data.examples import Examples
from fedstill_server.rounds.fleet_run import FleetRun
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.rounds.told_labels import LastTold, ToldRounds
from fedstill_sim.engine.grid import InProcessGrid
from fedstill_sim.engine.shards import EvaluationCounts
from flwr.app import Error, MetricRecord, RecordDict

from tests.server.scripted_fleet import CLASSES, SHAPE, fleet_config, honest_summary

PUBLIC = 120
WHOLE, DELTA = parse_codec("dense,4bit,log,entropy"), parse_codec("dense,4bit,log,entropy,delta")


@dataclass
class Devices:
    """Devices that keep what they are told as real ones do, in a folder each, and answer by script."""

    folder: Path
    count: int = 2
    silent: dict[int, set[int]] = field(default_factory=dict)  # device -> rounds of which the answer is lost
    losing: dict[int, int] = field(default_factory=dict)  # device -> the round before which its disk is lost
    bases: dict[tuple[int, int], int] = field(default_factory=dict)  # (device, round) -> the base of its task

    def handlers(self) -> dict[str, object]:
        def hello(devices: Sequence[int], contents: Sequence[RecordDict]) -> list[RecordDict]:
            return [hello_reply(f"device-{device}", "mlp-small") for device in devices]

        def train(devices: Sequence[int], contents: Sequence[RecordDict]) -> list[RecordDict | Error]:
            return [self._answer(device, content) for device, content in zip(devices, contents, strict=True)]

        def evaluate(devices: Sequence[int], contents: Sequence[RecordDict]) -> list[RecordDict]:
            counts = dict.fromkeys(EvaluationCounts._fields, 1)
            return [RecordDict({RECORD: MetricRecord(counts)}) for _ in devices]

        return {"query.hello": hello, "train": train, "evaluate": evaluate}

    def _answer(self, device: int, content: RecordDict) -> RecordDict | Error:
        blob = unpack(content, "RoundTask", size_limit_bytes=TASK_LIMIT_BYTES)
        sent = pb.RoundTask.FromString(blob)
        self.bases[device, sent.round] = sent.soft_targets.public_set.base_round
        told = ToldLabelsFile(self.folder / f"device-{device}")
        if self.losing.get(device) == sent.round:
            told.file.unlink(missing_ok=True)
        try:
            task = decode_task(blob, told=told.table)
        except WireError as error:
            refusal = refusal_of(error)
            return Error(refusal.code, refusal.word)
        told.keep(task.run, task.round, table_told(task.soft_targets))
        if task.round in self.silent.get(device, ()):
            return Error(107, "wrong-version")  # no lost message, which the server would send again
        return pack("SoftLabelSummary", honest_summary(task, device))

    def bases_of(self, device: int) -> list[int]:
        return [base for (who, _), base in sorted(self.bases.items()) if who == device]


def play(folder: Path, devices: Devices, config: FleetConfig) -> list[RoundRecord]:
    store = RunStore(folder)
    grid = InProcessGrid(devices=devices.count, handlers=devices.handlers())  # type: ignore[arg-type]
    FleetRun(grid, config, public=_public(), store=store).run()
    records = store.records()
    store.close()
    return records


def _public() -> Examples:
    """So many rows that codes of them are shorter than plain bits."""
    x = np.random.default_rng(0).normal(size=(PUBLIC, *SHAPE)).astype(np.float32)
    return Examples(x, np.arange(PUBLIC) % CLASSES)


def told_config(**changes: object) -> FleetConfig:
    return fleet_config(**{"downlink": DELTA, "evaluate_every": 0, "rounds": 4, **changes})  # type: ignore[arg-type]


@pytest.fixture
def devices(tmp_path: Path) -> Devices:
    return Devices(tmp_path / "devices")


def digests(records: Sequence[RoundRecord]) -> list[str]:
    return [record.consensus_digest for record in records]


def test_tasks_are_coded_against_the_round_before_and_the_run_is_the_same(
    tmp_path: Path, devices: Devices
) -> None:
    records = play(tmp_path / "delta", devices, told_config())
    whole = play(tmp_path / "whole", Devices(tmp_path / "others"), told_config(downlink=WHOLE))
    assert devices.bases_of(0) == devices.bases_of(1) == [0, 1, 2, 3]
    assert digests(records) == digests(whole)
    assert records[3].downlink_bytes < whole[3].downlink_bytes


def test_a_device_that_lost_what_it_was_told_says_so_and_gets_the_task_whole(
    tmp_path: Path, devices: Devices
) -> None:
    devices.losing[1] = 2
    records = play(tmp_path, devices, told_config())
    assert [record.accepted for record in records] == [2] * 4
    assert devices.bases_of(0) == [0, 1, 2, 3]
    assert devices.bases_of(1) == [0, 0, 2, 3]


def test_the_base_is_the_round_whose_answer_came_as_long_as_devices_keep_it(
    tmp_path: Path, devices: Devices
) -> None:
    devices.silent[1] = {2, 3, 4, 5, 6}
    records = play(tmp_path, devices, told_config(rounds=8))
    assert devices.bases_of(1) == [0, 1, 1, 1, 1, 0, 0, 7]
    assert [record.accepted for record in records] == [2, 1, 1, 1, 1, 1, 2, 2]


def test_devices_that_take_part_by_turns_have_bases_of_their_own(tmp_path: Path) -> None:
    devices = Devices(tmp_path / "devices", count=6)
    rounds = 12
    records = play(
        tmp_path, devices, told_config(rounds=rounds, cohort=CohortRule(goal_count=2, deadline_s=0.2))
    )
    assert [record.accepted for record in records] == [2] * rounds
    for device in range(devices.count):
        asked = sorted(round_ for who, round_ in devices.bases if who == device)
        assert devices.bases_of(device) == [0, *asked][: len(asked)]


def test_a_run_that_goes_on_remembers_what_it_told(tmp_path: Path, devices: Devices) -> None:
    play(tmp_path, devices, told_config(rounds=2))
    play(tmp_path, devices, told_config(rounds=3))
    (tmp_path / "server/checkpoints/round-000003.tables").write_bytes(b"not what was written")
    records = play(tmp_path, devices, told_config(rounds=5))
    assert devices.bases_of(0) == [0, 1, 2, 0, 4]
    assert [record.accepted for record in records] == [2] * 5


def test_in_mode_async_a_base_is_the_task_that_was_answered(tmp_path: Path, devices: Devices) -> None:
    records = play(tmp_path, devices, told_config(mode="async"))
    assert [record.accepted for record in records] == [2] * 4
    assert devices.bases_of(0) == [0, 1, 2, 3]


def test_rounds_are_told_for_so_long_and_in_so_many_bytes() -> None:
    table = BaseTable.of(np.arange(9), DELTA.levels(np.eye(3, dtype=np.float32)[np.arange(9) % 3]))
    told = ToldRounds(devices={"kitchen": LastTold(1)})
    for number in range(1, OLDEST_ROUNDS + 1):
        told = told.told(number, table)
    assert told.base_of("kitchen") == 1
    assert told.told(OLDEST_ROUNDS + 1, table).base_of("kitchen") == 0
    few = ToldRounds(limit_bytes=2 * table.bytes).told(1, table).told(2, table).told(3, table)
    assert sorted(few.tables) == [2, 3]
    of_weights = told.answered([("kitchen", 99)], asked=["kitchen"], now=99, mistaken=[])
    assert of_weights.devices == told.devices
    for _ in range(KEPT_ROUNDS):
        assert told.base_of("kitchen") == 1
        told = told.answered([], asked=["kitchen"], now=9, mistaken=[])
    assert told.base_of("kitchen") == 0
