"""The mean accuracy of a fleet of which some devices were measured, and its interval."""

import math

import numpy as np
import pytest
from fedstill_server.rounds.evaluation import FleetAccuracy
from fedstill_server.rounds.measured_sample import MeasuredAccuracy, estimated_mean
from fedstill_server.rounds.round_record import DeviceAccuracy


def test_where_all_are_measured_nothing_is_unsure() -> None:
    found = estimated_mean(np.array([0.5, 1.0, np.nan]))

    assert (found.mean, found.half_width) == (0.75, 0.0)


def test_half_of_a_fleet_by_hand() -> None:
    # s^2 of (0, 1) is 1/2, a half is left: sqrt(1/2 * 1/2 / 2) = 0.354.
    found = estimated_mean(np.array([0.0, 1.0]), sizes=np.array([4]))

    assert found.mean == 0.5
    assert found.half_width == pytest.approx(1.96 * math.sqrt(0.125), rel=1e-4)


def test_families_count_as_much_as_they_have_devices() -> None:
    # Family 0 has 30 devices at 1.0, family 1 has 10 at 0.0: no spread within, and a mean of 0.75.
    values, strata = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0, 0, 1, 1])

    found = estimated_mean(values, strata=strata, sizes=np.array([30, 10]))

    assert found.mean == pytest.approx(0.75)
    assert found.half_width == 0.0


def test_of_one_device_of_many_there_is_no_interval() -> None:
    assert estimated_mean(np.array([0.5]), sizes=np.array([9])).half_width is None
    assert estimated_mean(np.array([np.nan])).mean is None


def test_the_interval_holds_the_fleet_s_mean_95_times_in_100() -> None:
    random = np.random.default_rng(0)
    fleet = np.concatenate([random.beta(8, 2, 700), random.beta(2, 2, 300)])
    strata, sizes, inside = np.repeat([0, 1], (700, 300)), np.array([700, 300]), 0

    for _ in range(1_000):
        drawn = np.concatenate([random.choice(700, 140, replace=False), 700 + random.choice(300, 60, False)])
        found = estimated_mean(fleet[drawn], strata=strata[drawn], sizes=sizes)
        assert found.mean is not None
        assert found.half_width is not None
        inside += abs(found.mean - fleet.mean()) <= found.half_width

    assert 930 <= inside <= 970


def test_columns_give_what_records_of_single_devices_give() -> None:
    shares = np.random.default_rng(1).random((4, 50))
    shares[0, 3] = np.nan
    personal, everyone, fleet_personal, fleet_everyone = shares
    known = [[None if np.isnan(one) else float(one) for one in row] for row in shares.T]
    names = ("personal", "everyone", "fleet_personal", "fleet_everyone")
    devices = {
        str(number): DeviceAccuracy(**dict(zip(names, row, strict=True)))
        for number, row in enumerate(reversed(known))
    }

    columns = MeasuredAccuracy.of(
        personal=personal, everyone=everyone, fleet_personal=fleet_personal, fleet_everyone=fleet_everyone
    )
    records = FleetAccuracy.of(devices)

    assert (columns.personal, columns.everyone, columns.worst) == (
        records.personal,
        records.everyone,
        records.worst,
    )
    assert (columns.fleet_personal, columns.fleet_everyone) == (
        records.fleet_personal,
        records.fleet_everyone,
    )
    assert columns.measured.devices == columns.measured.of_devices == 50
    assert columns.measured.personal_half_width == 0.0
