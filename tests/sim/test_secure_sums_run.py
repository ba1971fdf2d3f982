from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fedstill_proto.flower_records import pack
from fedstill_server.config.codec import ConfigError
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.run_store import RunStore
from fedstill_sim.progress import show_progress
from fedstill_sim.request import RequestError, RunRequest
from fedstill_sim.runner.run import continue_run, start_run
from fedstill_sim.secure_sums.devices import SumDevices
from flwr.app import Error, RecordDict
from rich.console import Console

SMALL: dict[str, Any] = {
    "dataset": "digits",
    "families": ("mlp-8",),
    "method": "class-logits",
    "rounds": 1,
    "epochs": 1,
    "use_public_labels": False,
    "noise_multiplier": 1.0,
    "evaluate_every": 99,
    "baselines": (),
    "tradeoff": False,
    "processes": 0,
}


def records(folder: Path, **asked: Any) -> list[RoundRecord]:
    """The rounds of a small run."""
    start_run(RunRequest(**{**SMALL, **asked}), folder, force=False)
    with show_progress(Console(stderr=True), quiet=True) as progress:
        continue_run(folder, progress, report=False)
    store = RunStore(folder)
    try:
        return list(store.records())
    finally:
        store.close()


def test_a_sum_that_the_server_cannot_open_is_the_sum_that_it_would_have_made(tmp_path: Path) -> None:
    """Noise of the devices' own is on the grid already: masks come and go without a trace."""
    asked = {"devices": 12, "privacy": "local"}
    (seen,) = records(tmp_path / "seen", **asked)
    (unseen,) = records(tmp_path / "unseen", **asked, secure_sums=True, sum_group=6)
    assert unseen.consensus_digest == seen.consensus_digest
    assert unseen.counted == seen.counted
    assert unseen.uplink_bytes > seen.uplink_bytes


def test_devices_that_are_gone_for_a_round_are_in_no_sum(tmp_path: Path) -> None:
    asked = {"devices": 12, "privacy": "distributed", "away": 0.3, "rounds": 2}
    there = {len(record.counted) for record in records(tmp_path, **asked)}
    assert min(there) >= 6
    assert min(there) < 12


def test_a_device_that_answers_garbage_is_left_out_and_the_sum_is_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = SumDevices._answer

    def answer(self: SumDevices, step: str, device: int, content: RecordDict) -> RecordDict | Error:
        garbage = device == 3 and step == "mask"
        return pack("SumAnswer", b"garbage") if garbage else honest(self, step, device, content)

    monkeypatch.setattr(SumDevices, "_answer", answer)
    (record,) = records(tmp_path, devices=12, privacy="distributed")
    (entry,) = record.quarantined
    assert len(record.counted) == 11
    assert (entry.reason, "checksum" in entry.text) == ("sum", True)


def test_a_group_that_is_too_small_teaches_nothing(tmp_path: Path) -> None:
    (record,) = records(tmp_path, devices=2, privacy="distributed")
    assert record.counted == ()
    assert {entry.reason for entry in record.quarantined} == {"sum"}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"privacy": None, "noise_multiplier": None, "secure_sums": True}, "--secure-sums belongs to"),
        ({"privacy": "central", "sum_group": 5}, "--sum-group belongs to --secure-sums"),
        ({"privacy": "distributed", "engine": "flower"}, "have no keys"),
        ({"privacy": "distributed", "mode": "async"}, "mode"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, asked: dict[str, Any], said: str) -> None:
    with pytest.raises((RequestError, ConfigError), match=said):
        start_run(RunRequest(**{**SMALL, "devices": 12, **asked}), tmp_path / "run", force=False)
