"""The settings of a run, one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedstill_sim.results.readable import NONE


def setting_rows(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every setting of a configuration document as (dotted name, value), both as text."""
    return [(name, _setting(value)) for name, value in _flat(config)]


def _setting(value: Any) -> str:
    if value is None:
        return NONE
    return ", ".join(map(str, value)) or NONE if isinstance(value, list) else str(value)


def _flat(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in document.items():
        rows += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return rows
