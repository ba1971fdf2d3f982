"""Who may import whom, and what no file may hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.house_rules import (
    OURS,
    imported,
    machine_traces,
    private_flower,
    stray_errors,
    unsafe_loads,
    wrong_imports,
)

REPOSITORY = Path(__file__).resolve().parents[2]
NOT_OURS = {".git", ".venv", ".cache", ".hypothesis", "__pycache__", "build", "dist", "runs"}
TEXT = {
    "",
    ".py",
    ".pyi",
    ".md",
    ".toml",
    ".proto",
    ".html",
    ".j2",
    ".css",
    ".js",
    ".json",
    ".yml",
    ".cfg",
    ".txt",
}

FOLDERS = {
    package: REPOSITORY / package.removeprefix("fedstill_") / package
    if "_" in package
    else REPOSITORY / package
    for package in OURS
}
MODULES = [
    pytest.param(package, path, id=str(path.relative_to(REPOSITORY)))
    for package, folder in FOLDERS.items()
    for path in sorted(folder.rglob("*.py"))
]
every_module = pytest.mark.parametrize(("package", "path"), MODULES)


def repository_files() -> list[Path]:
    """The files that git knows or would take; without git (a source archive), all that look like ours."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        done = subprocess.run(listing, cwd=REPOSITORY, capture_output=True, check=True)
        paths = [REPOSITORY / name for name in done.stdout.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [path for path in REPOSITORY.rglob("*") if not NOT_OURS & set(path.parts)]
    return [path for path in paths if path.is_file() and path.suffix in TEXT]


@every_module
def test_every_import_is_allowed(package: str, path: Path) -> None:
    assert not wrong_imports(package, path.read_text())


def test_names_that_flower_keeps_for_itself_are_in_few_files() -> None:
    files = {
        str(path.relative_to(REPOSITORY))
        for folder in FOLDERS.values()
        for path in folder.rglob("*.py")
        if private_flower(path.read_text())
    }
    assert files == {
        "proto/fedstill_proto/flower_objects.py",
        "server/fedstill_server/fleet/bounded_grid.py",
        "server/fedstill_server/fleet/flower.py",
        "server/fedstill_server/fleet/lean_superlink.py",
        "server/fedstill_server/fleet/superlink.py",
        "sim/fedstill_sim/engine/grid.py",
    }
    assert private_flower("def f():\n    from flwr.common.serde import x") == {"flwr.common.serde"}


@every_module
def test_nothing_unpickles(package: str, path: Path) -> None:
    assert not list(unsafe_loads(path.read_text()))


@every_module
def test_every_error_derives_from_ours(package: str, path: Path) -> None:
    assert not list(stray_errors(path.read_text()))


def test_every_package_is_checked_and_typed() -> None:
    for package, folder in FOLDERS.items():
        assert sum(parameters.values[0] == package for parameters in MODULES) > 1
        assert (folder / "py.typed").is_file()


def test_no_file_names_a_machine() -> None:
    files = repository_files()
    assert REPOSITORY / "pyproject.toml" in files
    traces = {str(path.relative_to(REPOSITORY)): machine_traces(path.read_text()) for path in files}
    assert not {name: found for name, found in traces.items() if found}


# What a fresh interpreter loads

LOAD_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
names = [module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(len(names), *sorted({name.split(".")[0] for name in sys.modules}))
"""
HEAVY = {"torch", "onnx", "onnxscript", "sklearn", "sqlalchemy", "ray", "matplotlib"}


def loaded_by(package: str, *, folder: Path = REPOSITORY) -> set[str]:
    """Top-level packages in memory after importing `package` and all its modules."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD_ALL, package], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    count, *packages = done.stdout.split()
    assert int(count) > 1
    return set(packages)


@pytest.mark.parametrize(
    ("package", "never"),
    [
        ("fedstill_proto", HEAVY | {"onnxruntime"}),
        ("fedstill_client", HEAVY | {"fedstill_server", "fedstill_sim"}),
        # The simulator's worker processes import this and nothing above it.
        ("fedstill_sim.engine", HEAVY | {"fedstill_server"}),
    ],
)
def test_importing_stays_light(package: str, never: set[str]) -> None:
    assert not loaded_by(package) & never


# The rules can fail


@pytest.mark.parametrize(
    "source",
    [
        "import fedstill_server",
        "from fedstill_server.rounds.fleet_run import run",
        "import numpy, fedstill_server.losses as losses",
        "def late():\n    from fedstill_server import losses",
        "import importlib\nimportlib.import_module('fedstill_server.losses')",
        "from importlib import import_module\nimport_module('fedstill_server')",
        "__import__('fedstill_server')",
        "try:\n    import fedstill_server\nexcept ImportError:\n    pass",
    ],
)
def test_an_import_is_found_wherever_it_hides(source: str) -> None:
    assert "fedstill_server" in imported(source)
    assert wrong_imports("fedstill_client", source) == {"fedstill_server"}
    assert wrong_imports("fedstill_proto", source) == {"fedstill_server"}
    assert not wrong_imports("fedstill_server", source)
    assert not wrong_imports("fedstill_sim", source)
    assert not wrong_imports("fedstill", source)


def test_the_layout_forbids_what_it_should() -> None:
    assert wrong_imports("fedstill_server", "import fedstill_client") == {"fedstill_client"}
    for package in ("fedstill_proto", "fedstill_client", "fedstill_server"):
        assert wrong_imports(package, "from fedstill_sim import grid") == {"fedstill_sim"}
    for package in OURS[1:]:
        assert wrong_imports(package, "from fedstill import simulate") == {"fedstill"}
    assert wrong_imports("fedstill_client", "def late():\n    import torch") == {"torch"}
    assert not wrong_imports("fedstill_server", "import torch, onnx, sqlalchemy")
    assert not wrong_imports("fedstill_client", "from . import torch_free")


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=trusted)",
        "import torch\ntorch.load(path)",
    ],
)
def test_an_unsafe_load_is_found(source: str) -> None:
    assert list(unsafe_loads(source))
    assert not list(unsafe_loads("np.load(path, allow_pickle=False)\nsafetensors.numpy.load(data)"))


def test_a_stray_error_is_found() -> None:
    assert list(stray_errors("class Lost(Exception): ...\nclass Late(TimeoutError): ...")) == ["Lost", "Late"]
    assert not list(stray_errors("class Lost(FedstillError): ...\nclass Bad(FedstillError, ValueError): ..."))


@pytest.mark.parametrize("name", ["work", "root", "home/ada", "Users/ada", "opt/wheels"])
def test_a_machine_s_path_is_found(name: str) -> None:
    assert machine_traces(f"cd /{name}/project")
    assert machine_traces(f'open("/{name}/data.npz")')
    assert not machine_traces(f"https://example.org/{name}/project and files/{name}/x")


def test_hosts_and_neighbouring_folders_are_found() -> None:
    assert machine_traces("https://" + "pypi" + ".org/simple")
    assert machine_traces("files." + "pythonhosted" + ".org")
    assert machine_traces("see .." + "/shared/DESIGN.md")
    assert not machine_traces("pip install fedstill")


def test_a_heavy_import_is_seen(tmp_path: Path) -> None:
    package = tmp_path / "burdened"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "light.py").write_text("def late():\n    import sklearn")
    (package / "heavy.py").write_text("from sqlalchemy import select")
    loaded = loaded_by("burdened", folder=tmp_path)
    assert "sqlalchemy" in loaded
    assert "sklearn" not in loaded
