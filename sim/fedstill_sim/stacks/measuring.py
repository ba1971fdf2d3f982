"""Has devices of an open fleet count their correct answers, and makes accuracies of the counts."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
from fedstill_proto.arrays import IntArray
from fedstill_proto.codec.api import decode_task, encode_task
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.methods import Method
from fedstill_server.rounds.evaluation import CorrectCounts, FleetAccuracy
from fedstill_server.rounds.fleet_work import Measured
from fedstill_server.rounds.reasons import Reason
from fedstill_server.rounds.round_record import DeviceAccuracy, Quarantined
from fedstill_server.rounds.run_store import Checkpoint

from fedstill_sim.engine.grid import FIRST_DEVICE_NODE_ID
from fedstill_sim.engine.shards import EvaluationCounts, TaskShard
from fedstill_sim.engine.students import NO_STUDENT
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
    sent_bytes, shards, places = 0, [], []
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
            shards.append(
                TaskShard(
                    run_folder=fleet.folder,
                    stack_size=fleet.stack_sizes[task.family],
                    task=blob,
                    devices=part.devices,
                    slots=None if own[0] == NO_STUDENT or part.task.forgets else own,
                    trained_in=trained_in[part.devices],
                    owner_share=fleet.owner_share,
                    noise_seed=fleet.noise_seed,
                )
            )
            places.append(part.places)
    for place, future in done_by(fleet.executor, count_stacks, shards, processes=fleet.processes):
        done = future.result()
        fleet.worker_ids.add(done.process)
        counts[places[place]] = done.counts
        failures |= {int(places[place][at]): text for at, text in done.failures.items()}
    return _measured(fleet, devices, counts, failures, sent_bytes=sent_bytes)


def _measured(
    fleet: OpenFleet, devices: IntArray, counts: IntArray, failures: Mapping[int, str], *, sent_bytes: int
) -> Measured:
    there = counts[:, 0] >= 0
    left_out = tuple(
        Quarantined(
            device=fleet.names[int(devices[place])],
            node=str(FIRST_DEVICE_NODE_ID + int(devices[place])),
            reason=Reason.ERROR_REPLY.value,
            text=failures[place],
        )
        for place in sorted(failures)
    )
    names = [fleet.names[device] for device in devices[there].tolist()]
    accuracies = {
        name: CorrectCounts(*row).accuracy() for name, row in zip(names, counts[there].tolist(), strict=True)
    }
    accuracy = FleetAccuracy.of(accuracies)
    return Measured(
        personal_accuracy=accuracy.personal,
        global_accuracy=accuracy.everyone,
        fleet_personal_accuracy=accuracy.fleet_personal,
        fleet_global_accuracy=accuracy.fleet_everyone,
        worst_device_accuracy=accuracy.worst,
        devices=accuracies,
        failures=left_out,
        sent_bytes=sent_bytes,
        personal_examples=int(counts[there, 1].sum()),
        personal=functools.partial(_personal, accuracies),
    )


def _personal(devices: Mapping[str, DeviceAccuracy]) -> dict[str, float]:
    found = {name: device.personal for name, device in devices.items()}
    return {name: accuracy for name, accuracy in found.items() if accuracy is not None}
