"""Options: checked when they are made, read from words, and told apart by what they say of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from fedstill_proto.errors import UnknownName
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.options import (
    Limits,
    check_options,
    option,
    option_named,
    options_of,
    values_of,
)


@dataclass(frozen=True, kw_only=True)
class Brewing:
    heat: float = option(90.0, "How hot, in degrees.", above=0, most=100)
    cups: int = option(2, "How many.", least=1)
    spices: tuple[str, ...] = option((), "What goes in.", choices=("cardamom", "mace"))
    sugar: int | None = option(None, "Spoons.", least=0)
    sieve: bool = option(True, "Whether it is strained.")
    plain: float = 0.5

    def __post_init__(self) -> None:
        check_options(self)


def test_a_class_tells_its_options() -> None:
    heat, cups, spices, sugar, sieve, plain = options_of(Brewing)
    assert (heat.kind, heat.default, heat.help) == (float, 90.0, "How hot, in degrees.")
    assert heat.what == "a number above 0, at most 100"
    assert cups.what == "a whole number of 1 or more"
    assert spices.what == "a list, each one of cardamom, mace"
    assert sugar.what == "a whole number of 0 or more"
    assert sieve.what == "true or false"
    assert (plain.what, plain.help, plain.default) == ("a number", "", 0.5)
    assert [one.shown_default for one in (heat, cups, spices, sugar, sieve)] == [
        "90",
        "2",
        "none",
        "none",
        "true",
    ]


def test_values_become_what_the_option_holds() -> None:
    brewed = Brewing(heat=80, spices=["mace"])  # type: ignore[arg-type]
    assert values_of(brewed) == {
        "heat": 80.0,
        "cups": 2,
        "spices": ("mace",),
        "sugar": None,
        "sieve": True,
        "plain": 0.5,
    }
    assert type(brewed.heat) is float


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"heat": 0}, "heat: 0 is not a number above 0, at most 100"),
        ({"heat": float("nan")}, "heat: nan is not a number above 0"),
        ({"heat": "hot"}, "heat: 'hot' is not a number"),
        ({"cups": 0}, "cups: 0 is not a whole number of 1 or more"),
        ({"cups": True}, "cups: True is not a whole number"),
        ({"cups": 1.0}, r"cups: 1\.0 is not a whole number"),
        ({"spices": ("salt",)}, "spices: .*'salt'.* each one of cardamom, mace"),
        ({"spices": ("mace", "mace")}, "spices: mace is named twice"),
        ({"spices": "mace"}, "spices: 'mace' is not a list"),
        ({"cups": None}, "cups: None is not"),
    ],
)
def test_a_value_beyond_its_limit_is_refused_with_it(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Brewing(**values)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("heat", "80", 80.0),
        ("cups", " 3 ", 3),
        ("spices", "mace, cardamom", ("mace", "cardamom")),
        ("spices", "none", ()),
        ("sugar", "none", None),
        ("sugar", "2", 2),
        ("sieve", "no", False),
    ],
)
def test_words_of_a_command_line_are_read(name: str, text: str, value: Any) -> None:
    found = option_named(Brewing, name, where="--set").parsed(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text"), [("heat", "warm"), ("cups", "1.5"), ("sieve", "perhaps"), ("heat", "101")]
)
def test_words_that_are_no_value_are_refused(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: .*{text}.* is not"):
        option_named(Brewing, name, where="--set").parsed(text)


def test_a_name_that_is_nearly_one_is_suggested() -> None:
    with pytest.raises(UnknownName, match="--set: option: 'haet' is unknown; did you mean heat"):
        option_named(Brewing, "haet", where="--set")


def test_what_no_option_can_be_is_refused_by_its_class() -> None:
    @dataclass(frozen=True)
    class Odd:
        pot: dict[str, int] | None = None

    @dataclass(frozen=True)
    class Needy:
        pot: int

    with pytest.raises(ConfigError, match=r"Odd\.pot: an option is an int, float, str or bool"):
        options_of(Odd)
    with pytest.raises(ConfigError, match=r"Needy\.pot: an option needs a default"):
        options_of(Needy)


def test_limits_in_words() -> None:
    assert str(Limits(least=0, most=1)) == "from 0 to 1"
    assert str(Limits(above=0, below=1)) == "above 0, below 1"
    assert str(Limits()) == ""
