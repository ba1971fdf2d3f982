"""What the fleet said, signed, that it would ask of the device: kept in its home when it enrols.

A task must be within it and within the owner's policy. A later release that says more changes nothing until
the owner accepts it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from fedstill_proto.errors import FedstillError
from fedstill_proto.system.files import replace_file
from fedstill_proto.task_bounds import Excess, TaskBounds

STATEMENT_FILE, NEWER_FILE = "statement.json", "statement.new.json"


def read_statement(folder: Path) -> TaskBounds | None:
    """What the device was told; None where its fleet said nothing. A damaged one is refused."""
    return _read(folder / STATEMENT_FILE)


def newer_statement(folder: Path) -> TaskBounds | None:
    """What a later release says, where that is more, and its owner has not accepted it."""
    return _read(folder / NEWER_FILE)


def pin_statement(folder: Path, said: TaskBounds | None) -> list[Excess]:
    """Keep what the fleet says.

    Args:
        folder: The agent's home.
        said: What it says now; None is nothing.

    Returns:
        Where it goes beyond what it said before: then that stays, and the new one waits for the owner.
    """
    if said is None:
        return []
    before = read_statement(folder)
    beyond = [] if before is None else list(before.excess(said))
    _write(folder / (NEWER_FILE if beyond else STATEMENT_FILE), said)
    if not beyond:
        (folder / NEWER_FILE).unlink(missing_ok=True)
    return beyond


def accept_statement(folder: Path) -> None:
    """Let what a later release says take the place of what was said before; raises FedstillError for none."""
    newer = newer_statement(folder)
    if newer is None:
        raise FedstillError("--accept: the fleet asks for no more than it said before.")
    _write(folder / STATEMENT_FILE, newer)
    (folder / NEWER_FILE).unlink()


def how_to_allow(beyond: Iterable[Excess]) -> str:
    """The options of fedstill-agent policy that allow it."""
    options = []
    for one in beyond:
        if isinstance(one.value, tuple):
            options += [f"--allow {word}" for word in one.value]
        else:
            options.append(f"--set {one.rule}={one.value}")
    return " ".join(options)


def _read(file: Path) -> TaskBounds | None:
    try:
        return TaskBounds.from_json(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FedstillError(f"{file}: cannot be read: {error.strerror}.") from None
    except (ValueError, FedstillError) as error:
        raise FedstillError(f"{file}: cannot be used: {error}; enrol the device anew.") from None


def _write(file: Path, said: TaskBounds) -> None:
    replace_file(file, (json.dumps(said.to_json(), indent=1) + "\n").encode())
