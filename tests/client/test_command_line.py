"""A command line that is quick and kind: what it loads, and what it says of names that there are not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fedstill_client.cli import app
from fedstill_client.commands.options import unwrapped
from fedstill_client.commands.paths import check_file
from fedstill_proto import __version__
from fedstill_proto.errors import FedstillError
from typer.testing import CliRunner

COMMANDS = [
    "info",
    "predict",
    "personalize",
    "observe",
    "status",
    "forget",
    "serve",
    "suggest",
    "observe-text",
    "generate",
    "policy",
    "privacy",
    "names",
    "review",
    "wyoming",
    "enrol",
    "run",
    "unit",
    "doctor",
    "proto",
]
# What takes a device tenths of a second to load.
_HEAVY = {"numpy", "onnxruntime", "grpc", "flwr", "google", "safetensors", "sqlite3", "cryptography", "tuf"}
_PROGRAM = """
import sys
from fedstill_client import cli
sys.argv = ["fedstill-agent", *sys.argv[1:]]
try:
    cli.main()
except SystemExit as end:
    code = end.code
print("LOADED", sorted({name.split(".")[0] for name in sys.modules}))
sys.exit(code)
"""


def agent(*arguments: object) -> tuple[int, str, set[str]]:
    """Exit code, words and loaded packages of a command in a process of its own."""
    command = [sys.executable, "-c", _PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    shown, _, loaded = done.stdout.rpartition("LOADED")
    return done.returncode, shown + done.stderr, set(loaded.replace("'", "").strip(" []\n").split(", "))


def test_help_loads_nothing_heavy() -> None:
    code, shown, loaded = agent("--help")

    assert code == 0
    assert "personalize" in shown
    assert not loaded & _HEAVY


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predcit"], "did you mean predict?"),
        (["serve", "--precision", "int88"], "did you mean int8?"),
        (["enrol", "x.json", "--name", "a", "--encryption", "keyrign"], "did you mean keyring?"),
        (["predict", "--home", "/nowhere/at/all", "--input", __file__], "there is no agent's home"),
    ],
)
def test_wrong_names_are_refused_before_anything_heavy_is_loaded(arguments: list[str], words: str) -> None:
    code, shown, loaded = agent(*arguments)

    assert code == 2
    assert words in shown
    assert not loaded & _HEAVY


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_the_version(command: str) -> None:
    assert CliRunner().invoke(app, [command, "--version"]).output == f"fedstill-agent {__version__}\n"


def test_the_commands_are_all_there() -> None:
    assert sorted(COMMANDS) == sorted(
        command.name or (command.callback.__name__ if command.callback else "")
        for command in app.registered_commands
    )
    assert CliRunner().invoke(app, ["--version"]).output == f"fedstill-agent {__version__}\n"


def test_paths_that_are_spelled_alike_are_named(tmp_path: Path) -> None:
    for folder in ("students", "devices"):
        (tmp_path / folder).mkdir()
    (tmp_path / "scans.npz").touch()

    def problem(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert isinstance(result.exception, FedstillError)
        return str(result.exception)

    student, device = tmp_path / "student", tmp_path / "devcies"
    scans = tmp_path / "scans.npz"
    assert problem("predict", "--student", student, "--input", scans).endswith(f"mean {student}s?")
    assert problem("info", "--device", device).endswith(f"did you mean {tmp_path / 'devices'}?")
    assert "no device.json" in problem("info", "--device", tmp_path / "devices")
    assert problem("observe", "--input", tmp_path / "scan.npz").endswith(f"did you mean {scans}?")
    with pytest.raises(FedstillError, match=r"there is no such file\.$"):
        check_file(tmp_path / "something else")
    check_file(scans)


def test_an_answer_s_file_is_refused_before_the_answer(tmp_path: Path) -> None:
    (tmp_path / "x.npz").touch()
    result = CliRunner().invoke(
        app, ["predict", "--input", str(tmp_path / "x.npz"), "--output", "x.xls", "--home", "/nowhere"]
    )

    assert str(result.exception) == "x.xls: answers are written as .npz or .csv; choose one of them."


def test_paragraphs_are_unwrapped_and_examples_are_not() -> None:
    text = "Say it.\n\n    One\n    two.\n\n      fedstill-agent a\n      fedstill-agent b\n    "

    assert unwrapped(text) == "Say it.\n\nOne two.\n\n  fedstill-agent a\n  fedstill-agent b"
