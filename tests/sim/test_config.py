import dataclasses
from pathlib import Path

import pytest
from fedstill_proto.messages import Optimizer
from fedstill_proto.soft_labels.codec import Encoding
from fedstill_server.config.choice import Choice
from fedstill_server.config.fleet import ConfigError
from fedstill_server.methods import completed
from fedstill_sim.config import (
    TRADEOFF_WEIGHTS,
    baseline_config,
    configured_data,
    read_config,
    requested_data,
    resolve,
    write_config,
)
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.request import RunRequest
from fedstill_sim.results.settings import setting_rows

REQUEST = RunRequest(method="public-logits", dataset="digits", devices=4, families=("cnn",), seed=3)


@pytest.fixture(scope="module")
def data() -> FleetData:
    return requested_data(REQUEST)


def test_what_is_asked_for_is_what_is_configured(data: FleetData) -> None:
    asked = dataclasses.replace(
        REQUEST,
        epochs=2,
        learning_rate=0.5,
        optimizer="sgd",
        soft_weight=0.1,
        encoding="top-k",
        top_k=2,
        method_options={"server_rate": "2"},
        public_targets=50,
    )

    config = resolve(asked, data)

    training = config.fleet.training
    assert (training.epochs, training.learning_rate, training.soft_weight) == (2, 0.5, 0.1)
    assert training.optimizer is Optimizer.SGD
    assert training.seed == config.fleet.seed == 3
    assert (config.fleet.uplink.encoding, config.fleet.uplink.k) == (Encoding.TOP_K, 2)
    assert (config.fleet.method.options["server_rate"], config.fleet.public_targets) == (2.0, 50)
    assert config.simulation.devices == 4


def test_where_no_public_labels_are_used_more_is_learned_in_a_round(data: FleetData) -> None:
    labelled = dataclasses.replace(REQUEST, method="fedstill")
    unlabelled = dataclasses.replace(labelled, use_public_labels=False)
    requests = labelled, unlabelled, dataclasses.replace(unlabelled, epochs=3, round_epochs=4)

    fleets = [resolve(request, data).fleet for request in requests]

    passes = [(each.training.epochs, each.teacher.round_epochs) for each in fleets]
    assert passes == [(20, 10), (20, 20), (3, 4)]


def test_a_configuration_read_back_is_the_same(data: FleetData, tmp_path: Path) -> None:
    config = resolve(REQUEST, data)

    write_config(config, tmp_path)

    assert read_config(tmp_path) == config


def test_the_data_of_a_configuration_are_those_of_its_request(data: FleetData) -> None:
    again = configured_data(resolve(REQUEST, data))

    assert again.description == data.description
    assert (again.train.rows == data.train.rows).all()


def test_the_same_work_has_the_same_name_and_other_work_another(data: FleetData) -> None:
    one, same, other = (
        resolve(request, data).fleet.run
        for request in (
            REQUEST,
            dataclasses.replace(REQUEST, processes=1, baselines=()),
            dataclasses.replace(REQUEST, rounds=7),
        )
    )

    assert one == same != other


def test_devices_whose_students_know_their_owners_add_no_label_prior_unless_asked(data: FleetData) -> None:
    config = resolve(REQUEST, data)
    share = {name: baseline_config(config, name).owner_share for name in ("local", "fedavg-ft", "ditto")}
    assert share == {"local": 0.0, "fedavg-ft": 0.0, "ditto": 0.0}
    assert baseline_config(config, "fedavg").owner_share == config.owner_share == 0.3
    asked = resolve(dataclasses.replace(REQUEST, owner_share=0.2), data)
    assert baseline_config(asked, "local").owner_share == 0.2


def test_a_baseline_differs_in_nothing_but_its_method(data: FleetData) -> None:
    config = resolve(REQUEST, data)

    baseline = baseline_config(config, "fedavg")

    assert baseline.fleet.method == completed("fedavg", {})
    assert baseline.fleet.public_set == "../../data/public.npz"
    kept = {"method": Choice(name="local"), "run": "0" * 8, "public_set": "", "test_set": ""}
    assert dataclasses.replace(baseline.fleet, **kept) == dataclasses.replace(config.fleet, **kept)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"method": "local"}, "under local devices learn from no soft labels"),
        ({"soft_weight": 0.0}, "with soft_weight 0"),
        ({"attack": "label-flip", "adversaries": 0.5}, "devices that lie would personalize"),
    ],
)
def test_a_trade_off_is_refused_where_there_is_none(
    data: FleetData, changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(ConfigError, match=f"--tradeoff: {reason}"):
        resolve(dataclasses.replace(REQUEST, tradeoff=True, **changes), data)


def test_the_trade_off_is_measured_where_it_is_asked_for(data: FleetData) -> None:
    assert resolve(REQUEST, data).simulation.tradeoff == ()
    assert resolve(dataclasses.replace(REQUEST, tradeoff=True), data).simulation.tradeoff == TRADEOFF_WEIGHTS


def test_a_method_is_not_its_own_baseline(data: FleetData) -> None:
    config = resolve(dataclasses.replace(REQUEST, method="fedavg"), data)

    assert config.simulation.baselines == ("local",)


def test_every_setting_is_setting_rows() -> None:
    document = {"fleet": {"method": "local", "cohort": {"goal_count": 0}, "families": ["a", "b"]}, "x": None}

    assert setting_rows(document) == [
        ("fleet.method", "local"),
        ("fleet.cohort.goal_count", "0"),
        ("fleet.families", "a, b"),
        ("x", "–"),
    ]
