import dataclasses

from fedstill_sim.results.verdict import accuracy_verdict, bytes_verdict, verdicts

from tests.sim.sample_results import sample_baseline


def test_a_run_is_held_against_each_baseline() -> None:
    own = sample_baseline("public-logits", devices=3, rounds=2, seed=0).final
    own = dataclasses.replace(
        own,
        personal_accuracy=0.95,
        global_accuracy=0.88,
        uplink_bytes_per_device_round=500.0,
        downlink_bytes_per_device_round=300.0,
    )
    local = dataclasses.replace(
        own, personal_accuracy=0.93, global_accuracy=0.80, uplink_bytes_per_device_round=40.0
    )
    fedavg = dataclasses.replace(
        own,
        personal_accuracy=0.95,
        global_accuracy=0.90,
        uplink_bytes_per_device_round=9_000.0,
        downlink_bytes_per_device_round=7_000.0,
    )

    lines = verdicts("public-logits", own, {"local": local, "fedavg": fedavg})

    assert [(line.outcome, line.text) for line in lines] == [
        ("good", "personal accuracy 95.0 %, 2.0 points above local (93.0 %)"),
        ("good", "global accuracy 88.0 %, 8.0 points above local (80.0 %)"),
        ("even", "personal accuracy 95.0 %, 0.0 points above fedavg (95.0 %)"),
        ("bad", "global accuracy 88.0 %, 2.0 points below fedavg (90.0 %)"),
        ("good", "up and down 800 B a device-round, 1/20 of fedavg's (16 kB)"),
    ]


def test_a_difference_inside_its_interval_decides_nothing() -> None:
    inside = accuracy_verdict("global", 0.90, "fedavg", 0.88, interval=0.03)
    outside = accuracy_verdict("global", 0.90, "fedavg", 0.88, interval=0.01)

    assert inside is not None
    assert outside is not None
    assert (inside.outcome, outside.outcome) == ("even", "good")
    assert "2.0 ± 3.0 points" in inside.text


def test_more_bytes_than_fedavg_is_no_win() -> None:
    more = bytes_verdict(40_000.0, "fedavg", 20_000.0)

    assert more is not None
    assert (more.outcome, more.text) == ("bad", "up and down 40 kB a device-round, 2x of fedavg's (20 kB)")


def test_what_is_unknown_is_not_judged() -> None:
    assert accuracy_verdict("personal", None, "local", 0.9, interval=None) is None
    assert bytes_verdict(800.0, "local", 40.0) is None
