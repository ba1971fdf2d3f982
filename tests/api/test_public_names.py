"""What `import fedstill` gives: these names and no others, each loaded when it is used."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.extras import EXTRAS, MissingExtra, explain_missing, require_extra

import fedstill

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "flwr", "onnx", "onnxruntime", "sklearn", "scipy", "sqlalchemy", "ray", "matplotlib")
MODULES = [module.name for module in pkgutil.walk_packages(fedstill.__path__, "fedstill.")]

PUBLIC = [
    "AgentClient",
    "Check",
    "Comparison",
    "Device",
    "Distilled",
    "FedstillError",
    "Fleet",
    "Result",
    "Student",
    "Teacher",
    "audit",
    "callbacks",
    "check",
    "compare",
    "datasets",
    "distill",
    "flower",
    "methods",
    "publish",
    "simulate",
    "techniques",
]


def test_these_names_are_public_and_no_others() -> None:
    assert fedstill.__all__ == PUBLIC
    assert dir(fedstill) == sorted([*PUBLIC, "__version__"])
    with pytest.raises(AttributeError, match="no attribute 'simulates'"):
        _ = fedstill.simulates


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_there_and_explained(name: str) -> None:
    found = getattr(fedstill, name)
    assert inspect.getdoc(found)
    if inspect.isclass(found) and issubclass(found, FedstillError):
        return
    assert found.__name__.rpartition(".")[2] == name


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_docstrings_work(module: str) -> None:
    outcome = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert outcome.failed == 0


def fresh(program: str) -> subprocess.CompletedProcess[str]:
    """A program in an interpreter of its own."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_a_device_loads_nothing_heavy() -> None:
    done = fresh(
        "import fedstill, sys; fedstill.AgentClient; print(*{name.split('.')[0] for name in sys.modules})"
    )
    assert done.returncode == 0, done.stderr
    assert not {*HEAVY, "fedstill_server", "fedstill_sim"} & set(done.stdout.split())


def test_fleets_are_made_without_torch() -> None:
    done = fresh("import fedstill, sys; fedstill.Fleet; print(*{name.split('.')[0] for name in sys.modules})")
    assert done.returncode == 0, done.stderr
    assert "fedstill_sim" in done.stdout.split()
    assert not set(HEAVY) & set(done.stdout.split())


# What is not installed

WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""
DEVICE = WITHOUT.format(modules={module for modules in EXTRAS.values() for module in modules})


def test_a_missing_package_is_explained() -> None:
    text = r"fedstill.simulate needs the package 'torch', .*fedstill\[sim\]"
    with pytest.raises(MissingExtra, match=text), explain_missing("fedstill.simulate", extra="sim"):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    with pytest.raises(MissingExtra, match=r"'fedstill\[server\]'"), explain_missing("fedstill-server"):
        raise ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")
    with pytest.raises(MissingExtra, match=r"'fedstill\[assistant\]'"), explain_missing("sim", extra="sim"):
        raise ModuleNotFoundError("No module named 'hassil'", name="hassil")
    with pytest.raises(ModuleNotFoundError, match="my_module"), explain_missing("fedstill-server"):
        raise ModuleNotFoundError("No module named 'my_module'", name="my_module")


def test_an_extra_that_is_installed_is_required_quietly() -> None:
    require_extra("sim", what="fedstill.simulate")


def test_extras_name_what_they_bring() -> None:
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS) <= set(declared)


def without_extras(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A console script as a device's install has it."""
    return fresh(f"{DEVICE}\nsys.argv = {['command', *words]}; from {module} import main; main()")


@pytest.mark.parametrize(
    ("module", "words", "extra"),
    [
        ("fedstill_sim.cli", "run digits --out nowhere", "sim"),
        ("fedstill_server.cli", "families", "server"),
        ("fedstill.cli", "sim run digits --out nowhere", "sim"),
        ("fedstill.cli", "server families", "server"),
    ],
)
def test_a_command_without_its_extra_says_which_one(module: str, words: str, extra: str) -> None:
    done = without_extras(module, *words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert f"which is not installed: pip install 'fedstill[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "module", ["fedstill_sim.cli", "fedstill_server.cli", "fedstill_client.cli", "fedstill.cli"]
)
def test_help_needs_no_extra(module: str) -> None:
    done = without_extras(module, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


# The commands


def command(*words: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """`fedstill` with these words; `before` runs first in its interpreter."""
    return fresh(
        f"{before}\nimport sys; sys.argv = {['fedstill', *words]}; from fedstill.cli import main; main()"
    )


def test_the_umbrella_names_its_parts() -> None:
    done = command()
    assert done.returncode == 0
    for part in ("sim", "server", "agent"):
        assert f"\n  {part} " in done.stdout
    assert command("-h").stdout == done.stdout


@pytest.mark.parametrize("words", ["", "sim", "server", "agent"])
def test_every_command_has_a_version(words: str) -> None:
    done = command(*words.split(), "--version")
    assert done.stdout == f"{'-'.join(['fedstill', *words.split()])} {fedstill.__version__}\n"


def test_a_wrong_part_is_an_error_with_a_suggestion() -> None:
    done = command("serve", "up")
    assert (done.returncode, done.stdout) == (2, "")
    assert "fedstill: 'serve' is unknown; did you mean server?" in done.stderr


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("sim run --help", "fedstill sim run"),
        ("server methods --help", "fedstill server methods"),
        ("agent predict --help", "fedstill agent predict"),
    ],
)
def test_a_part_has_the_name_that_called_it(words: str, names: str) -> None:
    done = command(*words.split())
    assert done.returncode == 0, done.stderr
    assert f"Usage: {names}" in done.stdout


def test_the_checkout_s_folder_hides_no_module() -> None:
    """An editable install searches it: a module or a regular package there could stand before another one."""
    packages = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")}
    assert packages | {path.stem for path in REPOSITORY.glob("*.py")} == {"fedstill"}
