"""A release: a source archive and a wheel, built, looked into, unpacked and run outside the checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
VERSION = PYPROJECT["project"]["version"]
WHEEL = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
FOLDERS = [REPOSITORY / folder for folder in WHEEL["packages"]]
ABOUT = f"fedstill-{VERSION}.dist-info"
RUN = "run digits --devices 2 --rounds 1 --baselines none --no-tradeoff --quiet --out run"


def done(*command: object, folder: Path, path: Path | None = None) -> str:
    """The output of a command that succeeds; its modules come from `path` and the environment's packages."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PYTHONPATH": str(path)} if path else {}
    words = [str(part) for part in command]
    run = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@dataclass(frozen=True)
class Release:
    """What `python -m build` made: the archive of sources, and the wheel that was built from it."""

    archive: Path
    wheel: Path


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder = tmp_path_factory.mktemp("dist")
    done(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, REPOSITORY, folder=folder)
    (archive,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Release(archive, wheel)


@pytest.fixture(scope="module")
def unpacked(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as pip puts it into a folder; its dependencies are those of this interpreter."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", "--target", folder]
    done(sys.executable, "-m", "pip", "install", *options, release.wheel, folder=folder)
    return folder


def test_a_package_index_would_take_both(release: Release) -> None:
    both = (release.archive, release.wheel)
    done(sys.executable, "-m", "twine", "check", "--strict", *both, folder=release.wheel.parent)


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(release: Release) -> None:
    ours = {
        str(path.relative_to(folder.parent))
        for folder in FOLDERS
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(release.wheel) as wheel:
        names = {name for name in wheel.namelist() if not name.endswith("/")}
        about = message_from_bytes(wheel.read(f"{ABOUT}/METADATA"))
        assert wheel.read(f"{ABOUT}/licenses/LICENSE") == (REPOSITORY / "LICENSE").read_bytes()
    assert {name for name in names if not name.startswith(f"{ABOUT}/")} == ours
    assert {f"{folder.name}/py.typed" for folder in FOLDERS} <= names
    found = (about["Name"], about["Version"], about["License-Expression"])
    assert found == ("fedstill", VERSION, "Apache-2.0")


def test_the_archive_holds_what_a_wheel_is_built_from_and_no_tests(release: Release) -> None:
    with tarfile.open(release.archive) as archive:
        names = {name.removeprefix(f"fedstill-{VERSION}/") for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "CITATION.cff"} <= names
    tops = {name.split("/")[0] for name in names if "/" in name}
    assert tops == {folder.relative_to(REPOSITORY).parts[0] for folder in FOLDERS} | {"deploy", "docs"}
    assert not [name for name in names if re.search(r"(^|/)(tests|__pycache__|\.venv|runs)/|\.pyc$", name)]


@pytest.mark.slow
def test_the_wheel_runs_outside_the_checkout(unpacked: Path, tmp_path: Path) -> None:
    for package in (folder.name for folder in FOLDERS):
        where = f"import {package}; print({package}.__file__, {package}.__version__)"
        file, version = done(sys.executable, "-c", where, folder=tmp_path, path=unpacked).split()
        assert Path(file).is_relative_to(unpacked)
        assert version == VERSION

    sim = unpacked / "bin" / "fedstill-sim"
    assert done(sim, "--version", folder=tmp_path, path=unpacked) == f"fedstill-sim {VERSION}\n"
    done(sim, *RUN.split(), folder=tmp_path, path=unpacked)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["versions"]["fedstill"] == VERSION
    assert result["final"]["personal_accuracy"] > 0.5
    assert (tmp_path / "run" / "report.html").is_file()


def test_the_version_is_the_same_wherever_it_stands() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    newest = re.findall(r"^## \[(\d\S*)\] - (\S+)$", changelog, flags=re.M)[0]
    assert newest == (VERSION, str(citation["date-released"]))
    assert citation["version"] == VERSION
