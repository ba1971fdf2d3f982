"""Configurations: complete round trips, and one clear line for everything that cannot be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fedstill_proto.errors import FedstillError, UnknownName
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_server.config.codec import to_json
from fedstill_server.config.fleet import CohortRule, ConfigError, FleetConfig, TeacherConfig
from fedstill_server.data.forms import Labels
from fedstill_server.methods import METHODS, SoftLabelUse, distils
from fedstill_server.methods.checks import checked_fleet

from tests.server.scripted_fleet import fleet_config


def test_json_and_back() -> None:
    config = fleet_config(
        uplink=SoftLabelCodec(Encoding.TOP_K, 3), test_set="test.npz", cohort=CohortRule(goal_count=7)
    )
    document = json.loads(json.dumps(config.to_json()))
    assert FleetConfig.from_json(document) == config
    assert document["uplink"] == to_json(SoftLabelCodec(Encoding.TOP_K, 3))
    # What an earlier release wrote is read as it was meant.
    assert FleetConfig.from_json({**document, "uplink": {"encoding": "top-k", "k": 3}}) == config


def test_every_method_has_a_line_and_says_what_devices_read() -> None:
    for name in METHODS:
        method = METHODS.load(name)
        if Labels.ONE in method.label_places:
            assert fleet_config(name, families=("cnn-norm",)).method.name == name
        assert 10 < len(method.line) < 110
        assert distils(name) == (method.soft_labels is not SoftLabelUse.NONE)
    with pytest.raises(UnknownName, match="did you mean"):
        distils("fedprot")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("colour", "red", "fleet.colour: unknown setting"),
        ("cohort.goal", 3, "fleet.cohort.goal: unknown setting; there are goal_count, fraction"),
        ("training.temperature", 0, "fleet.training.temperature: 0.0 is not a number in 0.001 to 1000"),
        ("training.optimizer", "adam", "fleet.training.optimizer: 'adam' is not one of sgd, momentum, adamw"),
        (
            "method",
            "fedmd",
            "fleet.method: 'fedmd' is a name without its options, as an earlier release wrote",
        ),
        ("method.name", "fedprot", "fleet.method: 'fedprot' is unknown; did you mean fedproto"),
        (
            "method.name",
            "scarlet",
            "fleet.method scarlet: option: 'start_epochs' is unknown; did you mean start_from? there are",
        ),
        (
            "method.options.server_rat",
            2,
            "fleet.method public-logits: option: 'server_rat' is unknown; did you mean server_rate",
        ),
        ("rounds", "ten", "fleet.rounds: 'ten' is not of type int"),
        ("rounds", True, "fleet.rounds: True is not of type int"),
        ("families", "cnn", "fleet.families: 'cnn' is not a list"),
        ("families", ["cnn", "cnn"], "fleet.families: ('cnn', 'cnn') is not free of repeats"),
        ("families", ["resnet"], "fleet.families: 'resnet' is unknown; there are mlp-small"),
        ("uplink", {"encoding": "top-k"}, "fleet.uplink.k: 0 classes to keep"),
        ("method.options.sharpen", 2, "fleet.method public-logits: sharpen: 2 is not a number from 0 to 1"),
        (
            "method.options.sharpen",
            [{}],
            "fleet.method.options.sharpen: [{}] is no text, number, truth or list",
        ),
        ("teacher", [], "fleet.teacher: [] is not an object of settings"),
        ("teacher.hidden", [0], "fleet.teacher.hidden: (0,) is not a list of layer widths"),
    ],
)
def test_what_cannot_be_is_refused_by_place(path: str, value: Any, message: str) -> None:
    document = fleet_config().to_json()
    place = document
    *outer, name = path.split(".")
    for key in outer:
        place = place[key]
    place[name] = value
    with pytest.raises(FedstillError) as refused:
        checked_fleet(FleetConfig.from_json(document), where="fleet")
    assert str(refused.value).startswith(message)


def test_a_missing_setting_is_named() -> None:
    document = fleet_config().to_json()
    del document["classes"]
    with pytest.raises(ConfigError, match=r"fleet\.classes: missing"):
        FleetConfig.from_json(document)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CohortRule(goal_count=-1),
        lambda: CohortRule(over_selection=0.5),
        lambda: CohortRule(deadline_s=float("inf")),
        lambda: TeacherConfig(batch_size=0),
        lambda: TeacherConfig(learning_rate=float("nan")),
        lambda: fleet_config(run="../up"),
        lambda: fleet_config(input_shape=()),
        lambda: fleet_config(start="warm"),
        lambda: fleet_config("public-logits", {"server_rate": 0}),
    ],
)
def test_values_are_checked_when_they_are_made(make: Any) -> None:
    with pytest.raises((ConfigError, ValueError)):
        make()
