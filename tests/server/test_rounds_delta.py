"""Rounds whose answers are coded against earlier ones: what the server holds, asks and mends."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from fedstill_client.rounds.base_table_store import BaseTableStore
from fedstill_proto.codec.api import encode_summary
from fedstill_proto.codec.summary_codec import summary_and_table
from fedstill_proto.codec.task_base import delta_base_of
from fedstill_proto.flower_records import pack
from fedstill_proto.messages import (
    PrivateStatistics,
    RoundTask,
    SoftLabelSummary,
    SummaryKind,
    SummaryRequest,
)
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.data.examples import Examples
from fedstill_server.rounds.fleet_run import FleetRun
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.run_store import RunStore
from flwr.app import RecordDict

from tests.server.scripted_fleet import CLASSES, SHAPE, ScriptedGrid, fleet_config

DELTA = parse_codec("dense,4bit,entropy,delta")
PUBLIC = 60


@dataclass
class Devices:
    """Devices that say nearly the same in each round, and code it against what they said last."""

    store: BaseTableStore
    held: list[int] = field(default_factory=list)  # the round that each task says is held
    wrong: set[int] = field(default_factory=set)  # rounds in which one has another table than it had

    def answer(self, task: RoundTask, device: int) -> RecordDict:
        name = f"device-{device}"
        self.held.append(task.request.base_round)
        table = self.store.table(name, run=task.run, round=task.request.base_round)
        if task.round in self.wrong and table is not None:
            table = table.extended(table.rows[:2], table.levels.of_rows(np.array([1, 0])))
        summary = self.said(task, device)
        blob, new = summary_and_table(
            summary, codec=task.request.codec, delta_base=delta_base_of(task, table)
        )
        assert new is not None
        self.store.keep(name, new, run=task.run, round=task.round)
        return pack("SoftLabelSummary", blob)

    def said(self, task: RoundTask, device: int) -> SoftLabelSummary:
        labels = np.random.default_rng(device).dirichlet(np.ones(CLASSES), PUBLIC).astype(np.float32)
        labels[task.round % PUBLIC] = 1 / CLASSES
        statistics = PrivateStatistics(soft_labels=DenseSoftLabels(labels))
        return SoftLabelSummary(task.run, task.round, task.family, task.request.kind, statistics)


def play(folder: Path, devices: Devices, config: FleetConfig, *, count: int = 2) -> list[RoundRecord]:
    rng = np.random.default_rng(0)
    public = Examples(rng.normal(size=(PUBLIC, *SHAPE)).astype(np.float32), np.arange(PUBLIC) % CLASSES)
    scripts = {
        device: lambda task, device=device: devices.answer(task, device)  # type: ignore[misc]
        for device in range(count)
    }
    store = RunStore(folder)
    FleetRun(ScriptedGrid(devices=count, scripts=scripts), config, public=public, store=store).run()
    records = store.records()
    store.close()
    return records


def delta_config(**changes: object) -> FleetConfig:
    return fleet_config("fedmd", uplink=DELTA, public_batch=0, **changes)


def test_the_second_answer_is_coded_against_the_first(tmp_path: Path) -> None:
    devices = Devices(BaseTableStore(tmp_path / "devices"))
    records = play(tmp_path, devices, delta_config())
    assert [record.accepted for record in records] == [2, 2, 2]
    assert devices.held == [0, 0, 1, 1, 2, 2]
    first, second, _ = (record.uplink_bytes for record in records)
    assert second < first - 2 * PUBLIC / 4  # at least two bits a row


def test_bytes_are_those_of_the_same_answers_sent_whole_or_less(tmp_path: Path) -> None:
    devices = Devices(BaseTableStore(tmp_path / "devices"))
    records = play(tmp_path, devices, delta_config(rounds=2), count=1)
    config = delta_config()
    request = SummaryRequest(SummaryKind.PUBLIC_SET, DELTA, np.arange(PUBLIC))
    task = RoundTask(config.run, 2, "mlp-small", config.training, request)
    whole = encode_summary(devices.said(task, 0), codec=DELTA)
    assert records[1].uplink_bytes < len(whole)


def test_an_answer_against_another_table_is_left_out_and_the_next_is_whole(tmp_path: Path) -> None:
    devices = Devices(BaseTableStore(tmp_path / "devices"), wrong={2})
    records = play(tmp_path, devices, delta_config(rounds=4), count=1)
    assert [record.accepted for record in records] == [1, 0, 1, 1]
    assert [one.reason for one in records[1].quarantined] == ["missing-base"]
    assert devices.held == [0, 1, 0, 3]


def test_a_run_that_goes_on_holds_what_it_held(tmp_path: Path) -> None:
    devices = Devices(BaseTableStore(tmp_path / "devices"))
    play(tmp_path, devices, delta_config(rounds=2), count=1)
    records = play(tmp_path, devices, delta_config(rounds=3), count=1)
    assert devices.held == [0, 1, 2]
    assert records[2].accepted == 1


def test_a_run_whose_tables_are_damaged_asks_for_whole_answers(tmp_path: Path) -> None:
    devices = Devices(BaseTableStore(tmp_path / "devices"))
    play(tmp_path, devices, delta_config(rounds=2), count=1)
    (tmp_path / "server/checkpoints/round-000002.tables").write_bytes(b"not what was written")
    records = play(tmp_path, devices, delta_config(rounds=3), count=1)
    assert devices.held == [0, 1, 0]
    assert records[2].accepted == 1
