"""What the frozen first part of a family's students makes of a fleet's examples: computed once for all.

All devices of a family share it, and it depends on nothing that they learn. The files are mapped: however
many workers read them, they are in memory once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from fedstill_client.model.prefix import Prefix, chunks, prefix_of
from fedstill_proto.arrays import FloatArray
from fedstill_proto.package.artifact import FROZEN_FILE, PREFIX_FILE, StudentManifest, load_artifact

from fedstill_sim.data.fleet import FleetData, load_fleet
from fedstill_sim.folder import artifact_folder, prefixed_folder, training_data_folder
from fedstill_sim.workers.pool import usable_cores


def make_prefixed(run_folder: Path, family: str, stack_size: int) -> None:
    """Let a run's examples go through a family's prefix, if it has one, unless they have done so before."""
    artifact = load_artifact(artifact_folder(run_folder, family, stack_size))
    if artifact.prefix_graph is None:
        return
    prefix, data = prefix_of(artifact), load_fleet(training_data_folder(run_folder))
    for x, file in _tables(run_folder, data, artifact.manifest):
        if not file.exists():
            _make(prefix, x, file, artifact.manifest.prefix_shape)


def know_prefixed(prefix: Prefix, run_folder: Path, data: FleetData, manifest: StudentManifest) -> None:
    """Tell a worker's prefix what became of the run's examples, where that was computed before."""
    for x, file in _tables(run_folder, data, manifest):
        if manifest.prefix_shape and file.exists():
            prefix.know(x, np.asarray(np.load(file, mmap_mode="r", allow_pickle=False)))


def _tables(
    run_folder: Path, data: FleetData, manifest: StudentManifest
) -> Iterator[tuple[FloatArray, Path]]:
    """The examples of all devices and those of the test set, and the files of what becomes of them."""
    parts = [part.sha256 for part in manifest.parts if part.name in (PREFIX_FILE, FROZEN_FILE)]
    digest = hashlib.sha256("".join(parts).encode()).hexdigest()[:12]
    folder = prefixed_folder(run_folder, f"{manifest.family}-{digest}")
    yield np.asarray(data.x), folder / "x.npy"
    yield np.asarray(data.global_x), folder / "global_x.npy"


def _make(prefix: Prefix, x: FloatArray, file: Path, shape: tuple[int, ...]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    h = np.lib.format.open_memmap(new, mode="w+", dtype=np.float32, shape=(len(x), *shape))
    with ThreadPoolExecutor(usable_cores()) as threads:
        list(threads.map(lambda rows: prefix.fill(x, h, rows), chunks(len(x))))
    h.flush()
    new.replace(file)
