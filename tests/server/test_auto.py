"""The method that tries both soft labels and weights, on counts that a person can check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedstill_proto.flower_records import RECORD
from fedstill_proto.messages import SummaryKind
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.methods.auto import Auto, averaged_students, verdict_of
from fedstill_server.rounds.fleet_run import FleetRun
from fedstill_server.rounds.preparation import prepare
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.state import FleetState
from flwr.app import MetricRecord, RecordDict

from tests.server.scripted_fleet import Reply, ScriptedGrid, fleet_config, public_examples

LABELS, WEIGHTS = SummaryKind.PUBLIC_SET, SummaryKind.PARAMETERS
SIX = [f"device-{number}" for number in range(6)]


class CountingGrid(ScriptedGrid):
    """Devices that get 5 of 10 right after fedstill, and `with_weights` of 10 with what fedavg sends."""

    with_weights = 9

    def _evaluate(self, devices: Sequence[int], contents: Sequence[RecordDict]) -> list[Reply]:
        replies = super()._evaluate(devices, contents)
        weights = self.tasks[-1][1].request.kind is WEIGHTS
        for reply in replies:
            assert isinstance(reply, RecordDict)
            record = reply[RECORD]
            assert isinstance(record, MetricRecord)
            record["personal_correct"] = self.with_weights if weights else 5
        return replies


def auto(**changes: Any) -> tuple[Auto, FleetState]:
    config: FleetConfig = fleet_config("auto", **{"rounds": 8, **changes})
    public = public_examples()
    method = Auto().bind(config, public)
    return method, prepare(config, public, method)


def run(folder: Path, grid: ScriptedGrid, *, rounds: int = 8) -> tuple[FleetState, list[Any]]:
    """evaluate_every: the last round alone, but for those that the method needs."""
    config = fleet_config("auto", rounds=rounds, evaluate_every=0)
    store = RunStore(folder)
    try:
        return FleetRun(grid, config, public=public_examples(), store=store).run(), store.records()
    finally:
        store.close()


def test_the_verdict_is_of_the_devices_that_counted_both() -> None:
    verdict = verdict_of([0.9, 0.8, 0.7, 0.8], [0.5, 0.5, 0.5, 0.5])

    # Gains of .4, .3, .2 and .3: a mean of .3, a standard deviation of sqrt(.02 / 3).
    assert verdict == pytest.approx([0.8, 0.5, 0.3 - 1.96 * (0.02 / 3) ** 0.5 / 2, 4])
    assert verdict_of([], []).tolist() == [0, 0, -1, 0]
    assert verdict_of([1.0], [0.0])[2] == -1  # one device is no evidence


def test_the_two_take_turns_and_what_is_better_stays(tmp_path: Path) -> None:
    grid = CountingGrid(devices=6)
    state, records = run(tmp_path, grid)

    kinds = {task.round: task.request.kind for _, task in grid.tasks}
    assert kinds == dict(
        zip(range(1, 9), [LABELS, WEIGHTS, LABELS, WEIGHTS, WEIGHTS, WEIGHTS, WEIGHTS, WEIGHTS], strict=True)
    )
    assert [record.personal_accuracy for record in records] == [None, None, 0.5, 0.9, None, None, None, 0.9]
    assert [record.notice for record in records if record.notice] == [
        "after 4 rounds, fedavg in 8 bits answers 90.0 % of devices' own examples and fedstill 50.0 %, on 6 "
        "devices that counted both; going on with fedavg in 8 bits"
    ]
    assert not any("students" in name for name in state.arrays)
    assert records[3].evaluation_bytes == 0 < records[7].evaluation_bytes  # for the choice, it counts
    assert records[3].downlink_bytes > records[1].downlink_bytes


def test_the_average_is_of_both_of_its_rounds_and_apart_from_fedstills_students(tmp_path: Path) -> None:
    """Scripted devices answer weights that are larger by their numbers; 3 is the most that counts."""
    grid = CountingGrid(devices=6)
    run(tmp_path, grid, rounds=5)

    given = {task.round: task.parameters for _, task in grid.tasks if task.parameters}
    assert sorted(given) == [2, 4, 5]
    name = next(iter(given[2]))
    moved = [float((given[b][name] - given[a][name]).mean()) for a, b in ((2, 4), (4, 5))]
    assert moved == pytest.approx([(0 + 1 + 2 + 3 + 3 + 3) / 6] * 2, abs=0.1)  # in 8 bits


def test_no_better_weights_are_not_worth_their_bytes(tmp_path: Path) -> None:
    grid = CountingGrid(devices=6)
    grid.with_weights = 5
    state, records = run(tmp_path, grid, rounds=6)

    assert [task.request.kind for device, task in grid.tasks if device == 0][4:] == [LABELS, LABELS]
    assert records[3].notice.endswith("on 6 devices that counted both; going on with fedstill")
    assert not any("students" in name for name in state.arrays)


def test_few_devices_are_not_sure(tmp_path: Path) -> None:
    _, records = run(tmp_path, CountingGrid(devices=4), rounds=5)

    assert "on 4 devices that counted both, too few to be sure" in records[3].notice


def test_a_run_that_was_stopped_in_its_trials_goes_on_as_if_it_had_not_been() -> None:
    method, state = auto()
    remembered = method.measured(state, dict.fromkeys(SIX, 0.5), round_number=3)
    again = FleetState.from_flat(remembered.flat())
    chosen = method.measured(again, {**dict.fromkeys(SIX, 0.75), "new": 0.0}, round_number=4)

    assert chosen.arrays["auto/verdict"].tolist() == [0.75, 0.5, 0.25, 6]
    assert method.of_round(chosen, round_number=5) is not method
    assert averaged_students(chosen).keys() == state.students.keys()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"families": ("mlp-small", "mlp-wide")}, "2 families cannot be averaged"),
        ({"mode": "async"}, "in mode async"),
        ({"rounds": 4}, "4 rounds are too few"),
    ],
)
def test_what_cannot_average_is_fedstill_and_says_why(changes: dict[str, Any], why: str) -> None:
    method, state = auto(**changes)

    assert why in method.notice(state, round_number=1)
    assert method.notice(state, round_number=2) == ""
    assert method.of_round(state, round_number=2) is method
    assert not method.compares_after(4)
    assert np.array_equal([*state.arrays], ["public_logits"])
