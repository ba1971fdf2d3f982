"""The loop over a Grid: devices that answer, fail, lie, are slow, or vanish; and runs that are stopped."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.flower_records import hello_reply, pack
from fedstill_proto.messages import RoundTask
from fedstill_proto.refusal import Refusal
from fedstill_server.app import app
from fedstill_server.config.fleet import CohortRule, FleetConfig
from fedstill_server.rounds.events import (
    Collected,
    DeviceGreeted,
    Event,
    RoundFinished,
    RoundStarted,
    RunFinished,
    RunPrepared,
    subscribe,
)
from fedstill_server.rounds.fleet_run import FleetRun
from fedstill_server.rounds.roster import NoDevices, RegisteredNode
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.state import FleetState, digest_of
from fedstill_sim.engine.grid import FIRST_DEVICE_NODE_ID
from flwr.app import Error, RecordDict

from tests.server.scripted_fleet import (
    METHODS_OF_ANY_FAMILY,
    Script,
    ScriptedGrid,
    fleet_config,
    honest_summary,
    public_examples,
    write_run,
)


def play(
    folder: Path, grid: ScriptedGrid, config: FleetConfig | None = None
) -> tuple[FleetState, list[RoundRecord]]:
    store = RunStore(folder)
    state = FleetRun(grid, config or fleet_config(), public=public_examples(), store=store).run()
    records = store.records()
    store.close()
    return state, records


@pytest.mark.parametrize("method", METHODS_OF_ANY_FAMILY)
def test_every_method_runs(tmp_path: Path, method: str) -> None:
    grid = ScriptedGrid(devices=4, families=("mlp-small", "cnn"))
    config = fleet_config(method, families=("mlp-small", "cnn"))

    state, records = play(tmp_path, grid, config)

    assert [record.round for record in records] == [1, 2, 3]
    assert all(record.accepted == 4 and not record.quarantined for record in records)
    assert all(np.isfinite(array).all() for array in state.flat().values())
    # Devices 0 to 3 have 0, 1, 2, 3 of 10 right on their own examples, and the same shares of everyone's.
    assert records[-1].personal_accuracy == pytest.approx(0.15)
    assert records[-1].global_accuracy == pytest.approx(0.15)
    assert records[-1].worst_device_accuracy == 0
    assert records[-1].devices["device-3"].everyone == pytest.approx(0.3)


def test_bytes_are_those_that_went_over_the_wire(tmp_path: Path) -> None:
    grid = ScriptedGrid(devices=2)
    _, (record,) = play(tmp_path, grid, fleet_config("class-logits", rounds=1))
    summaries = [honest_summary(task, device) for device, task in grid.tasks]
    assert record.uplink_bytes == sum(map(len, summaries))
    assert record.uplink_bytes_per_device == record.uplink_bytes / 2
    assert record.downlink_bytes_per_device == record.downlink_bytes / 2 > 0


def away(times: int) -> Script:
    """A device that is away that often, each round, before it answers as device 1."""
    seen: dict[int, int] = {}

    def script(task: RoundTask) -> RecordDict | Error:
        seen[task.round] = seen.get(task.round, 0) + 1
        if seen[task.round] <= times:
            return Error(code=5, reason="Node Unavailable")
        return pack("SoftLabelSummary", honest_summary(task, 1))

    return script


@pytest.mark.parametrize("times", [1, 2])
def test_a_device_that_was_away_is_asked_again_and_counts_once(tmp_path: Path, times: int) -> None:
    there, back = ScriptedGrid(devices=3), ScriptedGrid(devices=3, scripts={1: away(times)})

    state, records = play(tmp_path / "there", there)
    same, back_records = play(tmp_path / "back", back)

    assert digest_of(same.flat()) == digest_of(state.flat())
    assert [record.accepted for record in back_records] == [3, 3, 3]
    assert not any(record.quarantined for record in back_records)
    assert [device for device, _ in back.tasks].count(1) == 3 * (1 + times)
    more = sum(record.downlink_bytes for record in back_records) - sum(one.downlink_bytes for one in records)
    assert more == times * sum(record.downlink_bytes for record in records) / 3  # a third of the devices


def vanishing(grid: ScriptedGrid, *, looks: int) -> Script:
    """Device 1 is gone when its task comes, for so many looks at which nodes there are."""
    ids = type(grid).get_node_ids
    left = [looks]

    def get_node_ids() -> list[int]:
        if grid.absent:
            left[0] -= 1
            if left[0] < 0:
                grid.absent.clear()
        return ids(grid)

    def script(task: RoundTask) -> RecordDict | Error:
        if left[0] == looks:
            grid.absent.add(1)
            grid.get_node_ids = get_node_ids  # type: ignore[method-assign]
            return Error(code=5, reason="Node Unavailable")
        return pack("SoftLabelSummary", honest_summary(task, 1))

    return script


@pytest.mark.parametrize(("looks", "accepted", "asked"), [(4, 3, 2), (10**6, 2, 1)])
def test_a_device_that_is_gone_is_waited_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: int, accepted: int, asked: int
) -> None:
    monkeypatch.setattr("fedstill_server.rounds.retry._BACK_WITHIN_S", 0.5)
    grid = ScriptedGrid(devices=3)
    grid.scripts[1] = vanishing(grid, looks=looks)
    _, (record,) = play(tmp_path, grid, fleet_config(rounds=1, cohort=CohortRule(deadline_s=20)))
    assert record.accepted == accepted
    assert [device for device, _ in grid.tasks].count(1) == asked
    assert record.phase_seconds.train < 10
    assert [entry.reason for entry in record.quarantined] == ["error-reply"] * (3 - accepted)


def test_a_device_whose_node_came_up_anew_is_asked_again(tmp_path: Path) -> None:
    """It lost power with its task in hand: Flower says nothing, but that the node has come up since."""
    came_up = {"device-1": 0}

    def loses_power(task: RoundTask) -> RecordDict | None:
        came_up["device-1"] += 1
        return None if came_up["device-1"] == 1 else pack("SoftLabelSummary", honest_summary(task, 1))

    def registered() -> dict[int, RegisteredNode]:
        names = [f"device-{device}" for device in range(3)]
        return {
            FIRST_DEVICE_NODE_ID + device: RegisteredNode(name, str(came_up.get(name, 0)))
            for device, name in enumerate(names)
        }

    grid = ScriptedGrid(devices=3, scripts={1: loses_power})
    config = fleet_config(rounds=1, cohort=CohortRule(deadline_s=20))
    store = RunStore(tmp_path)
    FleetRun(grid, config, public=public_examples(), store=store, registered=registered).run()
    (record,) = store.records()
    store.close()

    assert record.accepted == 3
    assert [device for device, _ in grid.tasks] == [0, 1, 2, 1]


def test_a_node_goes_by_its_registered_name(tmp_path: Path) -> None:
    def registered() -> dict[int, RegisteredNode]:
        return {FIRST_DEVICE_NODE_ID: RegisteredNode("device-0", ""), 3: RegisteredNode("somebody", "")}

    store = RunStore(tmp_path)
    grid = ScriptedGrid(devices=3)
    FleetRun(grid, fleet_config(rounds=1), public=public_examples(), store=store, registered=registered).run()
    (record,) = store.records()
    store.close()
    assert record.asked == record.accepted == 1
    assert set(record.devices) == {"device-0"}


def test_a_device_that_stays_away_is_not_asked_for_ever(tmp_path: Path) -> None:
    grid = ScriptedGrid(devices=3, scripts={1: away(99)})
    _, (record,) = play(tmp_path, grid, fleet_config(rounds=1))
    assert [device for device, _ in grid.tasks].count(1) == 3
    assert [(entry.device, entry.reason) for entry in record.quarantined] == [("device-1", "error-reply")]


def test_a_device_that_refuses_is_not_asked_again(tmp_path: Path) -> None:
    grid = ScriptedGrid(devices=2, scripts={1: lambda task: Error(code=100, reason="on battery")})
    play(tmp_path, grid, fleet_config(rounds=1))
    assert [device for device, _ in grid.tasks].count(1) == 1


def test_a_bad_device_is_left_out_and_the_round_goes_on(tmp_path: Path) -> None:
    def corrupt(task: RoundTask) -> RecordDict:
        return pack("SoftLabelSummary", honest_summary(task, 1)[:-1])

    bad = ScriptedGrid(
        devices=5,
        scripts={1: corrupt, 2: lambda task: Error(code=2, reason="no\nmemory"), 3: lambda task: None},
    )
    good = ScriptedGrid(devices=5, scripts={n: lambda task: None for n in (1, 2, 3)})

    state, records = play(tmp_path / "bad", bad)
    same, without = play(tmp_path / "good", good)

    reasons = {entry.device: (entry.reason, entry.text) for entry in records[0].quarantined}
    assert reasons["device-1"][0] == "unreadable"
    assert reasons["device-2"] == ("error-reply", "error 2: no memory")
    assert reasons["device-3"] == ("no-answer", "no answer by the deadline")
    assert [record.accepted for record in records] == [2, 2, 2]
    assert records[0].replied == 4
    assert [r.consensus_digest for r in records] == [r.consensus_digest for r in without]
    assert digest_of(state.flat()) == digest_of(same.flat())


def test_an_error_in_the_name_of_the_server_finds_its_device(tmp_path: Path) -> None:
    # Flower answers for a node that is gone with its own node id.
    class Gone(ScriptedGrid):
        def pull_messages(self, message_ids):  # type: ignore[no-untyped-def]
            replies = super().pull_messages(message_ids)
            for reply in replies:
                if reply.has_error():
                    reply.metadata.__dict__["_src_node_id"] = 1
            return replies

    grid = Gone(devices=2, scripts={1: lambda task: Error(code=5, reason="node unavailable")})
    _, records = play(tmp_path, grid, fleet_config(rounds=1))
    assert [(entry.device, entry.reason) for entry in records[0].quarantined] == [("device-1", "error-reply")]


def test_a_second_answer_does_not_count(tmp_path: Path) -> None:
    _, records = play(tmp_path / "a", ScriptedGrid(devices=3, again={1}), fleet_config(rounds=1))
    _, alone = play(tmp_path / "b", ScriptedGrid(devices=3), fleet_config(rounds=1))
    assert [(entry.device, entry.reason) for entry in records[0].quarantined] == [("device-1", "duplicate")]
    assert records[0].accepted == 3
    assert records[0].consensus_digest == alone[0].consensus_digest


def test_a_goal_ends_the_round_and_late_answers_are_counted(tmp_path: Path) -> None:
    rule = CohortRule(goal_count=2, over_selection=1.5, deadline_s=5)
    grid = ScriptedGrid(devices=3, delays={0: 10_000})

    _, records = play(tmp_path, grid, fleet_config(cohort=rule, rounds=2))

    first = records[0]
    assert (first.asked, first.accepted, first.late) == (3, 2, 0)
    assert not first.quarantined  # the third was not late for anything: the goal came first
    grid.delays[0] = 1
    grid._held = {key: (1, reply) for key, (_, reply) in grid._held.items()}
    _, records = play(tmp_path, grid, fleet_config(cohort=rule, rounds=2))
    assert len(records) == 2  # complete: nothing is run again


def test_answers_to_earlier_rounds_are_late(tmp_path: Path) -> None:
    rule = CohortRule(goal_count=2, over_selection=1.5, deadline_s=5)
    grid = ScriptedGrid(devices=3, delays={0: 2})
    _, records = play(tmp_path, grid, fleet_config(cohort=rule, rounds=2))
    # Round 1 looked once at device 0, and the start of round 2 finds its answer.
    assert [record.late for record in records] == [0, 1]


def test_what_goes_beyond_the_goal_is_left_out_by_the_order_of_selection(tmp_path: Path) -> None:
    rule = CohortRule(goal_count=2, over_selection=2, deadline_s=5)
    _, records = play(tmp_path, ScriptedGrid(devices=6), fleet_config(cohort=rule))
    assert {(record.asked, record.accepted, record.late) for record in records} == {(4, 2, 2)}


def test_a_newcomer_gets_its_student_until_it_has_answered(tmp_path: Path) -> None:
    grid = ScriptedGrid(devices=2, scripts={1: lambda task: None})
    play(tmp_path, grid, fleet_config("local", {"start_from": "task"}, rounds=2))
    brought = {(device, task.round): bool(task.parameters) for device, task in grid.tasks}
    assert brought == {(0, 1): True, (1, 1): True, (0, 2): False, (1, 2): True}
    assert {(d, bool(t.parameters)) for d, t in grid.evaluated} == {(0, False), (1, True)}


def test_a_device_that_lost_its_student_gets_one_with_its_next_task(tmp_path: Path) -> None:
    def forgetful(task: RoundTask) -> RecordDict | Error:
        if task.round == 2 and not task.parameters:
            return Error(Refusal.NO_STUDENT.code, "no-student")
        return pack("SoftLabelSummary", honest_summary(task, 1))

    grid = ScriptedGrid(devices=2, scripts={1: forgetful})

    _, records = play(tmp_path, grid, fleet_config("class-logits", {"start_from": "task"}, rounds=4))

    assert [[one.reason for one in record.quarantined] for record in records] == [[], ["no-student"], [], []]
    assert [bool(task.parameters) for device, task in grid.tasks if device == 1] == [True, False, True, False]


def test_fedavg_sends_and_measures_the_average(tmp_path: Path) -> None:
    grid = ScriptedGrid(devices=2)
    play(tmp_path, grid, fleet_config("fedavg", rounds=2))
    tasks = {task.round: task for _, task in grid.tasks}
    # Device n answers with its student plus n, and n + 1 examples, which do not count: (0 + 1) / 2 is added.
    for name, array in tasks[2].parameters.items():
        np.testing.assert_allclose(array, tasks[1].parameters[name] + 1 / 2, rtol=1e-5)
    measured = grid.evaluated[0][1]
    assert measured.replace_student
    np.testing.assert_array_equal(measured.parameters["hidden.weight"], tasks[2].parameters["hidden.weight"])


def test_who_cannot_take_part_is_refused_by_name(tmp_path: Path) -> None:
    def greet(device: int, content: RecordDict) -> RecordDict | Error:
        names = {0: ("twin", "mlp-small"), 1: ("twin", "mlp-small"), 2: ("other", "cnn")}
        return hello_reply(*names[device]) if device in names else Error(code=107, reason="wrong-version")

    grid = ScriptedGrid(devices=4, greet=greet)
    store = RunStore(tmp_path)
    run = FleetRun(grid, fleet_config(rounds=1), public=public_examples(), store=store)
    run.run()
    assert [record.asked for record in store.records()] == [1]
    assert run.fleet.roster.refused == {
        3: "twin: node 2 already goes by this name",
        4: "other: family 'cnn' is not one of this run's",
        5: "wrong-version: the device speaks another version of the protocol",
    }


def test_who_has_another_generation_s_package_waits_until_it_moves_over(tmp_path: Path) -> None:
    moved: set[int] = {0}

    def greet(device: int, content: RecordDict) -> RecordDict | Error:
        return hello_reply(f"device-{device}", "mlp-small", generation=2 if device in moved else 1)

    grid = ScriptedGrid(devices=2, greet=greet)
    store, config = RunStore(tmp_path), dataclasses.replace(fleet_config(rounds=2), generation=2)
    run = FleetRun(grid, config, public=public_examples(), store=store)
    run.run()
    assert [record.counted for record in store.records()] == [("device-0",), ("device-0",)]
    assert run.fleet.roster.behind == {3: "device-1: its package is of generation 1, and the fleet's of 2"}
    assert {task.generation for _, task in [*grid.tasks, *grid.evaluated]} == {2}

    moved.add(1)
    run.fleet.roster._greet_behind_at_s = 0.0
    run.fleet.roster.update(grid)
    run.fleet.roster.update(grid)
    assert sorted(run.fleet.roster.members) == ["device-0", "device-1"]


def test_nobody_there_is_a_clear_error(tmp_path: Path) -> None:
    grid = ScriptedGrid(devices=2, absent={0, 1})
    with pytest.raises(NoDevices, match=r"no device took part within 0.2 seconds; there were no nodes"):
        play(tmp_path, grid)


def test_devices_may_come_and_go(tmp_path: Path) -> None:
    grid = ScriptedGrid(devices=3, absent={2})

    def move(event: Event) -> None:
        if isinstance(event, RoundFinished):
            grid.absent = {0} if event.record.round == 1 else set()

    with subscribe(move):
        _, records = play(tmp_path, grid)
    assert [sorted(record.devices) for record in records] == [
        ["device-0", "device-1"],
        ["device-1", "device-2"],
        ["device-0", "device-1", "device-2"],
    ]


def test_the_app_tells_who_watches(tmp_path: Path) -> None:
    write_run(tmp_path, fleet_config(rounds=2))
    grid = ScriptedGrid(devices=2)
    seen: list[Event] = []
    with subscribe(seen.append):
        app(grid, grid.context(run_config={"fedstill-run": str(tmp_path)}))
    app(grid, grid.context(run_config={"fedstill-run": str(tmp_path)}))  # complete, and nobody watches

    one_round = [RoundStarted, Collected, RoundFinished]
    greeted = [e.device for e in seen if isinstance(e, DeviceGreeted)]
    assert greeted == ["device-0", "device-1"]
    assert [type(e) for e in seen if not isinstance(e, RunPrepared | DeviceGreeted)][1:] == [
        *one_round,
        *one_round,
        RunFinished,
    ]
    assert (tmp_path / "server" / "final" / "students" / "mlp-small.safetensors").is_file()


class Killed(Exception):
    pass


def kill_points() -> Iterator[tuple[type[Event], int]]:
    for kind in (RoundStarted, Collected, RoundFinished):
        for number in (1, 2, 3):
            yield kind, number
    yield RunPrepared, 0


@pytest.mark.parametrize("method", ["class-logits", "public-logits", "fedavg"])
def test_a_killed_run_ends_like_one_that_was_not(tmp_path: Path, method: str) -> None:
    config = fleet_config(method, cohort=CohortRule(goal_count=3, over_selection=1.4, deadline_s=0.2))
    whole, records = play(tmp_path / "whole", ScriptedGrid(devices=6), config)

    for kind, number in kill_points():
        folder = tmp_path / f"{kind.__name__}-{number}"

        def kill(event: Event, kind: type[Event] = kind, number: int = number) -> None:
            at = event.record.round if isinstance(event, RoundFinished) else getattr(event, "round", 0)
            if type(event) is kind and at == number:
                raise Killed

        with subscribe(kill), pytest.raises(Killed):
            play(folder, ScriptedGrid(devices=6), config)
        state, resumed = play(folder, ScriptedGrid(devices=6), config)

        assert digest_of(state.flat()) == digest_of(whole.flat())
        assert list(state.flat()) == list(whole.flat())
        assert [without_times(record) for record in resumed] == [without_times(record) for record in records]


def without_times(record: RoundRecord) -> dict[str, object]:
    return {k: v for k, v in record.to_json().items() if k not in ("seconds", "phase_seconds")}


def test_a_thousand_devices_are_no_trouble(tmp_path: Path) -> None:
    grid = ScriptedGrid(devices=1000)
    _, (record,) = play(tmp_path, grid, fleet_config("class-logits", rounds=1, evaluate_every=0))
    assert record.accepted == 1000
