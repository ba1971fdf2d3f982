"""Options: fields of frozen dataclasses that know their default, their help and their limits.

A method's options, and those of a run, are declared once, in the class that reads them:

    @dataclass(frozen=True, kw_only=True)
    class Distillation:
        temperature: float = option(4.0, "How far soft labels are softened.", least=0.001, most=1000)

        def __post_init__(self) -> None:
            check_options(self)

Checks, help texts, command lines, run configurations and the tables of the documentation are made from there.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, ClassVar, dataclass_transform

from fedstill_proto.errors import unknown_name

from fedstill_server.config.codec import ConfigError

_KEY = "fedstill"  # of a field's metadata
_NONE = "none"  # on a command line: no value, or a list of nothing
_TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a value, or each value of a list, has to be; None and () are no limit."""

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] = ()

    def hold(self, value: Any) -> bool:
        """Whether `value` is within them."""
        if self.choices and value not in self.choices:
            return False
        if isinstance(value, float) and not math.isfinite(value):
            return False
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """Such as "from 0 to 1", "of 1 or more", "above 0, at most 100"; empty without a limit."""
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        if self.least is not None and self.most is not None:
            return f"from {self.least:g} to {self.most:g}"
        parts = [
            *([] if self.least is None else [f"of {self.least:g} or more"]),
            *([] if self.above is None else [f"above {self.above:g}"]),
            *([] if self.most is None else [f"at most {self.most:g}"]),
            *([] if self.below is None else [f"below {self.below:g}"]),
        ]
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class _Declared:
    """What `option` was told, in the field's metadata."""

    help: str
    limits: Limits
    of_amounts: bool = False
    panel: str = ""
    flag: str = ""
    metavar: str = ""
    repeated: bool = False


_PLAIN = _Declared(help="", limits=Limits())


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a class: a field with all that is known of it.

    Attributes:
        name: The field's name.
        kind: int, float, str or bool: what it holds, or what each item of its list does.
        many: Whether it is a list, a tuple of `kind`.
        optional: Whether None is a value of it.
        default: The value where nobody says otherwise.
        of_amounts: Whether it takes an example's numbers as amounts, between which there are distances. Where
            they are names instead, as those of hashed n-grams, 0 is the default and the only value.
        panel: The group of `--help` that it stands in, where it is an option of a command itself.
        flag: Its name there, where that is not its own: "--lr", "--a/--no-a", several with blanks between, or
            "DATASET" for what stands without a name.
        metavar: What stands for its value in `--help`.
        repeated: Whether a command line repeats the option for each item of a list, instead of commas.
    """

    name: str
    kind: type
    many: bool
    optional: bool
    default: Any
    help: str
    limits: Limits
    of_amounts: bool = False
    panel: str = ""
    flag: str = ""
    metavar: str = ""
    repeated: bool = False

    @property
    def flags(self) -> tuple[str, ...]:
        """Its names on a command line, the first of which is shown elsewhere."""
        return tuple((self.flag or "--" + self.name.replace("_", "-")).split())

    @property
    def label(self) -> str:
        """What errors call it: as a command line does, where it is an option of a command."""
        return self.flags[0].split("/")[0] if self.panel else self.name

    @property
    def what(self) -> str:
        """What a value has to be, such as "a number from 0 to 1"."""
        limits = str(self.limits)
        if self.limits.choices:
            what = limits
        else:
            what = _KINDS.get(self.kind, self.kind.__name__) + (f" {limits}" if limits else "")
        return f"a list, each {what}" if self.many else what

    @property
    def range(self) -> str:
        """Its limits as a command line shows them, such as "x>=1" or "0<=x<=1"; empty without any."""
        limits = self.limits
        low = f"{limits.least:g}<=" if limits.least is not None else ""
        low = f"{limits.above:g}<" if limits.above is not None else low
        high = f"<={limits.most:g}" if limits.most is not None else ""
        high = f"<{limits.below:g}" if limits.below is not None else high
        if low and not high:  # the other way round it is easier to read
            return "x" + low.replace("<=", "").replace("<", "").join((">=" if "=" in low else ">", ""))
        return f"{low}x{high}" if high else ""

    @property
    def shown_default(self) -> str:
        """The default, as people read it."""
        return f"{self.default:.4g}" if isinstance(self.default, float) else self.shown(self.default)

    def shown(self, value: Any) -> str:
        """A value, as a command line would say it."""
        if value is None or value == ():
            return _NONE
        if self.many:
            return ",".join(map(str, value))
        if isinstance(value, float):
            return f"{value:.6g}" if float(f"{value:.6g}") == value else str(value)
        return str(value).lower() if isinstance(value, bool) else str(value)

    def words(self, value: Any) -> list[str]:
        """The words of a command line that give it this value."""
        flag = self.flags[0]
        if not flag.startswith("-"):
            return [self.shown(value)]
        if self.kind is bool and not self.many:
            return [flag.split("/")[0 if value else 1]]
        if self.repeated:
            return [word for item in value for word in (flag, str(item))]
        return [flag, self.shown(value)]

    def read(self, value: Any) -> Any:
        """The value, which may be a text as on a command line.

        Raises:
            ConfigError: For what is no value of it.
        """
        return self.parsed(value) if isinstance(value, str) else self.checked(value)

    def checked(self, value: Any) -> Any:
        """The value as its type: a whole number where a number is wanted, a list as a tuple.

        Raises:
            ConfigError: For a value of another type, or beyond its limits.
        """
        if value is None and self.optional:
            return None
        if self.many:
            if not isinstance(value, tuple | list):
                raise self._refused(value)
            items = tuple(self._item(item, value) for item in value)
            for item in items:
                if items.count(item) > 1:
                    raise ConfigError(f"{self.label}: {item} is named twice")
            return items
        return self._item(value, value)

    def parsed(self, text: str) -> Any:
        """The value that a text on a command line stands for, checked.

        Raises:
            ConfigError: For a text that is no such value.
        """
        if text.strip().lower() == _NONE and (self.many or self.optional):
            return () if self.many else None
        if self.many:
            return self.checked(tuple(self._read(part.strip()) for part in text.split(",") if part.strip()))
        return self.checked(self._read(text.strip()))

    def _read(self, text: str) -> Any:
        try:
            if self.kind is bool:
                return _TRUTHS[text.lower()]
            return text if self.kind is str else self.kind(text)
        except (KeyError, ValueError):
            raise self._refused(text) from None

    def _item(self, value: Any, whole: Any) -> Any:
        if self.kind is float and type(value) is int:
            value = float(value)
        if type(value) is not self.kind or not self.limits.hold(value):
            raise self._refused(whole)
        return value

    def _refused(self, value: Any) -> ConfigError:
        meant = f"; did you mean {alike[0]}?" if (alike := self._alike(value)) else ""
        return ConfigError(f"{self.label}: {value!r} is not {self.what}{meant}")

    def _alike(self, value: Any) -> list[str]:
        texts = [
            one for one in (value if isinstance(value, tuple | list) else [value]) if isinstance(one, str)
        ]
        wrong = [one for one in texts if one not in self.limits.choices]
        return get_close_matches(wrong[0].lower(), map(str, self.limits.choices), n=1) if wrong else []


def option(
    default: Any,
    help: str,
    *,
    of_amounts: bool = False,
    panel: str = "",
    flag: str = "",
    metavar: str = "",
    repeated: bool = False,
    **limited: Any,
) -> Any:
    """A field of a dataclass that is an option; see Option for what the arguments mean.

    Args:
        default: The value where nobody says otherwise.
        help: One line for `--help` and the documentation.
        limited: What a value has to be: `least`, `above`, `most`, `below` or `choices`, as Limits has them.
    """
    declared = _Declared(
        help=help,
        limits=Limits(**limited),
        of_amounts=of_amounts,
        panel=panel,
        flag=flag,
        metavar=metavar,
        repeated=repeated,
    )
    return field(default=default, kw_only=True, metadata={_KEY: declared})


def no_option(default_factory: Callable[[], Any]) -> Any:
    """A field beside the options of a dataclass, which no command line and no table shows."""
    return field(default_factory=default_factory, kw_only=True, metadata={_KEY: None})


def redeclared(of: dataclasses.Field[Any], default: Any) -> Any:
    """The same option with another default, as a subclass has it that assigns one."""
    return field(default=default, kw_only=True, metadata=dict(of.metadata))


@dataclass_transform(kw_only_default=True, frozen_default=True)
class WithOptions:
    """The base of things that have options: a subclass becomes a frozen dataclass of them by itself.

        class Gentle(Fedstill):
            halving: int = option(10, "Rounds in which a step gets half as long.", least=1)
            server_step = 0.2  # another default of an option that Fedstill has

    Options are checked when an instance is made.
    """

    line: ClassVar[str] = ""  # what it does, and where it is from; the docstring's first line unless it says

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "line" not in vars(cls) and (lines := (cls.__doc__ or "").strip().splitlines()):
            cls.line = lines[0].strip().removesuffix(".")
        types = inspect.get_annotations(cls)
        inherited = {
            one.name: one
            for base in reversed(cls.__mro__[1:])
            if dataclasses.is_dataclass(base)
            for one in dataclasses.fields(base)
        }
        for name in inherited.keys() & vars(cls).keys():
            if not isinstance(vars(cls)[name], dataclasses.Field):  # another default, and nothing else
                setattr(cls, name, redeclared(inherited[name], vars(cls)[name]))
                types.setdefault(name, inherited[name].type)
        cls.__annotations__ = types
        made: Any = dataclass(frozen=True, kw_only=True)(cls)
        for each in dataclasses.fields(made):
            if any(each.name in vars(base) for base in cls.__mro__[1:]) and each.name not in inherited:
                raise TypeError(f"{cls.__name__}.{each.name}: that is taken already; rename the option")

    def __post_init__(self) -> None:
        check_options(self)


def options_of(kind: type) -> tuple[Option, ...]:
    """The options of a dataclass, in the order of its fields; a plain field is one without help and limits.

    Raises:
        ConfigError: For a field without a default, or of a type that no option can have.
    """
    found = []
    for one in dataclasses.fields(kind):
        if one.metadata.get(_KEY, _PLAIN) is None:
            continue
        if one.default is dataclasses.MISSING:
            raise ConfigError(f"{kind.__name__}.{one.name}: an option needs a default")
        declared = one.metadata.get(_KEY, _PLAIN)
        item, many, optional = _form(_hint(kind, one.name), f"{kind.__name__}.{one.name}")
        found.append(
            Option(
                name=one.name,
                kind=item,
                many=many,
                optional=optional,
                default=one.default,
                **{each.name: getattr(declared, each.name) for each in dataclasses.fields(declared)},
            )
        )
    return tuple(found)


def option_named(kind: type, name: str, *, where: str) -> Option:
    """The option of that name; `where` begins an error's text.

    Raises:
        UnknownName: For a name that is none, with those that are spelled alike.
    """
    found = {one.name: one for one in options_of(kind)}
    if name not in found:
        raise unknown_name(f"{where}: option", name, found)
    return found[name]


def check_options(instance: Any, *, texts: bool = False) -> None:
    """Check every option of a dataclass that was just made; for its __post_init__.

    Args:
        instance: The object, whose values become those that its options hold.
        texts: Whether a value may be a text as on a command line.

    Raises:
        ConfigError: Naming the option, the value and the limit.
    """
    for one in options_of(type(instance)):
        value = getattr(instance, one.name)
        object.__setattr__(instance, one.name, one.read(value) if texts else one.checked(value))


def values_of(instance: Any) -> dict[str, Any]:
    """The value of each option, by name."""
    return {one.name: getattr(instance, one.name) for one in options_of(type(instance))}


def _hint(kind: type, name: str) -> Any:
    """The type of a field, in the words of the class that declares it."""
    for owner in kind.__mro__:
        annotations: Mapping[str, Any] = vars(owner).get("__annotations__", {})
        if name in annotations:
            given = types.SimpleNamespace(__annotations__={name: annotations[name]})
            module = sys.modules.get(owner.__module__)
            return typing.get_type_hints(given, globalns=vars(module) if module else {})[name]
    raise ConfigError(f"{kind.__name__}.{name}: no type")


def _form(hint: Any, where: str) -> tuple[type, bool, bool]:
    """(the type of a value or of a list's items, whether it is a list, whether it may be None)."""
    optional = False
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        rest = [one for one in typing.get_args(hint) if one is not type(None)]
        optional, hint = len(rest) < len(typing.get_args(hint)), rest[0] if len(rest) == 1 else None
    many = typing.get_origin(hint) is tuple and typing.get_args(hint)[1:] == (Ellipsis,)
    item = typing.get_args(hint)[0] if many else hint
    if item not in (int, float, str, bool):
        raise ConfigError(f"{where}: an option is an int, float, str or bool, a tuple of those, or None")
    return item, many, optional
