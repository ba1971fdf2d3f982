"""Traces: who is there at a second, when work is done, what a generator draws, and what files may not say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedstill_proto.errors import FedstillError
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import CohortRule
from fedstill_sim.traces.columns import CHARGING, ONLINE, FleetTrace, Windows
from fedstill_sim.traces.generated import TraceGenerator, parse_generator
from fedstill_sim.traces.looking import figures_of, there_by_time, write_page
from fedstill_sim.traces.pace import TracePace
from fedstill_sim.traces.reading import TraceError, read_trace
from fedstill_sim.traces.rule import TraceRule
from fedstill_sim.traces.schedule import TraceSchedule
from fedstill_sim.traces.writing import write_trace

DAY = 86_400.0

# Device 0 is there from 10 to 20 and from 30 to 50 of 100 seconds, device 1 at the end and the beginning.
WINDOWS = Windows(
    span_s=100.0,
    offsets=np.array([0, 2, 4]),
    start_s=np.array([10.0, 30.0, 0.0, 90.0]),
    end_s=np.array([20.0, 50.0, 5.0, 100.0]),
    joined_s=np.zeros(2),
    left_s=np.array([np.inf, 310.0]),
)


@pytest.mark.parametrize(
    ("second", "there"),
    [(0, [0, 1]), (10, [1, 0]), (20, [0, 0]), (49, [1, 0]), (95, [0, 1]), (204, [0, 1]), (304, [0, 1])],
)
def test_a_device_is_there_in_its_windows(second: float, there: list[int]) -> None:
    assert WINDOWS.there(second).tolist() == [bool(one) for one in there]


def test_who_has_left_is_there_no_more() -> None:
    assert not WINDOWS.there(395)[1]


def done(device: int, began: float, work: float, *, resumes: bool) -> float:
    return float(WINDOWS.until(np.array([device]), np.array([began]), np.array([work]), resumes=resumes)[0])


def test_work_is_done_within_a_window_or_lost() -> None:
    assert done(0, 32, 18, resumes=False) == 50
    assert done(0, 32, 19, resumes=False) == np.inf
    assert done(0, 132, 5, resumes=False) == 137
    assert done(0, 25, 1, resumes=False) == np.inf  # it is not there


def test_the_span_s_end_interrupts_nobody() -> None:
    assert done(1, 95, 9, resumes=False) == 104
    assert done(1, 95, 11, resumes=False) == np.inf


def test_interrupted_work_goes_on_in_the_next_window() -> None:
    assert done(0, 15, 10, resumes=True) == 35  # 5 until 20, 5 from 30
    assert done(0, 25, 10, resumes=True) == 40
    assert done(0, 40, 15, resumes=True) == 115  # 10 until 50, 5 from 110
    assert done(0, 15, 65, resumes=True) == 220  # 5, 20, 10, 20, 10
    assert done(1, 95, 40, resumes=True) == 305
    assert done(1, 95, 45, resumes=True) == np.inf  # it leaves at 310


def test_columns_agree_with_a_look_at_each_second() -> None:
    """Work done by arithmetic is work done second by second, over many draws."""
    trace = TraceGenerator(churn=0.5).generate(40, seed=3)
    windows = trace.windows(CHARGING)
    draw = np.random.default_rng(0)
    devices, began = draw.integers(0, 40, 60), np.floor(draw.uniform(0, 9 * DAY, 60))
    began = np.maximum(began, np.ceil(trace.joined_s[devices]))  # nobody is asked before
    work = np.floor(draw.uniform(1, 2 * 3600, 60))
    for resumes in (False, True):
        done_s = windows.until(devices, began, work, resumes=resumes)
        for device, start, lasts, found in zip(devices, began, work, done_s, strict=True):
            seconds = start + np.arange(int(3 * DAY))
            there = windows.open_at(np.full(len(seconds), device), seconds)
            alive = seconds < trace.left_s[device]
            if resumes:
                passed = np.cumsum(there & alive)
                expected = seconds[np.argmax(passed >= lasts)] + 1 if passed[-1] >= lasts else np.inf
            else:
                expected = start + lasts if there[: int(lasts)].all() else np.inf
            if found < start + 3 * DAY or expected < np.inf:
                assert abs(found - expected) <= 1, (device, start, lasts)


def test_a_schedule_counts_seconds_of_work_and_of_bytes() -> None:
    trace = tables_trace()
    schedule = TraceSchedule.of(trace, np.array([2.0, 2.0]), when=ONLINE, resumes=False)
    worked = schedule.worked_at(np.array([0]), np.array([0.0]), np.array([1e6]))
    assert worked == pytest.approx([2 + 8 / 4])  # 1 MB at 4 Mbit/s
    assert schedule.sent_at(np.array([0]), worked, np.array([1e6])) == pytest.approx([4 + 8 / 2])


def tables_trace() -> FleetTrace:
    return FleetTrace(
        names=("a", "b"),
        span_s=DAY,
        offsets=np.array([0, 2, 3]),
        start_s=np.array([0.0, 5000.0, 100.0]),
        end_s=np.array([4000.0, 6000.0, DAY]),
        charging=np.array([True, False, True]),
        gflops=np.array([1.0, 3.0]),
        down_mbps=np.array([4.0, 4.0]),
        up_mbps=np.array([2.0, 2.0]),
        network=np.array([0, 1], np.uint8),
        zone_h=np.zeros(2),
        joined_s=np.zeros(2),
        left_s=np.array([np.inf, 1e6]),
    )


# The generator


def test_the_seed_decides_and_nothing_else() -> None:
    one, same, other = (TraceGenerator().generate(50, seed=seed).digest() for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_sessions_are_sorted_apart_and_within_the_span() -> None:
    trace = TraceGenerator(top_ups=6, churn=0.3).generate(300, seed=5)
    owners = trace.owners
    same = owners[1:] == owners[:-1]
    assert (trace.start_s[1:] >= trace.end_s[:-1])[same].all()
    assert (trace.end_s > trace.start_s).all()
    assert trace.start_s.min() >= 0
    assert trace.end_s.max() <= trace.span_s


def test_four_times_as_many_are_there_at_night() -> None:
    """Bonawitz et al. 2019, section 9, of a fleet in one country."""
    _, shares = there_by_time(TraceGenerator().generate(5000, seed=0))
    week = shares[CHARGING].reshape(7, 96)[:4]  # the nights before Friday's
    assert 3.2 < week.max() / week.min() < 4.8


def test_churn_and_spread_are_those_asked_for() -> None:
    trace = TraceGenerator(churn=0.2, days=28).generate(20_000, seed=1)
    at_first = trace.joined_s == 0
    assert (trace.left_s[at_first] < 30 * DAY).mean() == pytest.approx(0.2, abs=0.01)
    assert np.log(trace.gflops).std() == pytest.approx(0.7, abs=0.02)
    assert np.median(trace.up_mbps) == pytest.approx(6, rel=0.03)


def test_the_zones_move_the_night() -> None:
    looks, shares = there_by_time(TraceGenerator(zones=("9",)).generate(2000, seed=0))
    at = looks[np.argmax(shares[CHARGING][:96])] / 3600
    assert 15 <= at <= 21  # midnight to 6 o'clock in Tokyo


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("generated:sleep=3", "sleep"),
        ("generated:churn=1.5", "churn"),
        ("generated:zones=20", "zones"),
        ("generated:churn", "churn"),
        ("generated:bedtime=30,wake=1", "wake"),
    ],
)
def test_a_generator_that_cannot_be_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        parse_generator(text, where="--trace")


# Files


def test_what_is_written_is_read_as_the_same(tmp_path: Path) -> None:
    trace = TraceGenerator(churn=0.3).generate(30, seed=2)
    write_trace(trace, tmp_path, about="a test")
    assert read_trace(tmp_path).digest() == trace.digest()


def written(folder: Path, *, devices: str | None = None, sessions: str | None = None) -> Path:
    folder.joinpath("devices.csv").write_text(
        devices or "device,gflops,down_mbps,up_mbps\na,1,10,5\nb,2,10,5\n", encoding="utf-8"
    )
    folder.joinpath("sessions.csv").write_text(
        sessions or "device,start_s,end_s\na,0,40000\na,50000,80000\nb,100,86000\n", encoding="utf-8"
    )
    return folder


def test_a_table_is_read_with_what_is_left_out_as_usual(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path))
    assert trace.names == ("a", "b")
    assert trace.span_s == DAY
    assert trace.charging.all()
    assert np.isinf(trace.left_s).all()


HEAD = "device,start_s,end_s\n"
CAPACITIES = "device,gflops,down_mbps,up_mbps\n"


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"sessions": HEAD + "a,0,10\na,5,20\nb,0,9\n"}, ["line 3", "'a'", "5.0", "overlap", "join"]),
        ({"sessions": HEAD + "a,50,60\na,5,20\nb,0,9\n"}, ["line 3", "'a'", "5.0", "sort"]),
        ({"sessions": HEAD + "a,50,50\nb,0,9\n"}, ["line 2", "'a'", "end_s 50.0", "not after"]),
        ({"sessions": HEAD + "a,0,10\nb,0,9\na,20,30\n"}, ["line 4", "'a'", "sort the sessions by device"]),
        ({"sessions": HEAD + "a,0,10\nc,0,9\n"}, ["line 3", "'c'", "devices.csv"]),
        ({"sessions": HEAD + "a,0,10\n"}, ["devices.csv, line 3", "'b'", "no session"]),
        ({"sessions": HEAD + "a,nan,10\nb,0,9\n"}, ["line 2", "start_s nan", "finite"]),
        ({"sessions": HEAD + "a,soon,10\nb,0,9\n"}, ["line 2", "'soon'", "no number"]),
        ({"sessions": HEAD + "a,-4,10\nb,0,9\n"}, ["line 2", "-4.0", "beginning"]),
        ({"sessions": HEAD + "a,0\nb,0,9\n"}, ["line 2", "2 values", "3"]),
        ({"sessions": HEAD + "a,0,10\nb,300000,300100\n"}, ["line 3", "hole", "3.5 days", "cut the trace"]),
        ({"sessions": "device,from\na,3\n"}, ["sessions.csv, line 1", "start_s"]),
        ({"devices": CAPACITIES + "a,1,0,5\nb,1,1,1\n"}, ["line 2", "'a'", "down_mbps 0.0", "not above 0"]),
        ({"devices": CAPACITIES + "a,1,inf,5\nb,1,1,1\n"}, ["line 2", "down_mbps inf", "finite"]),
        ({"devices": CAPACITIES + "a,1,1,5\na,1,1,1\nb,1,1,1\n"}, ["line 2", "'a'", "two lines"]),
        (
            {"devices": CAPACITIES.replace("\n", ",network\n") + "a,1,1,5,5g\nb,1,1,1,lte\n"},
            ["line 2", "5g", "wifi"],
        ),
        ({"devices": CAPACITIES}, ["no line"]),
    ],
)
def test_a_hole_is_told_with_its_place_and_what_to_do(
    tmp_path: Path, tables: dict[str, str], told: list[str]
) -> None:
    with pytest.raises(TraceError) as error:
        read_trace(written(tmp_path, **tables))
    for part in told:
        assert part in str(error.value)


def fedscale(folder: Path, **changed: Any) -> Path:
    """Two devices as FedScale's dictionaries say them, for two days."""
    behaviour = {
        "7": {"duration": 90000, "active": [0, 90000], "inactive": [50000, 130000], "finish_time": 172800},
        "9": {"duration": 40000, "active": [20000], "inactive": [60000], "finish_time": 86400},
    }
    capacity = {
        "7": {"computation": 60.0, "communication": 5000.0},
        "9": {"computation": 600.0, "communication": 900.0},
    }
    behaviour["9"].update({key: value for key, value in changed.items() if key in behaviour["9"]})
    capacity["9"].update({key: value for key, value in changed.items() if key in capacity["9"]})
    (folder / "client_behave_trace.json").write_text(json.dumps(behaviour, indent=1))
    (folder / "client_device_capacity.json").write_text(json.dumps(capacity, indent=1))
    return folder


def test_fedscale_s_dictionaries_are_read(tmp_path: Path) -> None:
    trace = read_trace(fedscale(tmp_path))
    assert trace.names == ("7", "9")
    assert trace.span_s == 2 * DAY
    np.testing.assert_allclose(trace.gflops, [10, 1])  # 0.6 GFLOP in 60 and in 600 ms
    np.testing.assert_allclose(trace.down_mbps, [5, 0.9])
    # The second repeats after its own day.
    np.testing.assert_allclose(trace.start_s, [0, 90000, 20000, 106400])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"inactive": [10]}, ["client_behave_trace.json", "'9'", "10.0", "not after"]),
        ({"inactive": [3, 4]}, ["'9'", "as many times"]),
        ({"active": [float("nan")]}, ["'9'", "finite"]),
        ({"communication": 0}, ["client_device_capacity.json", "'9'", "communication 0", "above 0"]),
        ({"computation": True}, ["'9'", "computation True"]),
    ],
)
def test_holes_of_fedscale_s_dictionaries_are_told(
    tmp_path: Path, changed: dict[str, Any], told: list[str]
) -> None:
    with pytest.raises(TraceError) as error:
        read_trace(fedscale(tmp_path, **changed))
    for part in [*told, "line"]:
        assert part in str(error.value)


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    path = tmp_path / "client_behave_trace"
    path.write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
    with pytest.raises(TraceError, match="pickles can run code"):
        read_trace(path)


# What a run makes of it


def test_a_fleet_larger_than_its_trace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="device 3 of 5 is missing"):
        TraceRule(source=str(written(tmp_path))).trace(5, seed=0)


def test_a_trace_that_has_changed_is_not_gone_on_with(tmp_path: Path) -> None:
    digest = TraceRule(source=str(written(tmp_path))).trace(2, seed=0).digest()
    written(tmp_path, sessions=HEAD + "a,0,10\nb,0,9\n")
    with pytest.raises(TraceError, match="restore it"):
        TraceRule(source=str(tmp_path), digest=digest).trace(2, seed=0)


def test_rounds_that_would_never_begin_are_told_before_the_first() -> None:
    rule = TraceRule(source="generated", least_devices=95)
    trace = rule.trace(100, seed=0)
    with pytest.raises(TraceError, match="a round needs 95 devices at a time, and at most"):
        rule.check(trace, CohortRule())
    TraceRule(source="generated", least_devices=30).check(trace, CohortRule())


def test_so_many_rounds_a_day_begin_and_no_more() -> None:
    pace = TracePace(rounds_a_day=2, least_devices=1)
    assert pace.allowed_at(500, []) == 500
    assert pace.allowed_at(500, [100]) == 500
    assert pace.allowed_at(500, [100, 400]) == DAY
    assert pace.allowed_at(DAY + 5, [100, 400]) == DAY + 5
    assert TracePace(rounds_a_day=None, least_devices=1).allowed_at(500, [100] * 9) == 500


def test_a_pause_lies_between_two_rounds() -> None:
    pace = TracePace(rounds_a_day=2, least_devices=1, pause_s=3600)
    assert pace.allowed_at(500, [100]) == 3700
    assert pace.allowed_at(4000, [100]) == 4000
    assert pace.allowed_at(DAY, [100, DAY - 60]) == DAY + 3540


def test_a_trace_is_looked_at_in_numbers_and_as_a_page(tmp_path: Path) -> None:
    trace = tables_trace()
    found = figures_of(trace)
    assert found.hours_a_day[CHARGING] == pytest.approx((4000 + 86300) / 2 / 3600)
    assert found.networks == {"wifi": 0.5, "lte": 0.5}
    write_page(trace, tmp_path / "page.html", title="<b>")
    page = (tmp_path / "page.html").read_text()
    assert "<svg" in page
    assert "&lt;b&gt;" in page


def test_errors_are_the_project_s() -> None:
    assert issubclass(TraceError, FedstillError)
