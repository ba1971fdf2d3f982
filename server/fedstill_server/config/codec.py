"""Frozen dataclasses to plain JSON values and back; what is unknown or missing is refused by name."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from fedstill_proto.errors import FedstillError

Record = TypeVar("Record")


class ConfigError(FedstillError):
    """A configuration says something that cannot be."""


def to_json(value: object) -> Any:
    """Dataclasses become objects, tuples lists, enums their values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    return value


def from_json(kind: type[Record], document: object, *, where: str) -> Record:
    """The dataclass `kind` of a JSON object; `where` is the place that errors name."""
    if not isinstance(document, dict):
        raise ConfigError(f"{where}: {_shown(document)} is not an object of settings")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(cast(Any, kind))}
    for key in document:
        if key not in fields:
            raise ConfigError(f"{where}.{key}: unknown setting; there are {', '.join(fields)}")
    for name, field in fields.items():
        has_default = (
            field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        )
        if name not in document and not has_default:
            raise ConfigError(f"{where}.{name}: missing")
    values = {key: _value(hints[key], item, f"{where}.{key}") for key, item in document.items()}
    try:
        return kind(**values)
    except FedstillError as error:
        raise ConfigError(f"{where}.{error}") from None


def _value(kind: Any, document: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:  # only `X | None` occurs
        return None if document is None else _value(arguments[0], document, where)
    if origin in (tuple, list, Sequence):
        if not isinstance(document, list):
            raise ConfigError(f"{where}: {_shown(document)} is not a list")
        made = list if origin is list else tuple
        return made(_value(arguments[0], item, f"{where}[{n}]") for n, item in enumerate(document))
    if origin in (dict, Mapping):
        if not isinstance(document, dict):
            raise ConfigError(f"{where}: {_shown(document)} is not an object")
        return {key: _value(arguments[1], item, f"{where}.{key}") for key, item in document.items()}
    if kind is Any:
        return document
    if dataclasses.is_dataclass(kind):
        return from_json(cast(type, kind), document, where=where)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _enum(kind, document, where)
    return _plain(kind, document, where)


def _enum(kind: type[enum.Enum], document: Any, where: str) -> enum.Enum:
    for member in kind:
        if member.value == document:
            return member
    raise ConfigError(f"{where}: {_shown(document)} is not one of {', '.join(str(m.value) for m in kind)}")


def _plain(kind: type, document: Any, where: str) -> Any:
    if kind is float and type(document) is int:
        return float(document)
    if type(document) is not kind:
        raise ConfigError(f"{where}: {_shown(document)} is not of type {kind.__name__}")
    return document


def _shown(document: object) -> str:
    text = repr(document)
    return text if len(text) <= 60 else text[:57] + "..."
