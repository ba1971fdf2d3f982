"""The same run through Flower's own simulation: the ServerApp, the ClientApp of real devices, and Ray.

Each virtual device gets a folder like a real one's, <run>/flower/device_<d>; what all share is linked:

    device.json, private.npz, state/      its own
    artifact/                             -> <run>/artifacts/<family>-c1
    installed.safetensors                 -> <run>/installed/<family>.safetensors
    public.npz, global_test.npz           -> <run>/data
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fedstill_proto.flower_records  # noqa: F401  (sets the environment that flwr reads when it is imported)
import numpy as np
from fedstill_client.home import DEVICE_FOLDER_VARIABLE
from fedstill_client.model.owner_share import OWNER_SHARE
from fedstill_client.rounds.device import INSTALLED_FILE, FleetDevice
from fedstill_proto.arrays import Parameters
from fedstill_proto.errors import FedstillError

from fedstill_sim.data.fleet import GLOBAL_TEST_FILE, PUBLIC_SET_FILE, FleetData, load_fleet
from fedstill_sim.folder import DATA_FOLDER, artifact_folder, installed_file
from fedstill_sim.workers.pool import usable_cores

FLOWER_FOLDER = "flower"
# Ray's sockets lie up to 78 characters below the folder for temporary files, and a socket's path has at most
# 107.
_LONGEST_TEMPORARY_FOLDER = 28


class FlowerError(FedstillError):
    """Flower's simulation has not left the student that is asked for."""


def run_flower_simulation(
    run_folder: Path, *, processes: int | None = None, owner_share: float = OWNER_SHARE
) -> None:
    """Run the rounds that are left of a run.

    The server keeps its rounds in <run>/server, as under any engine.

    Args:
        run_folder: The run: config.json, data/ and artifacts/<family>-c1.
        processes: Clients at a time; None is one a core.
        owner_share: How much of its label prior a device adds to its answers.
    """
    from fedstill_client.app import app as client_app
    from fedstill_server.app import app as server_app
    from fedstill_server.run_folder import FOLDER_VARIABLE as RUN_FOLDER_VARIABLE
    from flwr.simulation import run_simulation

    folder = run_folder.resolve()
    data = load_fleet(folder / DATA_FOLDER)
    write_device_folders(folder, data, owner_share=owner_share)
    variables = {
        RUN_FOLDER_VARIABLE: str(folder),
        DEVICE_FOLDER_VARIABLE: str(device_folder(folder, "{partition}")),
    }
    with (
        environment(variables),
        ray_backend(max(1, usable_cores() if processes is None else processes)) as ray,
    ):
        run_simulation(server_app, client_app, num_supernodes=data.devices, backend_config=ray)


def flower_students(run_folder: Path, devices: Sequence[int]) -> Parameters:
    """Return the students [n, *shape] that devices of one family have on disk."""
    students = []
    for device in devices:
        folder = device_folder(run_folder, device)
        own = FleetDevice.open(folder).store.latest()
        if own is None:
            raise FlowerError(f"{folder}: this device has no student yet")
        students.append(own.parameters)
    return {name: np.stack([student[name] for student in students]) for name in students[0]}


def device_folder(run_folder: Path, device: int | str) -> Path:
    """Return the folder of a virtual device."""
    return run_folder / FLOWER_FOLDER / f"device_{device}"


def write_device_folders(run_folder: Path, data: FleetData, *, owner_share: float) -> None:
    """Write every device's folder; a student that is there already stays."""
    for device, (name, family) in enumerate(zip(data.device_names, data.families, strict=True)):
        folder = device_folder(run_folder, device)
        folder.mkdir(parents=True, exist_ok=True)
        description = {"name": name, "family": family, "owner_share": owner_share}
        (folder / "device.json").write_text(json.dumps(description) + "\n")
        train, test = data.train[device], data.test[device]
        np.savez(
            folder / "private.npz",
            x_train=data.x[train],
            y_train=data.y[train],
            x_test=data.x[test],
            y_test=data.y[test],
        )
        _link(folder / "artifact", artifact_folder(run_folder, family, 1))
        _link(folder / INSTALLED_FILE, installed_file(run_folder, family))
        for file in (PUBLIC_SET_FILE, GLOBAL_TEST_FILE):
            _link(folder / file, run_folder / DATA_FOLDER / file)


def _link(link: Path, target: Path) -> None:
    """Make a relative link, so that a run folder can be moved."""
    if not link.is_symlink():
        link.symlink_to(os.path.relpath(target, link.parent))


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for as long as the block runs; the processes it starts keep them."""
    before: dict[str, Any] = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def ray_backend(cpus: int) -> Iterator[dict[str, Any]]:
    """Configure a quiet Ray that reports to nobody and leaves no file behind, for Flower."""
    import ray

    with tempfile.TemporaryDirectory(
        prefix="ray-", dir=_short_folder(), ignore_cleanup_errors=True
    ) as folder:
        options = {"num_cpus": cpus, "_temp_dir": folder, "log_to_driver": False, "logging_level": "error"}
        backend = {"init_args": options, "client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
        variables = {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": folder,
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or it warns about graphics cards
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),  # Flower changes it
        }
        with environment(variables), _quiet("flwr"):
            try:
                yield backend
            finally:
                ray.shutdown()


def _short_folder() -> str | None:
    """Choose where Ray's folder lies: None is the default place, unless its path is too long for sockets."""
    return None if len(tempfile.gettempdir()) <= _LONGEST_TEMPORARY_FOLDER else "/tmp"


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Let only errors through from a logger."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
