"""Homes whose assistants learn together, over TLS: from tables to sure packages, to an answer of a round."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.model.intent_schema import intent_schema
from fedstill_client.model.intents import predict_intents
from fedstill_client.packages import PackageSource, check_package
from fedstill_proto.text.intents import OUT_OF_SCOPE
from fedstill_server.publish.repository import Repository
from fedstill_server.tasks.utterances.task import UtteranceTask

from benchmarks.fleet_on_loopback.fleet import Shape, bring_up
from benchmarks.fleet_on_loopback.homes import Homes

THINGS = ("lamp", "radio", "heater", "fan", "tv", "kettle")
VERBS = {"off": "turn off the {}", "on": "turn on the {}", "time": "what time is it in the {}"}
PUBLIC = [(verb.format(thing), label) for label, verb in VERBS.items() for thing in THINGS]
# Each says two of three things, under a name of its own.
SAID = [
    [
        (verb.format(f"{name} {thing}"), label)
        for label, verb in VERBS.items()
        if label != never
        for thing in THINGS
    ]
    for name, never in (("rosie", "time"), ("bruno", "off"))
]
SHAPE = Shape(
    devices=2, rounds=1, method="fedstill", families=("ngrams-small",), epochs=2, public_batch=8, proxy=False
)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_answer_comes_out_of_a_round_of_the_fleet() -> None:
    tested = [*PUBLIC, *((f"please {text}", label) for text, label in PUBLIC)]
    homes = Homes(public=PUBLIC, said=SAID, test=tested, options={"--public-rows": 16})
    with (
        tempfile.TemporaryDirectory(prefix="fs") as folder,  # a socket's path is short
        bring_up(Path(folder) / "real", SHAPE, homes) as fleet,
    ):
        fleet.start()
        fleet.server.wait_for("round", seconds=300)
        for agent in fleet.agents.values():
            agent.end()

        (record,) = fleet.records()
        assert (record.accepted, record.quarantined) == (SHAPE.devices, ())
        assert record.personal_accuracy is not None
        for name, running in fleet.agents.items():
            (summary,) = fleet.summaries(name)
            assert summary.kind == "public-set"
            assert 0 < summary.bytes < 500  # of soft labels of 8 rows, and nothing that was said
            with Agent.open(running.home.folder, precision="int8") as opened:
                status = opened.status()
                assert (status.student_round, status.precision) == (1, "int8")
                understood = opened.predict_text("turn on the rosie lamp")
                assert understood.intents[0].name == "on"
                chances = [each.confidence for each in understood.intents]
                assert 0.3 < sum(chances) <= 1 + 1e-5  # the rest is what asks for nothing

        config = json.loads((fleet.folder / "config.json").read_text())["fleet"]
        assert (config["method"]["name"], config["classes"]) == ("fedstill", 4)
        assert config["method"]["options"]["propagation_width"] == 0.0
        usual = UtteranceTask().default_work(labelled=True)  # as in the simulator
        assert config["training"]["soft_weight"] == usual.soft_weight == 0.35
        trust = Path(folder) / "trust"
        PackageSource.trust_root(trust, Repository.open(fleet.folder).trusted_root())
        package = PackageSource.of(fleet.folder / "repository", trust).fetch("ngrams-small")
        check_package(package)
        schema = intent_schema(package)
        assert schema is not None
        assert schema.intents == ("off", "on", "time")
        assert schema.out_of_scope == OUT_OF_SCOPE
        assert schema.temperature != 1.0
        assert 0 < schema.threshold <= 1  # fitted to what was tested
        assert package.public_x is not None
        assert package.public_x.shape == (16, 128)
        assert predict_intents(package, "turn off the radio").intents[0].name == "off"
