"""Finding what a name stands for: one that is built in, an installed entry point, or `module:name`.

A registry knows the names without importing what they stand for, so that a wrong one is refused before torch
is imported. Nothing is looked up but importable modules, and what is found is checked before it is used.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Generic, TypeVar

from fedstill_proto.errors import FedstillError, UnknownName, unknown_name

Found = TypeVar("Found")


class PluginError(FedstillError):
    """Something of one's own that cannot be found, cannot be imported, or is not what it should be."""


class Registry(Generic[Found]):
    """The things of one kind that have names: methods, student families, techniques, data sets, teachers.

    Args:
        kind: What one of them is called in messages, such as "method".
        group: The group of entry points that an installed distribution adds its own to, such as
            "fedstill.methods".
        built_in: "module:attribute" by name, in the order in which names are listed.
        check: Returns what was found, or raises PluginError where it is not of the kind.
    """

    def __init__(
        self, kind: str, *, group: str, built_in: Mapping[str, str], check: Callable[[object], Found]
    ) -> None:
        self.kind = kind
        self.group = group
        self._built_in = dict(built_in)
        self._check = check
        self._registered: dict[str, Found] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self.names()

    def names(self) -> tuple[str, ...]:
        """All names without a module: built in, installed, and registered by this process."""
        return tuple(dict.fromkeys((*self._built_in, *self._installed(), *self._registered)))

    def register(self, name: str, found: Found) -> None:
        """Let `name` stand for something of this process's own; a name that is taken is refused."""
        if name in self._built_in or self._registered.get(name, found) is not found:
            raise PluginError(f"{self.kind}: the name {name!r} is taken; give yours another one")
        self._registered[name] = found

    def require(self, names: Iterable[str], *, where: str | None = None) -> None:
        """Refuse what stands for nothing, quickly: a module is looked for and not imported.

        Args:
            names: Names, each built in, installed, registered, or `module:name`.
            where: The option or field to name in an error; the registry's kind by default.

        Raises:
            UnknownName: For a name that is not there, with those that are spelled alike.
            PluginError: For a module that is not there.
        """
        for name in names:
            if name in self:
                continue
            module, colon, attribute = name.partition(":")
            if not colon:
                raise self.unknown(name, where=where)
            if not _is_dotted(module) or not _is_dotted(attribute):
                raise PluginError(f"{where or self.kind}: {name!r} is not of the form module:name")
            if not _exists(module):
                raise PluginError(
                    f"{where or self.kind}: {name}: there is no module {module!r}; install it, or "
                    "start where it lies"
                )

    def load(self, name: str, *, where: str | None = None) -> Found:
        """What `name` stands for.

        Raises:
            UnknownName: For a name that is not there.
            PluginError: For a module that cannot be imported, or something of another kind.
        """
        where = where or self.kind
        self.require([name], where=where)
        if name in self._registered:
            return self._registered[name]
        found = _imported(self._built_in.get(name) or self._installed().get(name, name), where=where)
        try:
            return self._check(found)
        except PluginError as error:
            raise PluginError(f"{where}: {name}: {error}") from None

    def unknown(self, name: str, *, where: str | None = None) -> UnknownName:
        """The error for a name that stands for nothing."""
        return unknown_name(where or self.kind, name, self.names(), more="or module:name of your own")

    def _installed(self) -> dict[str, str]:
        return {point.name: point.value for point in entry_points(group=self.group)}


def search_current_folder() -> None:
    """Let `module:name` on a command line find modules in the current folder, as `python -m` does."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # behind everything that is installed: it can replace nothing


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _exists(module: str) -> bool:
    """Whether a module can be found. Its parents are imported only where it lies in a package."""
    if module in sys.modules:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _imported(place: str, *, where: str) -> object:
    module, _, attribute = place.partition(":")
    try:
        found: object = importlib.import_module(module)
    except ImportError as error:
        raise PluginError(f"{where}: {place}: {module} cannot be imported: {error}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            names = [name for name in vars(found) if not name.startswith("_")]
            raise unknown_name(f"{where}: {module}", attribute, names)
        found = getattr(found, part)
    return found
