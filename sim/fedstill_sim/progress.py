"""The progress of runs as people see it: bars in a terminal, lines in a log, nothing when quiet."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from fedstill_sim.results.readable import readable_bytes, readable_percent, readable_seconds
from fedstill_sim.results.run_result import RoundResult

_SECONDS_BETWEEN_LINES = 1.0
_SECONDS_BETWEEN_LINES_OF_MANY_RUNS = 10.0
_SECONDS_BETWEEN_LINES_OF_A_ROUND = 5.0


class RunProgress(Protocol):
    """Follows a run from phase to phase and from round to round."""

    def expect(self, seconds: Mapping[str, float]) -> None:
        """The run's phases will take about so long, by their names in the result's timing."""

    def phase(self, text: str, *, name: str = "") -> None:
        """A phase begins that has no rounds; `name` is that by which `expect` knows it."""

    def rounds(self, method: str, *, total: int, done: int) -> None:
        """A method's rounds begin, or go on after the first `done`."""

    def devices_done(self, method: str, *, done: int, total: int) -> None:
        """Of the `total` devices that the open round asked, `done` have answered.

        A count that falls is of the round's next part, such as measuring students; `round_done` ends it.
        """

    def round_done(self, method: str, finished: RoundResult) -> None:
        """A round is committed."""


class ComparisonProgress(RunProgress, Protocol):
    """Follows a comparison from run to run, of which several may go on at a time."""

    def runs(self, *, total: int, done: int) -> None:
        """The runs begin, or go on after the first `done`."""

    def run_done(self, label: str, *, failed: bool, text: str) -> None:
        """A run has a result, or failed; `text` says which, or why."""


class SilentProgress:
    """A progress that shows nothing."""

    def runs(self, *, total: int, done: int) -> None:
        """Do nothing."""

    def run_done(self, label: str, *, failed: bool, text: str) -> None:
        """Do nothing."""

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Do nothing."""

    def phase(self, text: str, *, name: str = "") -> None:
        """Do nothing."""

    def rounds(self, method: str, *, total: int, done: int) -> None:
        """Do nothing."""

    def devices_done(self, method: str, *, done: int, total: int) -> None:
        """Do nothing."""

    def round_done(self, method: str, finished: RoundResult) -> None:
        """Do nothing."""


@dataclass
class _Pace:
    """How fast rounds go, and the figures of the last round that was evaluated."""

    total: int
    first: int
    started: float
    evaluated: RoundResult | None = None
    quarantined: int = 0
    round: int = 0  # the last that is committed
    share: float = 0.0  # of the open round's devices that are done

    def __post_init__(self) -> None:
        self.round = self.first

    def note_devices(self, done: int, total: int) -> None:
        """Note how far the open round is: never less far than before, as when its devices are measured."""
        self.share = max(self.share, min(1.0, done / max(1, total)))

    def note(self, finished: RoundResult) -> None:
        self.round, self.share = finished.round, 0.0
        self.quarantined += finished.left_out_answers
        if finished.personal_accuracy is not None or finished.global_accuracy is not None:
            self.evaluated = finished

    @property
    def seconds_left(self) -> float | None:
        """The time that is left at the pace so far; None before there is one."""
        done = self.round + self.share
        ran = done - self.first
        return (time.monotonic() - self.started) / ran * (self.total - done) if ran > 0 else None

    @property
    def left(self) -> str:
        """The same as text; empty where it is not known, and at the end."""
        seconds = self.seconds_left if self.round < self.total else None
        return "" if seconds is None else f"{readable_seconds(seconds)} left"

    def figures(self, finished: RoundResult) -> str:
        """Describe the latest accuracies, the bytes, and how many summaries were quarantined."""
        seen = self.evaluated
        accuracy = (
            f"personal {readable_percent(seen.personal_accuracy)}  global "
            f"{readable_percent(seen.global_accuracy)}  worst "
            f"{readable_percent(seen.worst_device_accuracy)}"
            if seen
            else "not evaluated yet"
        )
        up, down = finished.uplink_bytes_per_device_round, finished.downlink_bytes_per_device_round
        refused = f"  quarantined {self.quarantined}" if self.quarantined else ""
        return f"{accuracy}  up {readable_bytes(up)}  down {readable_bytes(down)}{refused}"


@dataclass
class _RunsPace:
    """How fast runs go, whether one or several at a time."""

    total: int
    first: int
    started: float
    done: int
    failed: int = 0

    @classmethod
    def begun(cls, *, total: int, done: int) -> _RunsPace:
        return cls(total=total, first=done, started=time.monotonic(), done=done)

    def note(self, *, failed: bool) -> None:
        self.done += 1
        self.failed += failed

    @property
    def position(self) -> str:
        return f"{self.done}/{self.total} runs" + (f", {self.failed} failed" if self.failed else "")

    @property
    def left(self) -> str:
        """The time that is left, as text; empty at the end."""
        if self.done >= self.total or self.done == self.first:
            return ""
        seconds = (time.monotonic() - self.started) / (self.done - self.first) * (self.total - self.done)
        return f"{readable_seconds(seconds)} left"


class LineProgress:
    """Prints a line for each phase, and at most one a second for rounds: for logs and pipes.

    In a comparison it prints a line for each run, and at most one in ten seconds for the rounds of any.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pace: dict[str, _Pace] = {}
        self._printed = 0.0
        self._expected: dict[str, float] = {}
        self._runs: _RunsPace | None = None

    def runs(self, *, total: int, done: int) -> None:
        """Print how many runs there are."""
        self._runs = _RunsPace.begun(total=total, done=done)
        self._print(f"{total} runs" + (f", {done} done before" if done else ""))

    def run_done(self, label: str, *, failed: bool, text: str) -> None:
        """Print that a run is over."""
        assert self._runs is not None
        self._runs.note(failed=failed)
        words = ("failed: " if failed else "") + text
        self._print(f"{self._runs.position}  {label}: {words}  {self._runs.left}".rstrip())

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Say of phases how long they will take."""
        self._expected = dict(seconds)

    def phase(self, text: str, *, name: str = "") -> None:
        """Print the phase, unless several runs go on."""
        if not self._amid_runs:
            self._print(text + _about(self._expected.get(name)))

    def rounds(self, method: str, *, total: int, done: int) -> None:
        """Print where the rounds begin, unless several runs go on."""
        self._pace[method] = _Pace(total=total, first=done, started=time.monotonic())
        if not self._amid_runs:
            expected = None if done else _expected_rounds(self._expected, method)
            before = f", {done} done before" if done else ""
            self._print(f"{method}: {total} rounds{before}{_about(expected)}")

    def round_done(self, method: str, finished: RoundResult) -> None:
        """Print how far the rounds are, unless a line has just been printed."""
        pace = self._pace[method]
        pace.note(finished)
        if finished.notice:
            self._print(f"{method}: {finished.notice}")
        last = finished.round >= pace.total
        between = _SECONDS_BETWEEN_LINES_OF_MANY_RUNS if self._amid_runs else _SECONDS_BETWEEN_LINES
        if (not last or self._amid_runs) and time.monotonic() - self._printed < between:
            return
        left = "" if last else f"  {pace.left}"
        self._print(f"{method}: round {finished.round}/{pace.total}  {pace.figures(finished)}{left}")
        self._printed = time.monotonic()

    def devices_done(self, method: str, *, done: int, total: int) -> None:
        """Print how far a long round is, unless a line has just been printed."""
        pace = self._pace[method]
        pace.note_devices(done, total)
        between = (
            _SECONDS_BETWEEN_LINES_OF_MANY_RUNS if self._amid_runs else _SECONDS_BETWEEN_LINES_OF_A_ROUND
        )
        if time.monotonic() - max(self._printed, pace.started) < between:
            return
        self._print(
            f"{method}: round {pace.round + 1}/{pace.total}  {done:,} of {total:,} devices  {pace.left}"
        )
        self._printed = time.monotonic()

    @property
    def _amid_runs(self) -> bool:
        return self._runs is not None and self._runs.done < self._runs.total

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class BarProgress:
    """Shows a bar for each method in a terminal, with the latest figures."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._pace: dict[str, _Pace] = {}
        self._phase: TaskID | None = None
        self._expected: dict[str, float] = {}
        self._runs: _RunsPace | None = None
        self._all_runs: TaskID | None = None

    def runs(self, *, total: int, done: int) -> None:
        """Add a bar over all runs, above theirs."""
        self._runs = _RunsPace.begun(total=total, done=done)
        self._all_runs = self._progress.add_task(
            "all runs", total=total, completed=done, position=self._runs.position, figures="", left=""
        )

    def run_done(self, label: str, *, failed: bool, text: str) -> None:
        """Move the bar over all runs and take the run's own away; a failed run leaves a line."""
        assert self._runs is not None
        assert self._all_runs is not None
        self.end_phase()
        self._runs.note(failed=failed)
        if (task := self._tasks.pop(label, None)) is not None:
            self._progress.remove_task(task)
        if failed:
            self._progress.console.print(f"{label}: failed: {text}", markup=False, highlight=False)
        self._progress.update(
            self._all_runs,
            completed=self._runs.done,
            position=self._runs.position,
            figures=f"{label}: {text}" if not failed else "",
            left=self._runs.left,
        )

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Count down phases that are known to take so long."""
        self._expected = dict(seconds)

    def phase(self, text: str, *, name: str = "") -> None:
        """Show a pulsing line under the bars, which the next phase replaces."""
        self.end_phase()
        expected = self._expected.get(name)
        self._phase = self._progress.add_task(
            text, total=None, position="", figures="", left="", expected=expected
        )

    def rounds(self, method: str, *, total: int, done: int) -> None:
        """Add a bar for the method."""
        self.end_phase()
        self._pace[method] = _Pace(total=total, first=done, started=time.monotonic())
        self._tasks[method] = self._progress.add_task(
            method,
            total=total,
            completed=done,
            position=f"{done}/{total}",
            figures="",
            left="",
            expected=None if done else _expected_rounds(self._expected, method),
        )

    def round_done(self, method: str, finished: RoundResult) -> None:
        """Move the method's bar."""
        pace = self._pace[method]
        pace.note(finished)
        if finished.notice:
            self._progress.console.print(f"{method}: {finished.notice}", markup=False, highlight=False)
        self._progress.update(
            self._tasks[method],
            completed=finished.round,
            position=f"{finished.round}/{pace.total}",
            figures=pace.figures(finished),
            left=pace.left,
        )

    def devices_done(self, method: str, *, done: int, total: int) -> None:
        """Move the method's bar within the open round."""
        pace = self._pace[method]
        pace.note_devices(done, total)
        self._progress.update(
            self._tasks[method],
            completed=pace.round + pace.share,
            position=f"{pace.round}/{pace.total}, {done:,} of {total:,} devices",
            left=pace.left,
        )

    def end_phase(self) -> None:
        """Take the pulsing line away."""
        if self._phase is not None:
            self._progress.remove_task(self._phase)
            self._phase = None


class _LeftColumn(ProgressColumn):
    """The time that is left: as it was told, or before that what is expected less what has passed."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """Return it as text."""
        left, expected = task.fields["left"], task.fields.get("expected")
        if not left and expected is not None and not task.finished:
            left = f"{readable_seconds(max(0.0, expected - (task.elapsed or 0.0)))} left"
        return Text(left, style="cyan")


def _about(seconds: float | None) -> str:
    return "" if seconds is None else f" (about {readable_seconds(seconds)})"


def _expected_rounds(expected: Mapping[str, float], method: str) -> float | None:
    return expected.get(f"baseline {method}", expected.get("rounds"))


@contextmanager
def show_progress(console: Console, *, quiet: bool = False) -> Iterator[ComparisonProgress]:
    """Show the progress in the way that suits the console."""
    if quiet:
        yield SilentProgress()
    elif not console.is_terminal:
        yield LineProgress(console)
    else:
        columns = (
            TextColumn("[bold]{task.description}", markup=True),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[position]}"),
            TextColumn("[dim]{task.fields[figures]}"),
            _LeftColumn(),
        )
        with Progress(*columns, console=console) as progress:
            bars = BarProgress(progress)
            yield bars
            bars.end_phase()
