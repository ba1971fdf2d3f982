"""The server and the agents of a fleet as an operator and an integrator start them, on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from fedstill_client.home import AgentHome

LOOPBACK = "127.0.0.1"
_END_WITHIN_S = 40.0


class FleetFailed(Exception):
    """A process of the fleet ended, or something that was waited for did not happen."""


def program(name: str, *words: object, as_json: bool = True) -> Any:
    """Run one of fedstill's commands to its end, and return what its --json prints."""
    command = [str(Path(sys.executable).with_name(name)), *map(str, words), *(["--json"] if as_json else [])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise FleetFailed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout) if as_json else done.stdout


def free_port() -> int:
    """Find a port of loopback that nobody listens at just now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def wait_until(holds: Callable[[], Any], *, seconds: float, what: str) -> Any:
    """Wait for `holds` to return something true, and return that.

    Raises:
        FleetFailed: The time is over.
    """
    end = time.monotonic() + seconds
    while not (found := holds()):
        if time.monotonic() > end:
            raise FleetFailed(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)
    return found


class RunningCommand:
    """A command that runs until it is ended; its output goes to a file."""

    def __init__(self, log: Path, name: str, *words: object, programs: Path | None = None) -> None:
        self.log = log
        beside = Path(sys.executable).parent if programs is None else programs
        self._command = [str(beside / name), *map(str, words)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def lines(self) -> list[str]:
        """Return the whole lines of its output so far."""
        return self.log.read_text(errors="replace").split("\n")[:-1] if self.log.exists() else []

    def end(self) -> None:
        """Send SIGTERM, as a service manager does.

        Raises:
            FleetFailed: That does not end it.
        """
        if self._process is None or not self.is_running():
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            kill_tree(self.pid)
            self._process.wait()
            raise FleetFailed(f"{' '.join(self._command)}: SIGTERM did not end it") from None

    def lose_power(self) -> int:
        """Send SIGKILL to it and to all that it started; returns how many processes those were."""
        assert self._process is not None
        killed = kill_tree(self.pid)
        self._process.wait()
        return killed


class Server(RunningCommand):
    """fedstill-server up, or relay."""

    def __init__(self, folder: Path, command: str = "up", *words: object) -> None:
        super().__init__(folder.with_suffix(".log"), "fedstill-server", command, folder, "--json", *words)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return its reports of a kind: up, note, round or down."""
        found = []
        for line in self.lines():
            with contextlib.suppress(ValueError):
                document = json.loads(line)
                if document.get("event") == kind:
                    found.append(document)
        return found

    def wait_for(self, kind: str, *, count: int = 1, seconds: float) -> dict[str, Any]:
        """Wait for `count` reports of a kind, and return the last.

        Raises:
            FleetFailed: The process ended first; the message has the end of its log.
        """

        def enough() -> list[dict[str, Any]] | None:
            found = self.events(kind)
            if len(found) < count and not self.is_running():
                raise FleetFailed("the server ended:\n" + "\n".join(self.lines()[-15:]))
            return found if len(found) >= count else None

        what = f"{count} times {kind!r} from the server"
        found: list[dict[str, Any]] = wait_until(enough, seconds=seconds, what=what)
        return found[count - 1]


class Agent(RunningCommand):
    """fedstill-agent run; `programs` is the folder of another environment's programs."""

    def __init__(self, home: AgentHome, *options: str, programs: Path | None = None) -> None:
        words = ("run", "--home", home.folder, *options)
        super().__init__(home.folder / "run.log", "fedstill-agent", *words, programs=programs)
        self.home = home


@contextlib.contextmanager
def end_afterwards(*running: RunningCommand) -> Iterator[None]:
    """End all commands when the block ends, however it ends, the last one first."""
    try:
        yield
    finally:
        failures = []
        for one in reversed(running):
            try:
                one.end()
            except FleetFailed as failure:
                failures.append(failure)
        if failures and sys.exc_info()[0] is None:
            raise failures[0]


def kill_tree(pid: int) -> int:
    """Send SIGKILL to a process and all below it, so fast that none can start another."""
    own = psutil.Process(pid)
    family = [own, *own.children(recursive=True)]
    for process in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    return len(family)
