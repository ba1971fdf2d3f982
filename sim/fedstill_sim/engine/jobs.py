"""What the engine asks of a worker process, and what it gets back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fedstill_proto.arrays import IntArray

from fedstill_sim.engine.students import SlotArray


@dataclass(frozen=True, kw_only=True)
class Job:
    """One task for n devices of one family; all work with a student of their own, or none does.

    slots: where their students lie [n]; None: they start from the one in the task.
    new_slots: where the trained ones go [n].
    label_prior: how strongly a device's own class frequencies speak on its own examples.
    noise_seed: of the noise that devices add where a task asks for it.
    """

    run_folder: Path
    stack_size: int
    task: bytes
    devices: IntArray
    slots: SlotArray | None
    new_slots: SlotArray | None = None
    label_prior: float = 1.0
    noise_seed: int = 0


class Counts(NamedTuple):
    """Right answers of one device, and what it was asked: on its own examples and on everyone's."""

    personal_correct: int
    personal_examples: int
    global_correct: int
    global_examples: int


@dataclass(frozen=True)
class Failure:
    """Why a device has no answer."""

    reason: str


Answer = bytes | Counts | Failure
"""An encoded summary, or how many answers of a device were right."""


@dataclass(frozen=True)
class Answers:
    """An answer of each device of a job, in the job's order, and the process that did the work."""

    process: int
    answers: list[Answer]
