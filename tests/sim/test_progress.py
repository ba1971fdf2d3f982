import dataclasses
import io

import pytest
from fedstill_sim import progress as progress_module
from fedstill_sim.progress import BarProgress, LineProgress, SilentProgress, show_progress
from rich.console import Console

from tests.sim.sample_results import sample_baseline

ROUNDS = sample_baseline("public-logits", devices=3, rounds=5, seed=0).rounds  # quarantines one in round 4


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that a test sets itself."""
    now = [100.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    return now


def console(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=200)


def text_of(shown_on: Console) -> str:
    assert isinstance(shown_on.file, io.StringIO)
    return shown_on.file.getvalue()


def test_a_log_says_where_it_is_and_how_long_it_will_take(clock: list[float]) -> None:
    log = console()
    lines = LineProgress(log)

    lines.rounds("public-logits", total=5, done=0)
    for finished in ROUNDS[:2]:
        clock[0] += 10.0
        lines.round_done("public-logits", finished)

    last = text_of(log).splitlines()[-1]
    assert last.startswith("public-logits: round 2/5  personal ")
    assert "up 842 B  down 842 B" in last
    assert last.endswith("30 s left")  # three rounds of ten seconds


def test_a_resumed_run_does_not_count_rounds_it_did_not_wait_for(clock: list[float]) -> None:
    log = console()
    lines = LineProgress(log)

    lines.rounds("public-logits", total=5, done=3)
    clock[0] += 7.0
    lines.round_done("public-logits", ROUNDS[3])

    assert "3 done before" in text_of(log)
    assert text_of(log).splitlines()[-1].endswith("quarantined 1  7.0 s left")


def test_a_log_holds_at_most_a_line_a_second_and_always_the_last(clock: list[float]) -> None:
    log = console()
    lines = LineProgress(log)

    lines.rounds("public-logits", total=5, done=0)
    for finished in ROUNDS:
        clock[0] += 0.1
        lines.round_done("public-logits", finished)

    rounds = [line.split("round ")[1][:3] for line in text_of(log).splitlines()[1:]]
    assert rounds == ["1/5", "5/5"]


def test_rounds_that_are_not_evaluated_keep_the_last_accuracy(clock: list[float]) -> None:
    log = console()
    lines = LineProgress(log)
    unseen = dataclasses.replace(
        ROUNDS[1], personal_accuracy=None, global_accuracy=None, worst_device_accuracy=None
    )

    lines.rounds("local", total=2, done=0)
    lines.round_done("local", ROUNDS[0])
    clock[0] += 2
    lines.round_done("local", unseen)

    first, second = text_of(log).splitlines()[1:]
    assert first.split("  up")[0].split("personal")[1] == second.split("  up")[0].split("personal")[1]


def test_a_log_says_how_far_a_long_round_is_and_how_long_it_will_take(clock: list[float]) -> None:
    log = console()
    lines = LineProgress(log)

    lines.rounds("fedstill", total=2, done=0)
    for done in (1, 250_000, 500_000):
        clock[0] += 4.0
        lines.devices_done("fedstill", done=done, total=1_000_000)

    written = text_of(log).splitlines()[1:]
    assert written == [  # after 8 s an eighth of two rounds is done, and nothing within 5 s of another line
        "fedstill: round 1/2  250,000 of 1,000,000 devices  56 s left"
    ]


def test_a_round_that_measures_its_devices_does_not_go_back(clock: list[float]) -> None:
    log = console()
    lines = LineProgress(log)

    lines.rounds("fedstill", total=2, done=1)
    clock[0] += 10.0
    lines.devices_done("fedstill", done=100, total=100)
    clock[0] += 10.0
    lines.devices_done("fedstill", done=1, total=100)

    assert [line.rsplit("  ", 1)[1] for line in text_of(log).splitlines()[1:]] == ["0.0 s left"] * 2


def test_a_bar_moves_within_a_round(clock: list[float]) -> None:
    terminal = console(terminal=True)

    with show_progress(terminal) as bars:
        bars.rounds("fedstill", total=2, done=0)
        clock[0] += 10.0
        bars.devices_done("fedstill", done=50, total=100)

    assert "0/2, 50 of 100 devices" in text_of(terminal)
    assert "30 s left" in text_of(terminal)


def test_phases_say_how_long_they_are_expected_to_take() -> None:
    log = console()
    lines = LineProgress(log)

    lines.expect({"export": 4.0, "rounds": 65.0, "baseline local": 5.0})
    lines.phase("exporting the students", name="export")
    lines.phase("something new", name="new")
    lines.rounds("fedstill", total=20, done=0)
    lines.rounds("local", total=20, done=0)
    lines.rounds("fedstill", total=20, done=5)

    assert text_of(log).splitlines() == [
        "exporting the students (about 4.0 s)",
        "something new",
        "fedstill: 20 rounds (about 1 min 05 s)",
        "local: 20 rounds (about 5.0 s)",
        "fedstill: 20 rounds, 5 done before",
    ]


def test_a_terminal_counts_down_what_is_expected() -> None:
    terminal = console(terminal=True)

    with show_progress(terminal) as bars:
        bars.expect({"export": 99.0})
        bars.phase("exporting the students", name="export")

    assert " s left" in text_of(terminal) or "1 min" in text_of(terminal)


def test_a_terminal_gets_a_bar_for_each_method_and_keeps_them() -> None:
    terminal = console(terminal=True)

    with show_progress(terminal) as bars:
        assert isinstance(bars, BarProgress)
        bars.phase("building the training graphs")
        bars.rounds("public-logits", total=5, done=0)
        for finished in ROUNDS:
            bars.round_done("public-logits", finished)
        bars.phase("writing the report")

    last = text_of(terminal).rsplit("public-logits", 1)[1]
    assert "5/5" in last
    assert "quarantined 1" in last
    assert "writing the report" not in last


def test_what_suits_the_console() -> None:
    with (
        show_progress(console()) as in_a_log,
        show_progress(console(terminal=True), quiet=True) as when_quiet,
    ):
        assert isinstance(in_a_log, LineProgress)
        assert isinstance(when_quiet, SilentProgress)
