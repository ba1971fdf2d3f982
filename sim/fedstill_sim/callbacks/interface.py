"""What a callback is told of a run, and when."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fedstill_sim.progress import RunProgress
from fedstill_sim.results.run_result import RoundResult, RunResult


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """The run whose rounds begin.

    Attributes:
        method: The method that the run was started with.
        rounds: How many rounds the run has.
        done: Rounds that an earlier start of the run has committed; no callback is told of them again.
        config: The run's whole configuration, as in config.json.
    """

    method: str
    rounds: int
    done: int
    config: Mapping[str, Any]


class Callback:
    """Follows a run round by round: subclass it, and override what you need.

    Callbacks follow the run itself; the rounds of its baselines are in the result. They are called in the
    process and the thread of the run. What a callback raises stops the run, which can be resumed.

    Example:
        >>> class Printed(Callback):
        ...     def on_round(self, result):
        ...         print(result.round, result.global_accuracy)
    """

    def on_start(self, run: RunStart) -> None:
        """Called before the first round, or before the first that is left of a resumed run."""

    def on_round(self, result: RoundResult) -> None:
        """Called when a round is committed. Accuracies are None in a round that was not evaluated."""

    def on_finish(self, result: RunResult) -> None:
        """Called when the run has its result."""

    def on_error(self, error: BaseException) -> None:
        """Called when the run stops early: with what was raised, KeyboardInterrupt included."""


class RoundFunction(Callback):
    """Calls a function with each round's result."""

    def __init__(self, function: Callable[[RoundResult], object]) -> None:
        self._function = function

    def on_round(self, result: RoundResult) -> None:
        """Call the function."""
        self._function(result)


class CallbackProgress:
    """A RunProgress that passes everything on, and tells callbacks of the rounds of one label."""

    def __init__(
        self, progress: RunProgress, callbacks: Sequence[Callback], *, label: str, start: RunStart
    ) -> None:
        self._progress = progress
        self._callbacks = callbacks
        self._label = label
        self._start: RunStart | None = start  # until the callbacks have been told of it

    def expect(self, seconds: Mapping[str, float]) -> None:
        """The run's phases will take about so long."""
        self._progress.expect(seconds)

    def phase(self, text: str, *, name: str = "") -> None:
        """A phase begins that has no rounds."""
        self._progress.phase(text, name=name)

    def rounds(self, method: str, *, total: int, done: int) -> None:
        """A method's rounds begin, or go on after the first `done`."""
        self._progress.rounds(method, total=total, done=done)
        if method == self._label:
            self._begin(done=done)

    def devices_done(self, method: str, *, done: int, total: int) -> None:
        """So many of the open round's devices are done."""
        self._progress.devices_done(method, done=done, total=total)

    def round_done(self, method: str, finished: RoundResult) -> None:
        """A round is committed."""
        self._progress.round_done(method, finished)
        if method == self._label:
            for callback in self._callbacks:
                callback.on_round(finished)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Tell the callbacks if the block ends with an error."""
        try:
            yield
        except BaseException as error:
            for callback in self._callbacks:
                callback.on_error(error)
            raise

    def finish(self, result: RunResult) -> None:
        """Tell the callbacks that the run has its result."""
        self._begin(done=len(result.rounds))
        for callback in self._callbacks:
            callback.on_finish(result)

    def _begin(self, *, done: int) -> None:
        if self._start is None:
            return
        start, self._start = dataclasses.replace(self._start, done=done), None
        for callback in self._callbacks:
            callback.on_start(start)


_ROUND_FIGURES = (
    "personal_accuracy",
    "global_accuracy",
    "worst_device_accuracy",
    "teacher_accuracy",
    "uplink_bytes_per_device_round",
    "downlink_bytes_per_device_round",
    "accepted",
)


def round_figures(result: RoundResult) -> dict[str, float]:
    """Return the figures of a round that trackers draw, by name.

    The names are those of `RoundResult`; `quarantined` is how many summaries were. Accuracies that were not
    measured are left out.
    """
    named = {name: getattr(result, name) for name in _ROUND_FIGURES}
    figures = {name: float(value) for name, value in named.items() if value is not None}
    return figures | {"quarantined": float(result.left_out_answers)}
