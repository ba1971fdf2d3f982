"""How far something is that takes minutes: a bar with the time left, or lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_SECONDS_BETWEEN_LINES = 5.0
_SOON = 5.0  # seconds after which what is left can be told

OnProgress = Callable[[str, int, int], None]


@contextmanager
def shown_progress(first: str) -> Iterator[OnProgress]:
    """Shows on stderr what is being made, how much of it, and the time left; `first` until that is known."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines().told
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[left]}"), console=console, transient=True) as bars:
        bar, times = bars.add_task(first, total=None, left=""), TimeLeft()

        def told(what: str, done: int, total: int) -> None:
            left = times.left(what, done, total)
            bars.update(bar, description=what, completed=min(done, total), total=total or None, left=left)

        yield told


class TimeLeft:
    """The time that is left of one thing after another, as fast as each has gone so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._what = ""
        self._began, self._had = 0.0, 0

    def left(self, what: str, done: int, total: int) -> str:
        """Such as "2:05 left"; "" where it is too early to say."""
        now = self._clock()
        if what != self._what or done < self._had:
            self._what, self._began, self._had = what, now, done  # a run that goes on has some done already
        spent, made = now - self._began, done - self._had
        if made <= 0 or spent < _SOON or done >= total:
            return ""
        seconds = round(spent / made * (total - done))
        return f"{seconds // 60}:{seconds % 60:02d} left"


class _Lines:
    """A line on stderr when something new begins, and every few seconds of what goes on."""

    def __init__(self) -> None:
        self._times, self._what, self._last = TimeLeft(), "", 0.0

    def told(self, what: str, done: int, total: int) -> None:
        left, now = self._times.left(what, done, total), time.monotonic()
        if what == self._what and now - self._last < _SECONDS_BETWEEN_LINES:
            return
        self._what, self._last = what, now
        share = f": {done / total:.0%}" if total > 1 else ""
        print(what + share + (f", {left}" if left else ""), file=sys.stderr, flush=True)
