"""Examples as people give them to an agent: bytes with channels last, names of classes, another scale."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fedstill_client import AgentClient
from fedstill_client.agent.agent import Agent
from fedstill_client.cli import app
from fedstill_client.home import AgentHome
from fedstill_client.model.given_examples import class_numbers
from fedstill_client.packages.install import install
from fedstill_client.rounds.device import FleetDevice
from fedstill_client.store import PrivateStore
from fedstill_proto.errors import InvalidValue
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.input_rule import InputRule
from typer.testing import CliRunner

from tests.client.agent_samples import enrolled_home, trainable_package
from tests.client.recording_agent import recording_service, short_home
from tests.client.samples import mlp_logits, softmax, student

GIVEN = np.random.default_rng(3).integers(0, 256, (40, 6), np.uint8)
LABELS = np.array(["emu", "cat", "dog", "cat"] * 10)
BY_255 = InputRule(element_type="uint8", scale=(1 / 255,), usual=(100.0, 200.0))
HALVES = InputRule(offset=(127.5,), scale=(1 / 127.5,))


def package(version: int, rule: InputRule) -> StudentPackage:
    made = trainable_package(version)
    return replace(made, manifest=replace(made.manifest, input_rule=rule, class_names=("cat", "dog", "emu")))


def install_package(home: AgentHome, version: int, rule: InputRule) -> None:
    with PrivateStore.open(home) as store:
        install(home, store, package(version, rule))


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    made = enrolled_home(tmp_path / "home", owner_share=0.0)
    install_package(made, 2, BY_255)
    return made


def test_the_package_s_rule_scales_what_an_agent_is_given(home: AgentHome) -> None:
    expected = softmax(mlp_logits(student(), GIVEN.astype(np.float32) * np.float32(1 / 255)))

    with Agent.open(home.folder) as agent:
        answers = agent.predict(GIVEN)
        np.testing.assert_array_equal(agent.predict(GIVEN.astype(np.float64)), answers)
        assert agent.status().class_names == ("cat", "dog", "emu")

    np.testing.assert_allclose(answers, expected, atol=1e-5)


def test_examples_are_kept_as_given_for_the_rules_of_packages_to_come(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        agent.observe(GIVEN, LABELS)
        agent.observe(GIVEN[:1] + 0.5, [2])
        by_255 = softmax(mlp_logits(student(), GIVEN.astype(np.float32) * np.float32(1 / 255)))
    with PrivateStore.open(home) as store:
        rows = {kind for (kind,) in store._database.rows("SELECT element_type FROM examples WHERE id < 41")}
        kept = store.examples("all")
    with FleetDevice.opened(home.folder) as device:
        scaled = device.private.x
    install_package(home, 3, HALVES)
    with FleetDevice.opened(home.folder) as device:
        centred = device.private.x
    with Agent.open(home.folder) as agent:
        centred_answers = agent.predict(GIVEN)

    assert rows == {"uint8"}
    np.testing.assert_array_equal(kept.x[:40], GIVEN)
    assert kept.labels[:4].tolist() == [2, 0, 1, 0]
    assert 0 <= scaled.min() <= scaled.max() <= 1
    assert -1 <= centred.min() < -0.5
    np.testing.assert_allclose(centred, scaled * 2 - 1, atol=1e-6)
    assert np.abs(centred_answers - by_255).max() > 0.01


def test_an_agent_learns_from_what_its_network_reads(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        agent.observe(GIVEN, LABELS)
        assert agent.personalize().steps > 0


def test_examples_of_another_scale_are_doubted_once(
    home: AgentHome, caplog: pytest.LogCaptureFixture
) -> None:
    with Agent.open(home.folder) as agent, caplog.at_level(logging.WARNING, "fedstill.agent"):
        agent.predict(GIVEN)
        assert not caplog.records
        agent.predict(GIVEN / 255)
        agent.observe(GIVEN / 255, LABELS)

    assert len(caplog.records) == 1
    assert "scaled otherwise" in caplog.text


def test_names_of_classes_are_labels() -> None:
    assert class_numbers(("cat", "dog"), np.array(["dog", "cat"])).tolist() == [1, 0]
    assert class_numbers(("10", "20", "30"), np.array([30, 10])).tolist() == [2, 0]
    assert class_numbers(("cat", "dog"), np.array([1, 7])).tolist() == [1, 7]
    for names, labels, problem in (
        (("cat", "dog"), ["dog", "cta"], r"labels\[1\].*did you mean cat"),
        (("10", "20"), [11], r"labels\[0\]"),
        ((), ["cat"], "class numbers"),
    ):
        with pytest.raises(InvalidValue, match=problem):
            class_numbers(names, np.array(labels))


def test_commands_show_names_of_classes(home: AgentHome, tmp_path: Path) -> None:
    np.savez(tmp_path / "today.npz", x=GIVEN, y=LABELS)
    run = CliRunner()

    kept = run.invoke(app, ["observe", "--home", str(home.folder), "--input", str(tmp_path / "today.npz")])
    told = run.invoke(
        app, ["predict", "--home", str(home.folder), "--input", str(tmp_path / "today.npz"), "--json"]
    )
    output = ["--output", str(tmp_path / "answers.csv")]
    run.invoke(app, ["predict", "--home", str(home.folder), "--input", str(tmp_path / "today.npz"), *output])

    assert "40 examples kept" in kept.output
    answers = json.loads(told.stdout)
    assert answers["class_names"] == ["cat", "dog", "emu"]
    assert [answers["class_names"][each] for each in answers["classes"]] == answers["labels"]
    lines = (tmp_path / "answers.csv").read_text().splitlines()
    assert lines[0] == "class,label,p0,p1,p2"
    assert lines[1].startswith(f"{answers['classes'][0]},{answers['labels'][0]},")


def test_a_service_takes_bytes_and_names_and_says_what_is_odd(caplog: pytest.LogCaptureFixture) -> None:
    with short_home() as made, recording_service(made) as agent, AgentClient(made.folder) as client:
        client.observe(GIVEN, LABELS)
        client.observe(GIVEN[:2], [1, 0])
        with caplog.at_level(logging.WARNING, "fedstill.agent"):
            client.predict(GIVEN.astype(np.float32) * 100)
            client.predict(GIVEN.astype(np.float32) * 100)

        assert agent.kept[0][0].dtype == np.uint8
        assert agent.kept[0][1].tolist() == LABELS.tolist()
        assert agent.kept[1][1].tolist() == [1, 0]
        assert [record.getMessage() for record in caplog.records] == ["odd"]
