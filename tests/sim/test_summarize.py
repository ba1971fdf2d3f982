import dataclasses

import pytest
from fedstill_server.rounds.round_record import DeviceAccuracy, PhaseSeconds, Quarantined, RoundRecord
from fedstill_sim.data.digits import load_digits
from fedstill_sim.runner.summarize import (
    device_results,
    device_rounds_per_second,
    final_result,
    round_result,
    timing,
)

FIRST = RoundRecord(
    round=1,
    seconds=2.0,
    asked=3,
    replied=2,
    accepted=1,
    late=0,
    quarantined=(Quarantined(device="b", node="3", reason="bad-values", text="soft_labels: NaN"),),
    uplink_bytes=200,
    downlink_bytes=900,
    evaluation_bytes=50,
    uplink_bytes_per_device=100.0,
    downlink_bytes_per_device=300.0,
    personal_accuracy=0.6,
    global_accuracy=0.4,
    worst_device_accuracy=0.5,
    devices={
        "a": DeviceAccuracy(personal=0.5, everyone=0.4),
        "b": DeviceAccuracy(personal=0.7, everyone=0.4),
        "c": DeviceAccuracy(personal=None, everyone=0.4),
    },
    teacher_accuracy=0.8,
    consensus_digest="ab",
    phase_seconds=PhaseSeconds(train=1.5, learn=0.5),
)
UNSEEN = dataclasses.replace(
    FIRST,
    round=2,
    asked=1,
    replied=1,
    quarantined=(),
    uplink_bytes=10,
    downlink_bytes=100,
    personal_accuracy=None,
    global_accuracy=None,
    worst_device_accuracy=None,
    devices={},
    teacher_accuracy=0.9,
)


def test_the_last_round_that_was_measured_counts_and_every_byte() -> None:
    final = final_result([FIRST, UNSEEN], max_abs_logit_difference=1e-6)

    assert (final.personal_accuracy, final.global_accuracy, final.worst_device_accuracy) == (0.6, 0.4, 0.5)
    assert final.teacher_accuracy == 0.9
    assert final.retention == pytest.approx(0.4 / 0.9)
    assert (final.uplink_bytes, final.downlink_bytes) == (210, 1000)
    assert final.uplink_bytes_per_device_round == 70.0  # 210 bytes of three replies
    assert final.downlink_bytes_per_device_round == 250.0  # 1,000 bytes of four tasks
    assert final.quarantined == 1


def test_nothing_measured_is_nothing_said() -> None:
    final = final_result([UNSEEN], max_abs_logit_difference=None)

    assert final.personal_accuracy is None
    assert final.retention is None


def test_tenths_are_over_the_devices_that_have_tests() -> None:
    found = round_result(FIRST)

    assert found.personal_p10 == pytest.approx(0.52)
    assert found.personal_median == pytest.approx(0.6)
    assert found.personal_p90 == pytest.approx(0.68)
    assert (found.quarantined[0].device, found.quarantined[0].reason) == ("b", "bad-values")


def test_clocks_stay_apart() -> None:
    spent = timing([FIRST, UNSEEN], {"rounds": 5.0, "export": 1.0})

    assert spent.total_seconds == 6.0
    assert spent.round_seconds == (2.0, 2.0)
    assert spent.round_part_seconds["train"] == 3.0
    assert device_rounds_per_second([FIRST, UNSEEN]) == 1.0  # four tasks in four seconds


def test_devices_come_in_the_fleet_s_order_measured_or_not() -> None:
    data = load_digits(devices=2)
    second = data.device_names[1]
    record = dataclasses.replace(FIRST, devices={second: DeviceAccuracy(personal=0.25, everyone=0.5)})

    first_device, second_device = device_results(data, [record])

    assert (first_device.name, first_device.personal_accuracy) == (data.device_names[0], None)
    assert (second_device.personal_accuracy, second_device.global_accuracy) == (0.25, 0.5)
    assert sum(second_device.class_counts) == second_device.train_examples == data.train.counts[1]
