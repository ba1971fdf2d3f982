"""Child processes that are kept alive: started, logged, started again when they end, stopped by their pid.

Both the server and the agent run Flower's own programs this way. Their pids are written down, so that after
a kill -9 of the parent the next one ends what is left of its children before it starts its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from fedstill_proto.errors import FedstillError

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
_STEADY_S = 60.0  # a child that lived so long starts anew without a pause
_GRACE_S = 10.0
_LOG_LIMIT_BYTES = 16 << 20


class SupervisorError(FedstillError):
    """A program that cannot be started, or ends at once."""


@dataclass
class ChildProcess:
    """One program: its command, its log, and the process that runs it now."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    keeps_running: bool = True  # or it ends when its work is done
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    _started: float = 0.0
    _pause_s: float = _FIRST_PAUSE_S
    _due: float = 0.0

    @property
    def pid(self) -> int | None:
        return None if self.process is None else self.process.pid

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it; its output is appended to its log."""
        with _log(self.log) as log:
            try:
                self.process = subprocess.Popen(
                    list(self.command),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self.environment},
                    start_new_session=True,  # Ctrl-C reaches the parent alone, which ends them in order
                )
            except OSError as error:
                raise SupervisorError(f"{self.name}: {self.command[0]} cannot be started: {error}") from None
        self.starts += 1
        self._started = time.monotonic()

    def restart_if_due(self) -> bool:
        """Start it again if it has ended and its growing pause is over; returns whether it was started."""
        if self.is_running():
            return False
        now = time.monotonic()
        if self._due == 0.0:
            steady = now - self._started >= _STEADY_S
            self._pause_s = _FIRST_PAUSE_S if steady else min(2 * self._pause_s, _LONGEST_PAUSE_S)
            self._due = now + self._pause_s
        if now < self._due:
            return False
        self._due = 0.0
        self.start()
        return True

    def log_tail(self, lines: int = 5) -> str:
        """The last lines of its log, for an error."""
        try:
            tail = self.log.read_bytes()[-4096:].decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        return "\n".join(f"  {line}" for line in tail[-lines:])


class Supervisor:
    """Keeps a parent's child processes alive, and writes down which they are for the next parent."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self._children: list[ChildProcess] = []
        end_leftovers(record)

    def start(self, child: ChildProcess) -> ChildProcess:
        """Start a child, and keep it alive from now on."""
        child.start()
        self._children.append(child)
        self._write_down()
        return child

    def remove(self, child: ChildProcess) -> None:
        """Stop a child, and keep it alive no more."""
        self._children.remove(child)
        _end([child.process] if child.process else [])
        self._write_down()

    def poll(self, on_end: Callable[[ChildProcess], None] = lambda child: None) -> None:
        """Start again what has ended; call it about every second.

        Args:
            on_end: Is called with each child that had ended and was started again.
        """
        for child in self._children:
            _trim(child.log)
            if child.keeps_running and not child.is_running() and child.restart_if_due():
                on_end(child)
                self._write_down()

    def stop(self) -> None:
        """End all, the last one first: SIGTERM, then SIGKILL to those that are left after ten seconds."""
        _end([child.process for child in reversed(self._children) if child.process])
        self._children.clear()
        self._record.unlink(missing_ok=True)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __iter__(self) -> Iterator[ChildProcess]:
        return iter(self._children)

    def _write_down(self) -> None:
        entries = []
        for child in self._children:
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.is_running() and child.pid is not None:
                    created = psutil.Process(child.pid).create_time()
                    entries.append({"name": child.name, "pid": child.pid, "created": created})
        partial = self._record.with_suffix(".partial")
        partial.write_text(json.dumps(entries))
        partial.replace(self._record)


def flower_program(name: str) -> str:
    """The path of one of Flower's programs, beside this Python."""
    return str(Path(sys.executable).with_name(name))


def flower_environment(home: Path) -> dict[str, str]:
    """What Flower's programs need: a folder of their own, each other on the PATH, and no telemetry."""
    programs = str(Path(sys.executable).parent)
    return {
        "FLWR_HOME": str(home.resolve()),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "PATH": os.pathsep.join((programs, os.environ.get("PATH", os.defpath))),
    }


def end_leftovers(record: Path) -> int:
    """End the processes that an earlier parent left, by pid and time of creation; returns how many."""
    try:
        entries = json.loads(record.read_text())
    except (OSError, ValueError):
        return 0
    left = []
    for entry in entries if isinstance(entries, list) else ():
        with contextlib.suppress(psutil.Error, KeyError, TypeError, ValueError):
            process = psutil.Process(entry["pid"])
            if process.create_time() == entry["created"]:
                left.append(process)
    _end(left)
    record.unlink(missing_ok=True)
    return len(left)


def _end(processes: Sequence[subprocess.Popen[bytes] | psutil.Process]) -> None:
    """SIGTERM to each and to what it started, then SIGKILL to those that are left after ten seconds."""
    family: list[psutil.Process] = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            own = psutil.Process(process.pid)
            family += [own, *own.children(recursive=True)]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.terminate()
    _, alive = psutil.wait_procs(family, timeout=_GRACE_S)
    for member in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(alive, timeout=_GRACE_S)
    for process in processes:
        if isinstance(process, subprocess.Popen):
            process.wait()


@contextlib.contextmanager
def _log(path: Path) -> Iterator[IO[bytes]]:
    """The log, to append to: so a child goes on writing at the end of one that was emptied."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("ab") as file:
        yield file


def _trim(path: Path) -> None:
    """Start a log anew that has grown large; the one before is kept as <log>.1."""
    with contextlib.suppress(OSError):
        if path.stat().st_size > _LOG_LIMIT_BYTES:
            shutil.copyfile(path, path.with_name(path.name + ".1"))
            os.truncate(path, 0)
