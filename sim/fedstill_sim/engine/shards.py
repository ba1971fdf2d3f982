"""What the engine asks of a worker process, and what it gets back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fedstill_client.model.owner_share import OWNER_SHARE
from fedstill_proto.arrays import IntArray

from fedstill_sim.engine.students import SlotArray


@dataclass(frozen=True, kw_only=True)
class TaskShard:
    """One task for n devices of one family, which all have a student of their own, or all have none.

    Attributes:
        run_folder: The run whose data, artifacts and students the worker opens.
        stack_size: Devices that one run of the training graph trains together.
        task: The encoded RoundTask.
        devices: The devices' numbers [n].
        slots: The slots that their students are read from [n]; None where they start from the task's student.
        new_slots: The slots that the trained students are written to [n].
        trained_in: To evaluate: the rounds that the devices last trained in [n].
        owner_share: How much of its label prior a device adds to its answers (see label_prior.py).
        noise_seed: Seed of the noise that devices add where the task asks for it.
    """

    run_folder: Path
    stack_size: int
    task: bytes
    devices: IntArray
    slots: SlotArray | None
    new_slots: SlotArray | None = None
    trained_in: IntArray | None = None
    owner_share: float = OWNER_SHARE
    noise_seed: int = 0


class EvaluationCounts(NamedTuple):
    """How many of a device's answers are right, in both scopes (see the client's Evaluation)."""

    personal_correct: int
    personal_examples: int
    global_correct: int
    global_examples: int
    fleet_personal_correct: int
    fleet_global_correct: int


@dataclass(frozen=True)
class DeviceFailure:
    """Why a device sends no reply."""

    reason: str


DeviceReply = bytes | EvaluationCounts | DeviceFailure
"""What a device replies: an encoded summary of its training, or its evaluation."""


@dataclass(frozen=True)
class ShardReplies:
    """The replies of a shard's devices, in the shard's order, and the process that did the work."""

    process: int
    replies: list[DeviceReply]
