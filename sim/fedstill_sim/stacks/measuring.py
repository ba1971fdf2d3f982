"""Has devices of an open fleet count their correct answers, and makes accuracies of the counts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from fedstill_proto.arrays import Float64Array, IntArray
from fedstill_proto.codec.api import decode_task, encode_task
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.methods import Method
from fedstill_server.rounds.evaluation import CorrectCounts
from fedstill_server.rounds.fleet_work import Measured, personal_accuracies
from fedstill_server.rounds.measured_sample import MeasuredAccuracy
from fedstill_server.rounds.reasons import Reason
from fedstill_server.rounds.round_record import MOST_ENTRIES, DeviceAccuracy, Quarantined
from fedstill_server.rounds.run_store import Checkpoint

from fedstill_sim.engine.grid import FIRST_DEVICE_NODE_ID
from fedstill_sim.engine.shards import EvaluationCounts, TaskShard
from fedstill_sim.engine.students import NO_STUDENT
from fedstill_sim.folder import DEVICES_FOLDER
from fedstill_sim.results.device_columns import MeasuredStore
from fedstill_sim.stacks.fleet_columns import FleetColumns
from fedstill_sim.stacks.open_fleet import OpenFleet
from fedstill_sim.stacks.passes import done_by
from fedstill_sim.stacks.work import count_stacks


def measured_fleet(
    fleet: OpenFleet, config: FleetConfig, method: Method, after: Checkpoint, columns: FleetColumns
) -> Measured:
    """Measure the fleet's sample with the students that it has after a round."""
    devices = fleet.measured
    counts: IntArray = np.full((len(devices), len(EvaluationCounts._fields)), -1, np.int64)
    failures: dict[int, str] = {}
    slots, trained_in = fleet.students.after(after.round), fleet.students.trained_in(after.round)
    families, newcomers = fleet.family_codes[devices].astype(np.int64), ~columns.installed[devices]
    kinds, kind_of = np.unique(2 * families + newcomers, return_inverse=True)
    sent_bytes = 0
    shards: list[tuple[TaskShard, IntArray, str]] = []
    for kind_place, kind in enumerate(kinds.tolist()):
        members = np.flatnonzero(kind_of == kind_place)
        task = method.evaluation(
            after.state,
            round_number=after.round,
            family=fleet.families[kind // 2],
            newcomer=bool(kind % 2),
        )
        blob = encode_task(task, codec=config.downlink)
        sent_bytes += len(members) * len(blob)
        for part in fleet.parts(decode_task(blob), devices[members], members, slots):
            own = slots[part.devices]
            shard = TaskShard(
                run_folder=fleet.folder,
                stack_size=fleet.stack_sizes[task.family],
                task=blob,
                devices=part.devices,
                slots=None if own[0] == NO_STUDENT or part.task.forgets else own,
                trained_in=trained_in[part.devices],
                owner_share=fleet.owner_share,
                noise_seed=fleet.noise_seed,
            )
            shards.append((shard, part.places, task.family))
    shards = fleet.largest_first(shards, lambda shard: shard[2])
    asks = [shard for shard, _, _ in shards]
    for at, future in done_by(fleet.executor, count_stacks, asks, processes=fleet.workers):
        done, places = future.result(), shards[at][1]
        fleet.worker_ids.add(done.process)
        counts[places] = done.counts
        failures |= {int(places[place]): text for place, text in done.failures.items()}
    return _measured(fleet, after, devices, counts, failures=failures, sent_bytes=sent_bytes)


def _measured(
    fleet: OpenFleet,
    after: Checkpoint,
    devices: IntArray,
    counts: IntArray,
    *,
    failures: Mapping[int, str],
    sent_bytes: int,
) -> Measured:
    there = counts[:, 0] >= 0
    left_out = tuple(
        Quarantined(
            device=fleet.names[int(devices[place])],
            node=str(FIRST_DEVICE_NODE_ID + int(devices[place])),
            reason=Reason.ERROR_REPLY.value,
            text=failures[place],
        )
        for place in sorted(failures)[:MOST_ENTRIES]
    )
    if not fleet.lists_devices:
        return _in_columns(
            fleet, after, devices[there], counts[there], failures=left_out, sent_bytes=sent_bytes
        )
    accuracies = _by_name(fleet, devices[there], counts[there])
    return Measured.of_devices(
        accuracies,
        failures=left_out,
        sent_bytes=sent_bytes,
        personal_examples=int(counts[there, 1].sum()),
    )


def _in_columns(
    fleet: OpenFleet,
    after: Checkpoint,
    devices: IntArray,
    counts: IntArray,
    *,
    failures: tuple[Quarantined, ...],
    sent_bytes: int,
) -> Measured:
    """The accuracies of devices [n] whose counts [n, 6] are kept beside the record."""
    named = dict(zip(EvaluationCounts._fields, counts.T, strict=True))
    order = np.argsort(devices)
    MeasuredStore(fleet.folder / DEVICES_FOLDER).keep(
        after.round, devices[order], {name: column[order] for name, column in named.items()}
    )

    def shares(correct: str, examples: str) -> Float64Array:
        of = named[examples]
        known: Float64Array = np.full(len(of), np.nan)
        np.divide(named[correct].astype(np.float64), of, out=known, where=of > 0)
        return known

    accuracy = MeasuredAccuracy.of(
        personal=shares("personal_correct", "personal_examples"),
        everyone=shares("global_correct", "global_examples"),
        fleet_personal=shares("fleet_personal_correct", "personal_examples"),
        fleet_everyone=shares("fleet_global_correct", "global_examples"),
        strata=fleet.family_codes[devices],
        sizes=np.bincount(fleet.family_codes, minlength=len(fleet.families)),
    )
    return Measured(
        personal_accuracy=accuracy.personal,
        global_accuracy=accuracy.everyone,
        fleet_personal_accuracy=accuracy.fleet_personal,
        fleet_global_accuracy=accuracy.fleet_everyone,
        worst_device_accuracy=accuracy.worst,
        measured=accuracy.measured,
        failures=failures,
        sent_bytes=sent_bytes,
        personal_examples=int(counts[:, 1].sum()),
        personal=lambda: personal_accuracies(_by_name(fleet, devices, counts)),
    )


def _by_name(fleet: OpenFleet, devices: IntArray, counts: IntArray) -> dict[str, DeviceAccuracy]:
    names = (fleet.names[device] for device in devices.tolist())
    return {name: CorrectCounts(*row).accuracy() for name, row in zip(names, counts.tolist(), strict=True)}
