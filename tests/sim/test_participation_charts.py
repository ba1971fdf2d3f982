"""What a report shows of devices that come and go."""

import dataclasses

import pytest
from fedstill_sim.report.participation_charts import by_participation, participation_charts
from fedstill_sim.report.run_report import render_report
from fedstill_sim.results.run_result import RunResult

from tests.sim.sample_results import sample_result
from tests.sim.test_report import Page


@pytest.fixture
def result() -> RunResult:
    """Device d counted d times of four; device 7 was not there to be measured."""
    base = sample_result(devices=8, rounds=4, baselines=())
    devices = [dataclasses.replace(one, summaries_counted=number) for number, one in enumerate(base.devices)]
    devices[7] = dataclasses.replace(devices[7], personal_accuracy=None, global_accuracy=None)
    rounds = [
        dataclasses.replace(one, asked=5, accepted=3, late=1, silent=1, clock_s=60.0 * one.round)
        for one in base.rounds
    ]
    return dataclasses.replace(base, devices=tuple(devices), rounds=tuple(rounds))


def test_devices_stand_in_groups_of_rising_participation(result: RunResult) -> None:
    groups = by_participation(result.devices)

    assert [group.counted.tolist() for group in groups] == [[0, 1], [2, 3], [4], [5, 6]]


def test_devices_that_took_part_equally_are_one_group() -> None:
    assert len(by_participation(sample_result(devices=5, rounds=2).devices)) == 1


def test_the_report_says_who_took_part(result: RunResult) -> None:
    who, accuracy = participation_charts(result)
    page = render_report(result)

    assert who.alt == "20 tasks in 4 rounds: 12 summaries counted, 4 late, 4 silent."
    assert "240 virtual seconds" in who.caption
    assert accuracy.title in page
    assert "Who took part, round by round" in page
    assert Page(page).open == []


def test_where_all_take_part_there_is_nothing_to_show() -> None:
    base = sample_result(devices=5, rounds=2, baselines=())
    rounds = tuple(dataclasses.replace(one, accepted=5) for one in base.rounds)
    whole = dataclasses.replace(base, rounds=rounds)

    assert participation_charts(whole) == []
    assert "Who took part" not in render_report(whole)
