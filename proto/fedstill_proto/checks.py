"""Checks of single values, which raise InvalidValue with the name of the field."""

from __future__ import annotations

import re

from fedstill_proto.errors import InvalidValue

MAX_UINT32 = (1 << 32) - 1
MAX_UINT64 = (1 << 64) - 1
MAX_NAME_LENGTH = 200
MAX_DEVICE_NAME = 64
MAX_RELAYS = 4  # one behind the other; each puts its name and a slash before a device's
_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.\-]{{0,{MAX_NAME_LENGTH - 1}}}", re.ASCII)


def check_integer(name: str, value: int, low: int, high: int) -> None:
    """Raise InvalidValue unless `value` is a whole number from `low` to `high`."""
    if not isinstance(value, int) or not low <= value <= high:
        raise InvalidValue(name, f"{value!r} is not a whole number in {low} to {high}")


def check_number(name: str, value: float, low: float, high: float) -> None:
    """Raise InvalidValue unless `value` is a number from `low` to `high`; NaN is none."""
    if not (isinstance(value, int | float) and low <= value <= high):
        raise InvalidValue(name, f"{value!r} is not a number in {low:g} to {high:g}")


def check_name(name: str, value: str) -> None:
    """Raise InvalidValue unless `value` can be the name of a run, family or parameter, and so of a file."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
        raise InvalidValue(name, f"{shown} is not 1 to {MAX_NAME_LENGTH} letters, digits, '.', '_' or '-'")


def device_name(field: str, name: object, *, most: int = MAX_DEVICE_NAME) -> str:
    """Return a device's name without the blanks around it: the one rule of the device and of its server.

    Args:
        field: Where it was given, for the error.
        name: The name.
        most: The most characters.

    Raises:
        InvalidValue: It is no text, is empty or too long, or holds what cannot be printed.
    """
    trimmed = name.strip() if isinstance(name, str) else ""
    if not trimmed or len(trimmed) > most or not trimmed.isprintable():
        shown = repr(name) if len(repr(name)) <= 80 else f"{repr(name)[:77]}... ({len(trimmed)} characters)"
        raise InvalidValue(field, f"{shown} is no printable name of 1 to {most} characters")
    return trimmed
