"""A method of one's own: a subclass in any module, whose options are found wherever options are."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from fedstill_proto.errors import UnknownName
from fedstill_server.config.choice import Choice
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.config.options import option, options_of
from fedstill_server.methods import METHODS, build_method, choice_of, completed, method_of
from fedstill_server.methods.checks import checked_fleet
from fedstill_server.methods.fedmd import FedMD
from fedstill_server.methods.fedstill import Fedstill
from fedstill_server.plugins import PluginError

from tests.server.scripted_fleet import fleet_config, public_examples


class Gentle(Fedstill):
    """Fedstill, whose steps get shorter with every round.

    The rest is as before.
    """

    server_step = 0.8
    halving: int = option(10, "Rounds in which a step gets half as long.", least=1)

    def step_length(self, round_number: int) -> float:
        return self.server_step * 0.5 ** (round_number / self.halving)


NAME = f"{__name__}:Gentle"


def test_its_option_stands_beside_those_that_it_inherits() -> None:
    options = {one.name: one for one in options_of(METHODS.load(NAME))}
    assert options["halving"].what == "a whole number of 1 or more"
    assert options["server_step"].default == 0.8
    assert options["server_step"].help == next(
        one.help for one in options_of(Fedstill) if one.name == "server_step"
    )
    assert Gentle.line == "Fedstill, whose steps get shorter with every round"
    assert Fedstill().server_step == 0.4


def test_it_is_what_a_configuration_names() -> None:
    config = fleet_config(NAME, {"halving": 2})
    document = json.loads(json.dumps(config.to_json()))
    assert document["method"]["name"] == NAME
    assert document["method"]["options"]["halving"] == 2
    assert document["method"]["options"]["server_step"] == 0.8
    assert checked_fleet(FleetConfig.from_json(document)) == config
    method = build_method(config, public_examples())
    assert isinstance(method, Gentle)
    assert method.step_length(2) == 0.4


def test_an_object_and_its_choice_are_the_same() -> None:
    method = Gentle(halving=3)
    assert choice_of(method).name == NAME
    assert method_of(choice_of(method)) == method
    assert choice_of(Fedstill()) == completed("fedstill", {})
    assert Gentle(halving=3) != Gentle(halving=4)


def test_without_a_fleet_it_has_none() -> None:
    method = Gentle()
    with pytest.raises(ConfigError, match=r"Gentle: it knows no fleet yet; bind\(config, public\)"):
        _ = method.config
    bound = method.bind(fleet_config(NAME), public_examples())
    assert bound.config.method.name == NAME
    assert len(bound.public) > 0
    assert bound == method
    with pytest.raises(ConfigError, match="knows no fleet"):
        _ = method.public


def test_options_stay_as_they_are() -> None:
    with pytest.raises(AttributeError):
        Gentle().halving = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"halving": 0}, f"method {NAME}: halving: 0 is not a whole number of 1 or more"),
        ({"server_step": 101.0}, "server_step: 101.0 is not a number above 0, at most 100"),
    ],
)
def test_a_value_that_it_cannot_have_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        method_of(Choice(name=NAME, options=options))


def test_an_option_that_it_has_not_is_refused() -> None:
    with pytest.raises(
        UnknownName, match=f"method {NAME}: option: 'halvin' is unknown; did you mean halving"
    ):
        method_of(Choice(name=NAME, options={"halvin": 2}))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("fedstil", UnknownName, "method: 'fedstil' is unknown; did you mean fedstill"),
        (f"{__name__}:Gentl", UnknownName, "did you mean Gentle"),
        ("no_such_module_at_all:Gentle", PluginError, "there is no module 'no_such_module_at_all'"),
        (f"{__name__}:NAME", PluginError, "no subclass of fedstill_server.methods.Method"),
        (
            "fedstill_server.methods:Method",
            PluginError,
            "a method that lacks contribution, learn, task, zero",
        ),
    ],
)
def test_a_name_that_stands_for_no_method_is_refused(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        method_of(Choice(name=name))


def test_an_option_that_would_hide_a_part_of_a_method_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Hiding\.training: that is taken already"):

        class Hiding(FedMD):
            training: int = option(3, "")  # type: ignore[assignment]


def test_what_an_example_s_numbers_name_has_no_distance() -> None:
    options = completed("fedstill", {}, of_names=True).options
    assert (options["propagation_width"], options["student_noise"]) == (0, 0)
    assert options["server_step"] == 0.4


def test_options_are_known_before_torch_is() -> None:
    """All methods, with all options and their errors."""
    code = (
        "import sys\n"
        "from fedstill_server.config.options import options_of\n"
        "from fedstill_server.methods import METHODS\n"
        "assert sum(len(options_of(METHODS.load(name))) for name in METHODS) > 20\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
