"""The folder of a run that a Flower project's code describes: what it needs there is written, or is there."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.files import SHARED, replace_file
from fedstill_proto.system.sealed import read_sealed_json, write_sealed_json

if TYPE_CHECKING:
    from fedstill_server.config.fleet import FleetConfig
    from fedstill_server.data.examples import Examples
    from fedstill_server.rounds.run_store import RunStore

PUBLIC_FILE, TEST_FILE = "public.npz", "test.npz"
_START_FILE = "start.json"


class RunFolderTaken(FedstillError):
    """A folder holds something else than the run that is to be in it."""


@contextmanager
def run_folder(named: str) -> Iterator[Path]:
    """The folder of a run: the one that is named, or one that goes when the block ends."""
    if not named:
        with tempfile.TemporaryDirectory(prefix="fedstill-") as temporary:
            yield Path(temporary)
        return
    folder = Path(named).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    yield folder


def claim(
    folder: Path, config: FleetConfig, public: Examples, test: Examples | None, *, run_id: int
) -> FleetConfig:
    """The configuration with the run's name: a new one, or that of this very run, which the folder holds.

    Args:
        folder: Of the run; what the run needs is written there.
        config: What the run is to do; its name does not matter.
        public: The public set.
        test: The test set, if there is one.
        run_id: Flower's, which makes a new name unlike all others.

    Raises:
        RunFolderTaken: The folder holds another run, or other files.
    """
    from fedstill_server.run_folder import CONFIG_FILE, read_fleet_config
    from fedstill_server.state import digest_of

    data = {PUBLIC_FILE: _arrays(public)} | ({} if test is None else {TEST_FILE: _arrays(test)})
    described = json.dumps(config.to_json(), sort_keys=True) + "".join(map(digest_of, data.values()))
    digest = hashlib.sha256(described.encode()).hexdigest()
    if (folder / CONFIG_FILE).exists():
        if read_sealed_json(folder / CONFIG_FILE).get("digest") != digest:
            raise RunFolderTaken(
                f"fedstill-folder: {folder} holds a run of other settings or other data; name a new folder"
            )
        return read_fleet_config(folder)
    if any(folder.iterdir()):
        raise RunFolderTaken(f"fedstill-folder: {folder} holds files that are no run's; name a new folder")
    name = hashlib.sha256(f"{run_id} {digest}".encode()).hexdigest()[:8]
    config = dataclasses.replace(config, run=name)
    for file, arrays in data.items():
        replace_file(folder / file, _npz(arrays), mode=SHARED)
    document = {"fleet": config.to_json(), "digest": digest}
    write_sealed_json(folder / CONFIG_FILE, document)
    return config


def started(
    folder: Path, store: RunStore, config: FleetConfig, public: Examples, test: Examples | None
) -> Mapping[str, float]:
    """Make the first teacher and students, unless that is done, and say how accurate they were on a test set.

    Devices of a run that goes on may have lost their students: they get them anew.
    """
    from fedstill_server.methods import build_method
    from fedstill_server.rounds.preparation import prepare
    from fedstill_server.tasks import training_of
    from fedstill_server.training.networks import one_deterministic_thread

    if store.latest() is not None:
        store.forget_devices()
        found: dict[str, float] = read_sealed_json(folder / _START_FILE)
        return found
    accuracy: dict[str, float] = {}
    with one_deterministic_thread():
        state = prepare(config, public, build_method(config, public))
        if test is not None:
            training = training_of(config)
            networks = {"teacher": training.teacher(state.teacher)}
            networks |= {name: training.student(name, one) for name, one in state.students.items()}
            accuracy = {name: training.accuracy(network, test) for name, network in networks.items()}
    write_sealed_json(folder / _START_FILE, accuracy)
    store.commit(0, state)
    return accuracy


def _arrays(examples: Examples | None) -> dict[str, Any]:
    if examples is None:
        return {}
    return {"x": examples.x} if examples.y is None else {"x": examples.x, "y": examples.y}


def _npz(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
