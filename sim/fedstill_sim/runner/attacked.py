"""What an attack needs beside the rounds: false training data before them, and its own success after."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from fedstill_client.model.forward import Forward
from fedstill_proto.arrays import FloatArray, Parameters
from fedstill_proto.package.artifact import load_artifact
from fedstill_server.methods import build_method
from fedstill_server.randomness import generator
from fedstill_server.state import FleetState
from fedstill_server.tasks import load_public

from fedstill_sim.attacks.interface import Trial, overrides
from fedstill_sim.config import RunConfig
from fedstill_sim.data.fleet import FleetData, load_fleet, save_fleet
from fedstill_sim.folder import DATA_FOLDER, POISONED_FOLDER, artifact_folder
from fedstill_sim.runner.devices import CompletedRounds, devices_with_students, students_of


def poison(folder: Path, config: RunConfig) -> None:
    """Write the data that adversaries train on beside the run's own, whole or not at all."""
    plan = config.simulation.attack
    if plan is None or not overrides(type(plan.made), "poisoned") or (folder / POISONED_FOLDER).exists():
        return
    data, seed = load_fleet(folder / DATA_FOLDER), config.fleet.seed
    adversaries = plan.adversaries(data.devices, seed=seed)
    poisoned = plan.made.poisoned(data, adversaries, generator(seed, 0, f"poison/{plan.attack.name}"))
    partial = folder / f"{POISONED_FOLDER}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    save_fleet(poisoned, partial)
    partial.rename(folder / POISONED_FOLDER)


def attack_success(run: CompletedRounds, data: FleetData, state: FleetState) -> float | None:
    """Return the share of the attack's trials that come out as it wants them, mean over honest devices.

    Args:
        run: The rounds.
        data: The fleet's data.
        state: The server's state after them.
    """
    plan = run.config.simulation.attack
    trial = None if plan is None else plan.made.trial(data)
    if plan is None or trial is None:
        return None
    adversaries = set(plan.adversaries(data.devices, seed=run.config.fleet.seed).tolist())
    honest = [device for device in devices_with_students(run, data.device_names) if device not in adversaries]
    fleet = run.config.fleet
    method = build_method(fleet, load_public(run.folder, fleet))
    shares: list[float] = []
    for family, size in run.stack_sizes.items():
        devices = [device for device in honest if data.families[device] == family]
        measured = method.evaluation(state, round_number=fleet.rounds, family=family, newcomer=False)
        forward = Forward(load_artifact(artifact_folder(run.folder, family, size)))
        for start in range(0, len(devices), size):
            part = devices[start : start + size]
            own = students_of(run, part)
            if measured.replace_student:  # but for what stays on the devices
                given = measured.parameters.items()
                own |= {name: np.broadcast_to(array, (len(part), *array.shape)) for name, array in given}
            shares += _shares(forward, own, trial)[: len(part)].tolist()
    return float(np.mean(shares)) if shares else None


def _shares(forward: Forward, students: Parameters, trial: Trial) -> FloatArray:
    """The share of the trial that each student [n, *shape] of a stack gets as wanted."""
    places = np.arange(forward.manifest.stack_size)
    full = {name: array.take(places, axis=0, mode="clip") for name, array in students.items()}
    said = forward.shared(full, trial.x).argmax(axis=-1)  # [size, n]
    share: FloatArray = (said == trial.wanted).mean(axis=1)
    return share
