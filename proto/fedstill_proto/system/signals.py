"""Ends a long-running program when it is asked to: by SIGTERM, or Ctrl-C.

Python runs a signal's handler between any two steps of the main thread, which may just then hold the lock of
a threading.Event; setting the event there can wait for ever. So the handler does nothing, and the signal
arrives as a byte in a pipe (signal.set_wakeup_fd).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from types import TracebackType

_ENDING = (signal.SIGTERM, signal.SIGINT)


class EndSignals:
    """While it is entered, the two signals end nothing by themselves. For the main thread only."""

    def __init__(self) -> None:
        self._received = False

    def __enter__(self) -> EndSignals:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._handlers = {number: signal.signal(number, lambda *_: None) for number in _ENDING}
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for a signal, up to so many seconds (None: for ever); returns whether one has come."""
        while not self._received:
            ready, _, _ = select.select([self._read], [], [], seconds)
            if not ready:
                return False
            with contextlib.suppress(BlockingIOError):
                # Other signals write here, too.
                self._received = any(number in _ENDING for number in os.read(self._read, 512))
        return True
