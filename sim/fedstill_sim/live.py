"""The console's page beside a run: its rounds as they are committed, on loopback, for as long as it runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from fedstill_sim.progress import RunProgress
from fedstill_sim.results.run_result import RoundResult


class WatchedProgress:
    """A RunProgress that passes everything on and knows what is done now, in words."""

    def __init__(self, progress: RunProgress) -> None:
        self._progress, self.now = progress, ""
        self._rounds: dict[str, int] = {}

    def expect(self, seconds: Mapping[str, float]) -> None:
        """The run's phases will take about so long."""
        self._progress.expect(seconds)

    def phase(self, text: str, *, name: str = "") -> None:
        """A phase begins that has no rounds."""
        self.now = text
        self._progress.phase(text, name=name)

    def rounds(self, method: str, *, total: int, done: int) -> None:
        """A method's rounds begin, or go on after the first `done`."""
        self._rounds[method], self.now = total, f"{method}: {total} rounds"
        self._progress.rounds(method, total=total, done=done)

    def devices_done(self, method: str, *, done: int, total: int) -> None:
        """So many of the open round's devices are done."""
        self.now = f"{method}: {done:,} of {total:,} devices of the open round are done"
        self._progress.devices_done(method, done=done, total=total)

    def round_done(self, method: str, finished: RoundResult) -> None:
        """A round is committed."""
        self.now = f"{method}: round {finished.round} of {self._rounds.get(method, 0)} is done"
        self._progress.round_done(method, finished)


@contextmanager
def live_page(folder: Path, progress: RunProgress, console: Console, *, keep: bool) -> Iterator[RunProgress]:
    """Serve the page of a run in `folder` while the block runs.

    Args:
        folder: The run's, with its config.json.
        progress: Told of what goes on.
        console: Where the page's address is printed.
        keep: Go on after the block, until Ctrl-C.

    Yields:
        The progress to tell instead.
    """
    from fedstill_server.console.serving import console_beside
    from fedstill_server.console.view import View

    watched = WatchedProgress(progress)
    with console_beside(View(folder, phase=lambda: watched.now)) as address:
        console.print(f"The run is at {address}", highlight=False, soft_wrap=True)
        yield watched
        if keep:
            watched.now = "done"
            console.print(f"The page stays at {address} until Ctrl-C.", highlight=False, soft_wrap=True)
            try:
                threading.Event().wait()
            except KeyboardInterrupt:
                return
