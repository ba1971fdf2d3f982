"""Phones whose keyboards learn together, over TLS: a personal word stays, goes when told, is never sent."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.agent.agent import Agent
from fedstill_proto.text.vocabulary import WordList

from benchmarks.fleet_on_loopback.fleet import Fleet, Shape, bring_up
from benchmarks.fleet_on_loopback.phones import Phones
from tests.client.keyboard_samples import PUBLIC
from tests.system.canaries import leaks

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
SECRET = "quillfeather"
TYPED = f"we meet at {SECRET.title()} tonight"
PLACES = 3
PHONES = Phones(
    public=PUBLIC * 4,
    texts=[[TYPED] * 3, ["the lazy dog jumps over the quick fox at the old house."] * 3],
    options={
        "--words": 120,
        "--places": PLACES,
        "--public-rows": 8,
        "--batch-size": 2,
        "--learning-rate": 0.01,
        "--quick": True,
    },
)
SHAPE = Shape(
    devices=2,
    rounds=1,
    method="next-words",
    families=("gru",),
    epochs=1,
    public_batch=4,
    proxy=NGINX is not None,
)


@pytest.fixture(scope="module")
def ran() -> Iterator[Fleet]:
    """Two phones and a round, over."""
    with (
        tempfile.TemporaryDirectory(prefix="fs") as folder,  # a socket's path is short
        bring_up(Path(folder) / "real", SHAPE, PHONES) as fleet,
    ):
        fleet.start()
        fleet.server.wait_for("round", seconds=300)
        for agent in fleet.agents.values():
            agent.end()
        yield fleet


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_suggestion_comes_out_of_a_round_of_the_fleet(ran: Fleet) -> None:
    (record,) = ran.records()
    assert (record.accepted, record.quarantined) == (SHAPE.devices, ())
    assert record.personal_accuracy is not None
    for name, running in ran.agents.items():
        (summary,) = ran.summaries(name)
        assert summary.kind == "public-set"
        # 16 likeliest words at each place of the rows asked for, and less than a byte for each.
        assert summary.values == 16 * PLACES * SHAPE.public_batch
        assert 0 < summary.bytes < summary.values + 200
        with Agent.open(running.home.folder, precision="int8") as agent:
            status = agent.status()
            assert (status.student_round, status.precision, status.package_version) == (1, "int8", 1)
            assert agent.suggest("the quick brown")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_what_was_typed_is_on_no_wire(ran: Fleet) -> None:
    assert ran.wire is not None
    wire = b"\n".join(ran.wire.sent())
    for name in ran.agents:
        assert name.encode() in wire  # the wire is read in the clear
    words = WordList.from_json((ran.folder / "vocabulary.json").read_bytes())
    assert SECRET not in words
    canaries = [SECRET, SECRET.title(), TYPED, np.array(words.encode(TYPED))]
    assert leaks(wire, canaries) == []
    assert len(leaks(wire + TYPED.encode(), canaries)) == 2  # they would be found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_personal_word_survives_a_restart_and_is_forgotten_when_told(ran: Fleet) -> None:
    home = ran.agents["phone-0"].home.folder

    def suggested() -> list[str]:
        with Agent.open(home) as agent:
            return [each.word.lower() for each in agent.suggest("we meet at", SECRET[:2])]

    assert SECRET in suggested()
    assert SECRET in suggested()
    with Agent.open(ran.agents["phone-1"].home.folder) as agent:
        assert SECRET not in [each.word.lower() for each in agent.suggest("we meet at", SECRET[:2])]
    with Agent.open(home) as agent:
        assert agent.forget(everything=True).students > 0
        assert agent.status().student_round == 0
    assert SECRET not in suggested()
