"""Data sets by name: built-in ones, and those of one's own."""

from __future__ import annotations

import numpy as np
import pytest
from fedstill_proto.errors import FedstillError
from fedstill_sim.config import configured_data, requested_data, resolve
from fedstill_sim.data.digits import load_digits
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.data.registry import DATASETS
from fedstill_sim.request import RunRequest, command_line

OWN = __name__


def halves(*, devices: int = 3, seed: int = 0) -> FleetData:
    """Digits of one's own choice."""
    return load_digits(devices=devices, seed=seed)


class Holder:
    """As a fedstill.Fleet holds its data."""

    def __init__(self) -> None:
        self.data = load_digits(devices=2)


def held() -> Holder:
    return Holder()


def needs_a_path(path: str) -> FleetData:
    raise AssertionError(path)


def returns_nothing() -> None:
    """It forgot."""


def fails() -> FleetData:
    raise OSError("no such disk")


def of_text() -> FleetData:
    return load_digits(devices=2)


of_text.task = "text"  # type: ignore[attr-defined]


def test_each_data_set_tells_what_devices_learn_without_an_import() -> None:
    assert {name: DATASETS.task_of(name) for name in ("digits", "mnist1d", "keyboard", "assistant")} == {
        "digits": "arrays",
        "mnist1d": "arrays",
        "keyboard": "text",
        "assistant": "utterances",
    }


def test_a_function_of_one_s_own_is_a_data_set() -> None:
    request = RunRequest(dataset=f"{OWN}:halves", families=("cnn", "mlp-8"), seed=2, baselines=())

    data = requested_data(request)
    config = resolve(request, data)

    assert data.devices == 3
    assert data.families == ("cnn", "mlp-8", "cnn")
    np.testing.assert_array_equal(data.train.rows, load_digits(devices=3, seed=2).train.rows)
    assert config.simulation.dataset == f"{OWN}:halves"
    assert command_line(request).startswith(f"fedstill-sim run {OWN}:halves --method fedstill ")
    again = configured_data(config)
    assert again.families == data.families
    np.testing.assert_array_equal(again.train.rows, data.train.rows)


def test_it_may_return_what_holds_the_data() -> None:
    assert DATASETS.read(f"{OWN}:held", devices=None, dirichlet=None, seed=0).devices == 2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"dataset": "digts"}, "data set: 'digts' is unknown; did you mean digits?"),
        ({"dataset": "no_such_module:data"}, "there is no module 'no_such_module'"),
        ({"dataset": f"{OWN}:halfs"}, "'halfs' is unknown; did you mean halves?"),
        ({"dataset": f"{OWN}:OWN"}, "a str; a data set is a function that returns a fleet's data"),
        (
            {"dataset": f"{OWN}:needs_a_path"},
            "it needs path, and is called with devices, dirichlet, seed, examples_per_device",
        ),
        (
            {"dataset": f"{OWN}:halves", "dirichlet": 0.1},
            f"{OWN}:halves takes no --dirichlet; it takes --devices, --seed",
        ),
        ({"dataset": f"{OWN}:held", "devices": 4}, f"{OWN}:held takes no --devices; it takes no option"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_data_are_read(
    options: dict[str, object], problem: str
) -> None:
    with pytest.raises(FedstillError) as refused:
        RunRequest(**options)  # type: ignore[arg-type]

    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("returns_nothing", "it returns a NoneType, and neither a fedstill.Fleet nor a FleetData"),
        ("fails", "it raised OSError: no such disk"),
        ("of_text", "its labels are of shape [] an example, and those of its task 'text' of [8, 8]"),
    ],
)
def test_what_returns_no_data_is_told(name: str, problem: str) -> None:
    with pytest.raises(FedstillError) as refused:
        DATASETS.read(f"{OWN}:{name}", devices=None, dirichlet=None, seed=0)

    assert problem in str(refused.value)
