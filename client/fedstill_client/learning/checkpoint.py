"""A learning on its way, as the bytes that the private store keeps: a killed learning goes on from them.

One safetensors file: the training state, the best student so far and the examples' ids as arrays, the rest as
JSON in its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy
from fedstill_proto.arrays import FloatArray, IntArray, Parameters
from fedstill_proto.errors import FedstillError

from fedstill_client.agent_types import Score
from fedstill_client.learning.budget import LearningCost
from fedstill_client.model.trainer import PersonalizerState

_FORMAT = "fedstill learning 1"
_PARAMETERS, _SLOTS, _BEST = "parameters/", "slots/", "best/"


@dataclass(frozen=True, eq=False)
class Best:
    """The best student of all checks so far."""

    student: Parameters  # [*shape]
    score: Score
    step: int


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All that the rest of a learning depends on, besides what `fingerprint` stands for."""

    fingerprint: str  # of the package, the settings, the student and the soft labels it started with
    training_ids: IntArray
    scored_ids: IntArray
    held_out: bool  # whether the examples that students are scored on are held out
    state: PersonalizerState
    checked: int  # step of the last check
    best: Best | None
    cost: LearningCost

    def encode(self) -> bytes:
        """As a safetensors file."""
        arrays: dict[str, npt.NDArray[np.generic]] = {
            "training_ids": self.training_ids,
            "judged_ids": self.scored_ids,
        }
        arrays |= {_PARAMETERS + name: array for name, array in self.state.parameters.items()}
        arrays |= {_SLOTS + name: array for name, array in self.state.slots.items()}
        about: dict[str, object] = {
            "fingerprint": self.fingerprint,
            "step": self.state.step,
            "checked": self.checked,
            "held_out": self.held_out,
            "spent": asdict(self.cost),
            "best": None,
        }
        if self.best is not None:
            arrays |= {_BEST + name: array for name, array in self.best.student.items()}
            about["best"] = {"step": self.best.step, "judgement": asdict(self.best.score)}
        metadata = {"format": _FORMAT, "about": json.dumps(about)}
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        return bytes(safetensors.numpy.save(contiguous, metadata))


def decode_snapshot(blob: bytes) -> Snapshot | None:
    """The snapshot; None where the bytes are not one of this version, so that learning starts anew."""
    try:
        arrays = safetensors.numpy.load(blob)
        # numpy's loader leaves out the metadata: 8 bytes of length, then the JSON header that holds it.
        header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])["__metadata__"]
        if header["format"] != _FORMAT:
            return None
        about = json.loads(header["about"])
        best = about["best"]
        return Snapshot(
            fingerprint=str(about["fingerprint"]),
            training_ids=arrays["training_ids"],
            scored_ids=arrays["judged_ids"],
            held_out=bool(about["held_out"]),
            state=PersonalizerState(_part(arrays, _PARAMETERS), _part(arrays, _SLOTS), int(about["step"])),
            checked=int(about["checked"]),
            best=None
            if best is None
            else Best(_part(arrays, _BEST), Score(**best["judgement"]), int(best["step"])),
            cost=LearningCost(**about["spent"]),
        )
    except (safetensors.SafetensorError, FedstillError, KeyError, ValueError, TypeError):
        return None


def _part(arrays: Mapping[str, FloatArray], prefix: str) -> Parameters:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
