"""A thing that a configuration names, with its options: a method, say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fedstill_server.config.codec import ConfigError
from fedstill_server.config.options import option_named, values_of
from fedstill_server.plugins import Registry

Kind = TypeVar("Kind")


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


def chosen(registry: Registry[type[Kind]], choice: Choice, *, where: str) -> Kind:
    """What a configuration names, made with its options.

    Args:
        registry: Of the classes that names stand for.
        choice: A name, and those of its options that are not as by default.
        where: What an error names: an option of a command, or a field.

    Raises:
        UnknownName: For a name that stands for nothing, or an option that it has not.
        ConfigError: For a value that an option cannot have.
        PluginError: For one of one's own that cannot be imported, or is of another kind.
    """
    found = registry.load(choice.name, where=where)
    for name in choice.options:
        option_named(found, name, where=f"{where} {choice.name}")
    try:
        return found(**choice.options)
    except ConfigError as error:
        raise ConfigError(f"{where} {choice.name}: {error}") from None


def choice_in(registry: Registry[type[Kind]], instance: Kind) -> Choice:
    """How a configuration names a thing: with all its options, and its registered name if it has one."""
    kind = type(instance)
    name = registry.name_of(kind) or f"{kind.__module__}:{kind.__qualname__}"
    return Choice(name=name, options=values_of(instance))


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(one) and not isinstance(one, list | tuple) for one in value)
    return value is None or isinstance(value, bool | int | float | str)
