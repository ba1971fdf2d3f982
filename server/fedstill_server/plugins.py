"""Finding what a name stands for: one that is built in, an installed entry point, or `module:name`.

A registry knows the names without importing what they stand for, so that a wrong one is refused before torch
is imported. Nothing is looked up but importable modules, and what is found is checked before it is used.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Generic, TypeVar

from fedstill_proto.errors import FedstillError, UnknownName, unknown_name

Found = TypeVar("Found")

BUILT_IN = "built in"
THIS_PROCESS = "registered in this process"
MODULES_VARIABLE = "FEDSTILL_MODULES"
"""Names the folder in which the processes of a fleet find modules, besides those that are installed."""


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
        self._registered: dict[str, object] = {}
        self._searched: tuple[str, ...] | None = None  # sys.path, as it was when entry points were read
        self._points: dict[str, list[EntryPoint]] = {}

    @property
    def built_in(self) -> dict[str, str]:
        """ "module:attribute" of those that fedstill itself brings, by name."""
        return dict(self._built_in)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        """Whether `name` stands for something without a module being named."""
        return isinstance(name, str) and (
            name in self._built_in or name in self._registered or name in self._installed()
        )

    def names(self) -> tuple[str, ...]:
        """All names without a module: built in, installed, and registered by this process."""
        return tuple(dict.fromkeys((*self._built_in, *self._installed(), *self._registered)))

    def own(self) -> tuple[str, ...]:
        """The names that are not built in."""
        return tuple(name for name in self.names() if name not in self._built_in)

    def origin(self, name: str) -> str:
        """Where a name comes from: "built in", a distribution and its version, this process, or a module."""
        if name in self._built_in:
            return BUILT_IN
        if name in self._registered:
            return THIS_PROCESS
        points = self._installed().get(name, [])
        return " and ".join(map(_distribution, points)) or name.partition(":")[0]

    def is_only_here(self, name: str) -> bool:
        """Whether a name stands for what no other process finds by it: registered, or a program's."""
        return name in self._registered or name.partition(":")[0] == "__main__"

    def register(self, name: str, found: object) -> None:
        """Let `name` stand for something of this process's own.

        What is registered last holds, as in a notebook whose cell is changed and runs again.

        Raises:
            PluginError: For a name that is built in or installed, or a thing that is not of the kind.
        """
        if ":" in name:
            raise PluginError(f"{self.kind}: a name holds no colon, unlike {name!r}")
        if name in self and name not in self._registered:
            raise PluginError(f"{self.kind}: the name {name!r} is taken; give yours another one")
        self._checked(name, found, where=self.kind)
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
        where = where or self.kind
        for name in names:
            if name in self:
                continue
            module, colon, attribute = name.partition(":")
            if not colon:
                raise self.unknown(name, where=where)
            if not _is_dotted(module) or not _is_dotted(attribute):
                raise PluginError(f"{where}: {name!r} is not of the form module:name")
            if not _exists(module, where=where):
                raise PluginError(
                    f"{where}: {name}: there is no module {module!r}; install it, or start where it lies"
                )

    def load(self, name: str, *, where: str | None = None) -> Found:
        """What `name` stands for.

        Raises:
            UnknownName: For a name that is not there.
            PluginError: For a module that cannot be imported, or something of another kind.
        """
        where = where or self.kind
        return self._checked(name, self.stands_for(name, where=where), where=where)

    def stands_for(self, name: str, *, where: str | None = None) -> object:
        """What `name` stands for, before it is checked: the same object as long as nobody defines it anew."""
        where = where or self.kind
        self.require([name], where=where)
        if name in self._registered:
            return self._registered[name]
        return _imported(self._place(name, where=where), where=where)

    def name_of(self, found: object) -> str | None:
        """The name that stands for a class or function, if one does: without importing any other."""
        for name, one in self._registered.items():
            if one is found:
                return name
        place = f"{getattr(found, '__module__', '')}:{getattr(found, '__qualname__', '')}"
        points = {point.value: name for name, found in self._installed().items() for point in found}
        return {**points, **{at: name for name, at in self._built_in.items()}}.get(place)

    def unknown(self, name: str, *, where: str | None = None) -> UnknownName:
        """The error for a name that stands for nothing."""
        return unknown_name(where or self.kind, name, self.names(), more="or module:name of your own")

    def _place(self, name: str, *, where: str) -> str:
        """The "module:attribute" that holds what a name stands for."""
        if name in self._built_in:
            return self._built_in[name]
        points = self._installed().get(name, [])
        if len({point.value for point in points}) > 1:
            raise PluginError(
                f"{where}: {name!r} is a {self.kind} of {' and of '.join(map(_distribution, points))}; say "
                f"which by {' or '.join(point.value for point in points)}"
            )
        return points[0].value if points else name

    def _checked(self, name: str, found: object, *, where: str) -> Found:
        try:
            return self._check(found)
        except PluginError as error:
            raise PluginError(f"{where}: {name}: {error}") from None

    def _installed(self) -> dict[str, list[EntryPoint]]:
        """Entry points by name; read anew where the folders that modules are found in have changed."""
        if self._searched != tuple(sys.path):
            points: dict[str, list[EntryPoint]] = {}
            for point in entry_points(group=self.group):
                points.setdefault(point.name, []).append(point)
            self._searched, self._points = tuple(sys.path), points
        return self._points


def search_current_folder() -> None:
    """Let `module:name` on a command line find modules in the current folder, as `python -m` does.

    In a process that a command started it is that command's folder, which the environment names.
    """
    here = os.environ.get(MODULES_VARIABLE) or str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # behind everything that is installed: it can replace nothing


def called(place: str, call: Callable[[], Found]) -> Found:
    """What a plug-in's own code returns; whatever it raises becomes an error that names the line.

    Raises:
        PluginError: For what the code raised, unless it is an error of fedstill's.
    """
    try:
        return call()
    except FedstillError:
        raise
    except Exception as error:
        where = own_line(error)
        raise PluginError(f"{place}: it raised {type(error).__name__}: {error} ({where})") from error


def own_line(error: BaseException) -> str:
    """The last line that is neither Python's, nor torch's, nor fedstill's: where to look."""
    frames = traceback.extract_tb(error.__traceback__)
    strangers = (str(Path(os.__file__).parent), str(Path(__file__).parent), "<frozen")
    own = [
        frame
        for frame in frames
        if "site-packages" in frame.filename or not frame.filename.startswith(strangers)
    ]
    last = next((frame for frame in reversed(own) if "torch" not in Path(frame.filename).parts), frames[-1])
    return f"{last.filename}, line {last.lineno}"


def _distribution(point: EntryPoint) -> str:
    return "an installed package" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _exists(module: str, *, where: str) -> bool:
    """Whether a module can be found. Its parents are imported only where it lies in a package."""
    if module in sys.modules:
        return True

    def found() -> bool:
        try:
            return importlib.util.find_spec(module) is not None
        except (ImportError, ValueError):
            return False

    return called(f"{where}: {module}", found)


def _imported(place: str, *, where: str) -> object:
    module, _, attribute = place.partition(":")
    found: object
    try:
        found = called(f"{where}: {place}", lambda: importlib.import_module(module))
    except PluginError as error:
        if isinstance(error.__cause__, ImportError):
            problem = f"{module} cannot be imported: {error.__cause__}"
            raise PluginError(f"{where}: {place}: {problem}") from error.__cause__
        raise
    # Those that the module defines, and not what it imports for itself.
    defined = [
        name
        for name, value in vars(found).items()
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", "") == module
    ]
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise unknown_name(f"{where}: {module}", attribute, defined)
        found = getattr(found, part)
    return found
