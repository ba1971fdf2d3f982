"""A training run on disk: one safetensors file, replaced whole, so that a kill leaves the old or the new
one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.files import SHARED, replace_file
from fedstill_proto.system.sealed import BLANK, SEAL, DamagedFile, seal_of, sealed
from torch import Tensor, nn

_FORMAT = "fedstill-distill-1"


class CheckpointError(FedstillError):
    """A checkpoint that cannot be read, or is of another training."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingState:
    """The modules of a training, and the optimizer of the parameters `trained`, after `epoch` epochs."""

    epoch: int
    modules: Mapping[str, nn.Module]
    optimizer: torch.optim.Optimizer
    trained: Sequence[Tensor]


def write_checkpoint(path: Path, state: TrainingState, *, fingerprint: str) -> None:
    """Write a training down.

    Args:
        path: The file.
        state: What is written.
        fingerprint: Names the training, so that no other goes on from it.
    """
    tensors = {
        f"{part}/{name}": value.detach().clone().contiguous()
        for part, module in state.modules.items()
        for name, value in module.state_dict().items()
    }
    for number, parameter in enumerate(state.trained):
        for name, value in state.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{number}/{name}"] = value.detach().clone()
    metadata = {"format": _FORMAT, "fingerprint": fingerprint, "epoch": str(state.epoch), SEAL: BLANK}
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, sealed(safetensors.torch.save(tensors, metadata=metadata)), mode=SHARED)


def read_checkpoint(path: Path, state: TrainingState, *, fingerprint: str) -> int:
    """Put a checkpoint into the modules and the optimizer of `state`.

    Returns:
        How many epochs it has seen.

    Raises:
        CheckpointError: The file is damaged, or another training's.
    """
    blob = path.read_bytes()
    try:
        seal_of(blob, where=path, remedy="delete it to start anew")
        tensors = safetensors.torch.load(blob)
        header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])["__metadata__"]
        if header["format"] != _FORMAT:
            raise KeyError("format")
        epoch, whose = int(header["epoch"]), header["fingerprint"]
    except DamagedFile as error:
        raise CheckpointError(str(error)) from None
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: not a checkpoint ({error}); delete it to start anew") from None
    if whose != fingerprint:
        raise CheckpointError(
            f"{path}: a checkpoint of another job (its data, teacher, techniques or plan differ); delete it "
            "or name another folder"
        )
    for part, module in state.modules.items():
        start = f"{part}/"
        own = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
        module.load_state_dict(own)
    for name, value in tensors.items():
        part, _, rest = name.partition("/")
        if part == "optimizer":
            number, _, field = rest.partition("/")
            state.optimizer.state[state.trained[int(number)]][field] = value
    return epoch
