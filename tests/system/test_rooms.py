"""How the packages are built: rooms, which never depend on one another in a circle, and what has a limit.

A room is a folder at a package's top, or a file there. An import counts wherever it stands: in a
function, and under TYPE_CHECKING, too.
"""

from __future__ import annotations

import ast
import functools
import graphlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import grimp
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = {
    name: folder
    for name in ("fedstill_proto", "fedstill_server", "fedstill_client", "fedstill_sim", "fedstill")
    for folder in (REPOSITORY / name.removeprefix("fedstill_") / name, REPOSITORY / name)
    if (folder / "__init__.py").is_file()
}
MOST_TOP_FILES = 12
MOST_PARAMETERS = 8
MOST_WIDE_FUNCTIONS = 5
MOST_LINES = 44_000

each_package = pytest.mark.parametrize("package", FOLDERS)


def sources() -> Iterator[Path]:
    """The packages' Python files, without those that a generator writes."""
    for folder in FOLDERS.values():
        yield from (path for path in sorted(folder.rglob("*.py")) if "_pb2" not in path.name)


@functools.cache
def parsed() -> Mapping[Path, ast.Module]:
    """The syntax tree of each file."""
    return {path: ast.parse(path.read_text()) for path in sources()}


@functools.cache
def imports() -> Mapping[str, frozenset[str]]:
    """The modules that each module imports itself."""
    graph = grimp.build_graph(*FOLDERS, cache_dir=None)
    return {name: frozenset(graph.find_modules_directly_imported_by(name)) for name in graph.modules}


def room_of(module: str) -> str:
    """The room that a module stands in: `fedstill_server.rounds` of `fedstill_server.rounds.clock`."""
    return ".".join(module.split(".")[:2])


def between_rooms(package: str, modules: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """The rooms of `package` that each of its rooms imports; the package's own __init__.py is none."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for module, imported in modules.items():
        if module.startswith(f"{package}."):
            inside = (name for name in imported if name.startswith(f"{package}."))
            rooms[room_of(module)] |= {room_of(name) for name in inside} - {room_of(module)}
    return rooms


def circle_in(graph: Mapping[str, Collection[str]]) -> list[str]:
    """One circle of the graph, from a node back to itself; empty where there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def parameters_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many parameters a function has, without self and cls."""
    taken = function.args
    named = [*taken.posonlyargs, *taken.args, *taken.kwonlyargs]
    return sum(one.arg not in ("self", "cls") for one in named) + sum(map(bool, (taken.vararg, taken.kwarg)))


@each_package
def test_no_circle_of_rooms(package: str) -> None:
    assert not circle_in(between_rooms(package, imports()))


@each_package
def test_no_circle_of_files(package: str) -> None:
    own = {name: imported for name, imported in imports().items() if name.split(".")[0] == package}
    assert not circle_in(own)


@each_package
def test_few_files_stand_at_the_top(package: str) -> None:
    assert len(list(FOLDERS[package].glob("*.py"))) <= MOST_TOP_FILES


def test_few_functions_are_wide() -> None:
    wide = {
        f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.name}": parameters_of(node)
        for path, tree in parsed().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and parameters_of(node) > MOST_PARAMETERS
    }
    assert len(wide) <= MOST_WIDE_FUNCTIONS, wide


def test_a_public_class_has_its_name_to_itself() -> None:
    places = defaultdict(list)
    for path, tree in parsed().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(REPOSITORY)))
    assert not {name: files for name, files in places.items() if len(files) > 1}


@pytest.mark.xfail(strict=True, reason="not met yet")
def test_the_source_stays_small() -> None:
    assert sum(len(path.read_text().splitlines()) for path in sources()) <= MOST_LINES


# The rules can fail


def test_a_circle_of_rooms_is_found() -> None:
    modules = {
        "p": {"p.a.x"},
        "p.a.x": {"p.b", "p.a.y", "q.c"},
        "p.a.y": {"p.a.x"},
        "p.b": {"p.c.z"},
        "p.c.z": {"p"},
        "q.c": {"p.a.x"},
    }
    assert between_rooms("p", modules) == {"p.a": {"p.b"}, "p.b": {"p.c"}, "p.c": set()}
    assert not circle_in(between_rooms("p", modules))
    assert set(circle_in({"a": {"b"}, "b": {"c", "d"}, "c": {"a"}})) == {"a", "b", "c"}


def test_imports_in_functions_and_for_types_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "crooked"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "late.py").write_text("def late():\n    from crooked import types_only")
    (package / "types_only.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from crooked.late import late"
    )
    monkeypatch.syspath_prepend(tmp_path)
    graph = grimp.build_graph("crooked", cache_dir=None)
    assert graph.find_modules_directly_imported_by("crooked.late") == {"crooked.types_only"}
    assert graph.find_modules_directly_imported_by("crooked.types_only") == {"crooked.late"}


def test_parameters_are_counted() -> None:
    (function,) = ast.parse("def f(self, a, /, b, *c, d, **e): ...").body
    assert isinstance(function, ast.FunctionDef)
    assert parameters_of(function) == 5
