"""The same words make the same configuration, in the simulator and in a real fleet."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.config.run_options import RunOptions
from fedstill_server.data.forms import Labels
from fedstill_server.fleet.preparing import PublicData, facts_of
from fedstill_server.methods import METHODS, methods_for
from fedstill_server.resolve import resolve as resolve_fleet
from fedstill_server.tasks import TASKS
from fedstill_server.tasks.interface import FleetFiles
from fedstill_sim.config import requested_data, resolve
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.request import RunRequest

FAMILIES = ("mlp-small", "cnn")


@pytest.fixture(scope="module")
def data() -> FleetData:
    return requested_data(RunRequest(dataset="digits", devices=4, families=FAMILIES))


def simulated(data: FleetData, words: dict[str, Any]) -> FleetConfig:
    return resolve(RunRequest(dataset="digits", families=FAMILIES, baselines=(), **words), data).fleet


def prepared(data: FleetData, words: dict[str, Any], folder: Path, *, labelled: bool = True) -> FleetConfig:
    """As prepare_fleet makes it, of the same public set as a file."""
    arrays = {"x": data.public_x, "y": data.public_y} if labelled else {"x": data.public_x}
    np.savez(folder / "public.npz", **arrays)  # type: ignore[arg-type]
    given = PublicData(public=folder / "public.npz", classes=data.classes)
    files = FleetFiles(
        public=given.public,
        families=FAMILIES,
        classes=given.classes,
        folder=folder,
        seed=words.get("seed", 0),
    )
    facts = facts_of("0" * 8, FAMILIES, TASKS.load("arrays")().read(files))
    return resolve_fleet(RunOptions(families=FAMILIES, **words), facts)


def apart_from_where(config: FleetConfig) -> FleetConfig:
    """Without what names the run and its files, whose noise it is, and whether it ever ends."""
    rule = config.privacy
    if rule is not None:
        rule = dataclasses.replace(rule, noise_seed=None, measured=False)
    return dataclasses.replace(
        config, run="0" * 8, public_set="", test_set=None, privacy=rule, continuous=False
    )


def test_a_real_fleet_goes_on_unless_rounds_or_privacy_say_how_many(data: FleetData, tmp_path: Path) -> None:
    words: list[dict[str, Any]] = [{}, {"rounds": 20}, {"privacy": "local", "epsilon": 8.0}]
    configs = [prepared(data, {"method": "class-logits", **one}, tmp_path) for one in words]
    assert [(one.continuous, one.rounds) for one in configs] == [(True, 20), (False, 20), (False, 20)]
    assert not simulated(data, {"method": "class-logits"}).continuous
    with pytest.raises(ConfigError, match="continuous: True is not there with privacy"):
        dataclasses.replace(configs[2], continuous=True)


# Two refuse some of these words, or these families.
@pytest.mark.parametrize("method", sorted({*methods_for(Labels.ONE)} - {"scaffold", "fedbn"}))
@pytest.mark.parametrize(
    "words",
    [
        {},
        {"mode": "async", "buffer": 3, "max_age": 2, "age_exponent": 1.0, "participation": 0.5},
        {"uplink": "dense,3bit,entropy,delta", "downlink": "topk3,8bit", "public_batch": 40, "seed": 7},
        {"epochs": 2, "learning_rate": 0.5, "optimizer": "sgd", "soft_weight": 0.1, "temperature": 3.0},
        {"use_public_labels": False, "round_epochs": 3, "start": "random", "evaluate_every": 4, "rounds": 9},
    ],
    ids=["nothing", "async", "codecs", "training", "unlabelled"],
)
def test_the_same_words_make_the_same_configuration(
    data: FleetData, tmp_path: Path, method: str, words: dict[str, Any]
) -> None:
    if method == "public-only":  # which knows nothing but public labels
        words = {name: value for name, value in words.items() if name not in ("use_public_labels", "start")}
    asked = {"method": method, **words}
    one, other = simulated(data, asked), prepared(data, asked, tmp_path)
    assert apart_from_where(one) == apart_from_where(other)
    assert one.method.name == method


@pytest.mark.parametrize("method", ["fedstill", "class-logits", "fedavg", "local"])
def test_a_promise_differs_in_whose_noise_it_is_alone(data: FleetData, tmp_path: Path, method: str) -> None:
    asked = {"method": method, "privacy": "central", "epsilon": 8.0, "rounds": 5, "seed": 3}
    one, other = simulated(data, asked), prepared(data, asked, tmp_path)
    assert apart_from_where(one) == apart_from_where(other)
    if METHODS.load(method).exchanges:
        assert one.privacy is not None
        assert other.privacy is not None
        assert (one.privacy.noise_seed, one.privacy.measured) == (3, True)
        assert (other.privacy.noise_seed, other.privacy.measured) == (None, False)
        assert not one.uplink.entropy
    else:
        assert one.privacy is other.privacy is None


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("fedstill", {"server_step": "0.3", "held_out": 0}),
        ("fedmd", {"weighting": "confidence,agreement"}),
        ("fedtgp", {"anchors": 8, "server_epochs": "7"}),
    ],
)
def test_options_of_a_method_reach_both(
    data: FleetData, tmp_path: Path, method: str, options: dict[str, Any]
) -> None:
    asked = {"method": method, "method_options": options}
    one, other = simulated(data, asked), prepared(data, asked, tmp_path)
    assert one.method == other.method
    for name, value in options.items():
        assert one.method.options[name] != getattr(METHODS.load(method)(), name)
        assert str(value) in str(one.method.options[name]) or name == "weighting"


def test_a_public_set_without_labels_is_learned_for_longer(data: FleetData, tmp_path: Path) -> None:
    unlabelled = dataclasses.replace(data, public_y=None)
    one = simulated(unlabelled, {"method": "fedstill"})
    other = prepared(data, {"method": "fedstill"}, tmp_path, labelled=False)
    assert apart_from_where(one) == apart_from_where(other)
    assert (one.training.epochs, one.teacher.round_epochs, one.start) == (20, 20, "random")


def test_labels_that_leave_classes_out_are_left_out_unless_somebody_wants_them(data: FleetData) -> None:
    assert data.public_y is not None
    few = dataclasses.replace(data, public_y=data.public_y % 9)  # none is of the tenth class
    assert simulated(data, {}).use_public_labels
    assert not simulated(few, {}).use_public_labels
    assert simulated(few, {"use_public_labels": True}).use_public_labels
    assert simulated(few, {"method": "class-logits"}).use_public_labels
