"""A real fleet with a privacy budget: what `prepare` promises, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fedstill_server.cli import cli
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.fleet.folder import FleetFolder, FleetSettings
from fedstill_server.privacy.accountant import epsilon_of_rounds
from fedstill_server.rounds.most_asked import most_asked
from fedstill_server.rounds.round_record import Quarantined, RoundRecord
from typer.testing import CliRunner, Result

from tests.server.scripted_fleet import public_examples


@pytest.fixture
def fleet(tmp_path: Path) -> FleetFolder:
    examples = public_examples()
    assert examples.y is not None
    np.savez(tmp_path / "public.npz", x=examples.x, y=examples.y)
    return FleetFolder.create(
        tmp_path / "fleet", FleetSettings(host="localhost", port=8443, superlink_port=8000)
    )


def prepare(fleet: FleetFolder, *words: object) -> Result:
    given = ["prepare", fleet.folder, "--public", fleet.folder.parent / "public.npz", "--rounds", 4, *words]
    return CliRunner().invoke(cli, [str(word) for word in given])


def test_a_fleet_s_noise_is_the_system_s_and_enough_for_its_epsilon(fleet: FleetFolder) -> None:
    done = prepare(fleet, "--privacy", "local", "--epsilon", 1, "--delta", 1e-6)
    assert done.exit_code == 0, done.output

    document = json.loads((fleet.folder / "config.json").read_text())["fleet"]
    config = FleetConfig.from_json(document)
    rule = config.privacy
    assert rule is not None
    assert (rule.mode, rule.noise_seed, rule.measured) == ("local", None, False)
    assert epsilon_of_rounds(rule.noise_multiplier, 4, 1e-6) <= 1
    assert not config.uplink.entropy


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--epsilon", 1), "--epsilon belongs to --privacy central, local or distributed"),
        (("--privacy", "local"), "one of --epsilon and --noise-multiplier"),
        (("--privacy", "both", "--noise-multiplier", 1), "'both' is not one of central, local"),
        (("--privacy", "local", "--noise-multiplier", 1, "--method", "fedmd"), "'fedmd' has no differential"),
    ],
)
def test_what_cannot_be_promised_is_refused(fleet: FleetFolder, words: tuple[object, ...], said: str) -> None:
    done = prepare(fleet, *words)
    assert said in str(done.exception)
    assert not (fleet.folder / "config.json").exists()


def record(counted: tuple[str, ...], *, refused: tuple[str, ...] = (), unnamed: int = 0) -> RoundRecord:
    numbers = dict.fromkeys(("replied", "accepted", "uplink_bytes", "downlink_bytes", "evaluation_bytes"), 0)
    shares = dict.fromkeys(("personal_accuracy", "global_accuracy", "worst_device_accuracy"))
    return RoundRecord(
        round=1,
        seconds=0.0,
        late=0,
        asked=len(counted) + len(refused) + unnamed,
        quarantined=tuple(Quarantined(device=one, node="1", reason="no-answer", text="") for one in refused),
        uplink_bytes_per_device=0.0,
        downlink_bytes_per_device=0.0,
        devices={},
        teacher_accuracy=None,
        consensus_digest="",
        counted=counted,
        **numbers,
        **shares,
    )


def test_who_was_asked_most_pays_most() -> None:
    rounds = [record(("a", "b")), record(("a",), refused=("b",)), record(("c",), refused=("b",))]
    assert most_asked(rounds) == 3  # b, whatever became of its answers
    assert most_asked([record(("a",)), record(("b",))]) == 1
    # a may have been asked in the second, too, and have answered late or never
    assert most_asked([record(("a",)), record(("b",), unnamed=2)]) == 2
    assert most_asked([record(("a",), unnamed=1)] * 2 + [record(("b",), unnamed=1)]) == 3
    assert most_asked([]) == 0
