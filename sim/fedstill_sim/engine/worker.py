"""What a worker process does: the client's round for virtual devices, stack by stack. No torch, no flwr."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
from fedstill_client.rounds import round as round_work
from fedstill_client.rounds.round import DeviceStack, TrainingDiverged
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import RoundTask
from fedstill_proto.privacy import seeded_bits

from fedstill_sim.engine.jobs import Answer, Answers, Counts, Failure, Job
from fedstill_sim.engine.stacks import filled_up
from fedstill_sim.engine.students import named_parameters
from fedstill_sim.engine.workplace import FamilyWork, Workplace, opened


def train(job: Job) -> Answers:
    """Train and summarize every device of the job, and store its student."""
    return _stack_by_stack(_train_stack, job)


def evaluate(job: Job) -> Answers:
    """Count the right answers of every device of the job."""
    return _stack_by_stack(_evaluate_stack, job)


StackWork = Callable[[Workplace, FamilyWork, RoundTask, Job, slice], Sequence[Answer]]


def stack_starts(job: Job) -> range:
    """Where each stack begins among the job's devices."""
    return range(0, len(job.devices), job.stack_size)


def _stack_by_stack(work_on: StackWork, job: Job) -> Answers:
    place, task = opened(job)
    work = place.work(task.family, job.stack_size)

    def answers_of(start: int, stop: int) -> Sequence[Answer]:
        try:
            return work_on(place, work, task, job, slice(start, stop))
        except FedstillError as error:
            if stop - start == 1:
                return [Failure(str(error))]
        # One device's trouble is not its neighbours': each works on its own.
        return [answer for device in range(start, stop) for answer in answers_of(device, device + 1)]

    stacks = [answers_of(start, min(start + job.stack_size, len(job.devices))) for start in stack_starts(job)]
    return Answers(os.getpid(), [answer for stack in stacks for answer in stack])


def _train_stack(place: Workplace, work: FamilyWork, task: RoundTask, job: Job, part: slice) -> list[Answer]:
    assert job.new_slots is not None
    trained = np.empty((job.stack_size, work.manifest.parameter_count), np.float32)
    done = round_work.perform_round(
        _student_stack(place, work, job, part),
        task,
        work.personalizer,
        work.forward,
        place.public_x,
        out=named_parameters(trained, work.manifest),
        answers=place.answers,
        label_prior=job.label_prior,
        noise=lambda name: seeded_bits(job.noise_seed, "device", name, task.run, task.round),
    )
    devices = job.devices[part]
    rows = place.family_rows(task.family, devices)
    work.file.write(job.new_slots[part], rows, trained[: len(devices)])
    diverged = Failure(str(TrainingDiverged(task.training.learning_rate)))
    return [diverged if summary is None else summary for summary in done.summaries]


def _evaluate_stack(
    place: Workplace, work: FamilyWork, task: RoundTask, job: Job, part: slice
) -> list[Answer]:
    devices = job.devices[part]
    found = round_work.evaluate(
        _student_stack(place, work, job, part),
        task,
        work.forward,
        personal_test=place.stacks.test(filled_up(devices, job.stack_size)),
        global_test=place.global_test,
        label_prior=job.label_prior,
    )
    columns = (
        found.personal_correct,
        found.personal_examples,
        found.global_correct,
        found.global_examples,
    )
    counts = np.stack(columns, axis=1)[: len(devices)].tolist()
    return [Counts(*row) for row in counts]


def _student_stack(place: Workplace, work: FamilyWork, job: Job, part: slice) -> DeviceStack:
    devices = job.devices[part]
    padded = filled_up(devices, job.stack_size)
    parameters = None
    if job.slots is not None:
        rows = place.family_rows(work.manifest.family, padded)
        slots = filled_up(job.slots[part], job.stack_size)
        parameters = named_parameters(work.file.read(slots, rows), work.manifest)
    return DeviceStack(
        names=[place.stacks.device_names[device] for device in devices],
        private=place.stacks.private(padded),
        parameters=parameters,
        device_ids=place.stacks.ids(padded),
    )
