"""A thing that a configuration names, with its options: a method, say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedstill_server.config.codec import ConfigError


@dataclass(frozen=True, kw_only=True)
class Choice:
    """`name` is one of a registry, or `module:name`; `options` are those of what it stands for.

    In JSON: {"name": "fedstill", "options": {"server_step": 0.4, ...}}. An option that is left out has its
    default.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for key, value in self.options.items():
            if not _is_plain(value):
                raise ConfigError(f"options.{key}: {value!r} is no text, number, truth or list of them")
        plain = {key: tuple(one) if isinstance(one, list) else one for key, one in self.options.items()}
        object.__setattr__(self, "options", plain)

    def __str__(self) -> str:
        return self.name


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(one) and not isinstance(one, list | tuple) for one in value)
    return value is None or isinstance(value, bool | int | float | str)
