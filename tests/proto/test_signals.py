"""Signals that end a program, whatever its main thread was doing when they came."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from fedstill_proto.system.signals import EndSignals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait(number: signal.Signals) -> None:
    with EndSignals() as signals:
        assert not signals.wait(0.01)
        timer = threading.Timer(0.1, os.kill, (os.getpid(), number))
        timer.start()
        started = time.monotonic()
        assert signals.wait(20)
        assert time.monotonic() - started < 10
        assert signals.wait()  # it stays


def test_other_signals_do_not() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with EndSignals() as signals:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert not signals.wait(0.2)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_what_was_there_before_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with EndSignals():
        assert signal.getsignal(signal.SIGTERM) is not before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
