"""A fresh Python process at the other end of a pipe.

Python's own "spawn" imports the caller's program again in each new process: a script without an
`if __name__ == "__main__"` guard starts itself over and over, and one that was read from standard input
cannot be found at all. A worker here imports the module of its own task and nothing else, so that scripts,
notebooks, `python -c` and programs on standard input may all start workers.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from fedstill_sim.workers.calls import WorkerLost

# The parent's module path comes first, since the rest may lie on it.
_PROGRAM = """
import json, sys
from multiprocessing.connection import Connection
pipe = Connection(int(sys.argv[1]))
sys.path[:] = json.loads(pipe.recv_bytes())
from fedstill_sim.workers.child import main
main(pipe, sys.argv[2])
"""
_SECONDS_TO_END = 5.0  # after which a worker that was asked to end is killed


class WorkerProcess:
    """A process that serves one function: `serve(pipe)`, which every message of this side reaches."""

    def __init__(
        self, serve: Callable[[Connection], None], *, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start the process; it is ready when it answers.

        Args:
            serve: A module's function, which the process imports by its name.
            environment: Variables that the process gets beside those of this one.
        """
        self.pipe, its_end = Pipe()
        command = [sys.executable, "-P", "-c", _PROGRAM, str(its_end.fileno())]
        self._process = subprocess.Popen(
            [*command, f"{serve.__module__}:{serve.__qualname__}"],
            stdin=subprocess.DEVNULL,  # a program on standard input is not the worker's to read
            pass_fds=[its_end.fileno()],
            env={**os.environ, **(environment or {})},
        )
        its_end.close()
        self.pipe.send_bytes(json.dumps(sys.path).encode())

    @property
    def process_id(self) -> int:
        """The number that the system knows the process by."""
        return self._process.pid

    def send(self, message: Any) -> None:
        """Hand the process a message.

        Raises:
            WorkerLost: The process has ended.
        """
        try:
            self.pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):
            raise WorkerLost(self.death()) from None

    def receive(self) -> Any:
        """Wait for the process's next message.

        Raises:
            WorkerLost: The process has ended.
        """
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionResetError):
            raise WorkerLost(self.death()) from None

    def death(self) -> str:
        """How a process that has closed its pipe came to its end."""
        try:
            code = self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            return f"worker process {self.process_id} no longer answers"
        if code >= 0:
            return f"worker process {self.process_id} ended with exit code {code}; its error output says why"
        reason = ": as a rule the machine ran out of memory" if code == -signal.SIGKILL else ""
        return f"worker process {self.process_id} was killed by {_signal_name(-code)}{reason}"

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self._process.terminate()
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.pipe.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
