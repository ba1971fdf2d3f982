"""Other work on the machine: processes that keep its cores busy while something is measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROGRAM = Path(__file__).with_name("busy.py")
_END_S = 5.0


@contextmanager
def busy_processes(count: int, *, seconds: float) -> Iterator[tuple[int, ...]]:
    """So many processes that compute, until the context ends.

    Each is ended by its own number. One that nobody ends, because this process was killed, ends by itself as
    soon as it sees that, or after `seconds`.

    Yields:
        Their process numbers.
    """
    started: list[subprocess.Popen[str]] = []
    try:
        for _ in range(count):
            started.append(
                subprocess.Popen(
                    [sys.executable, "-I", "-S", str(_PROGRAM), str(seconds)],
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        for one in started:
            assert one.stdout is not None
            one.stdout.readline()  # it computes from here on
        yield tuple(one.pid for one in started)
    finally:
        for one in started:
            one.terminate()
        for one in started:
            try:
                one.wait(_END_S)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
            if one.stdout is not None:
                one.stdout.close()
