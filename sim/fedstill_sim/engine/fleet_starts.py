"""What the rounds of a run started from, a file a family and round: the fleet's students.

A device that its fleet gave a start keeps it until its next round, to answer with where nothing of its owner
is to count. All devices of a family start from the same one, which is on disk once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Set
from pathlib import Path

from fedstill_proto.arrays import Parameters
from fedstill_proto.package.artifact import StudentManifest, decode_parameters, encode_parameters
from fedstill_proto.system.files import replace_file

from fedstill_sim.folder import DEVICES_FOLDER

_NAME = re.compile(r"start_(\d+)\.safetensors")


def keep_start(run_folder: Path, family: str, round_number: int, start: Parameters) -> None:
    """Keep what the devices of a family started a round from, unless another process has done so."""
    path = _path(run_folder, family, round_number)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        own = path.with_name(f"{path.name}.{os.getpid()}")  # all workers may do so at once
        replace_file(own, encode_parameters(start))
        own.replace(path)


def kept_start(run_folder: Path, manifest: StudentManifest, round_number: int) -> Parameters | None:
    """Return what a round started from [*shape]; None where each device went on with its own student."""
    path = _path(run_folder, manifest.family, round_number)
    if not path.exists():
        return None
    return decode_parameters(path.read_bytes(), manifest.parameters, field=path.name)


def forget_starts(run_folder: Path, family: str, *, keep: Set[int]) -> None:
    """Remove the starts of all rounds that no device last trained in."""
    folder = _path(run_folder, family, 0).parent
    for path in folder.iterdir() if folder.exists() else ():
        match = _NAME.fullmatch(path.name)
        if match and int(match[1]) not in keep:
            path.unlink()


def _path(run_folder: Path, family: str, round_number: int) -> Path:
    return run_folder / DEVICES_FOLDER / "starts" / family / f"start_{round_number}.safetensors"
