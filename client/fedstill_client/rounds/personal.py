"""The task by which a device makes its owner's student after a round, where that has a personal plan.

It starts from what the round started from, as the training of the round does, or from the owner's student of
the last round, and has a plan of its own: more epochs, say, no soft labels, or a pull to the fleet's student
(Ditto: Li et al. 2021, arXiv 2012.04221). Soft labels are the task's; where that has none and the plan gives
them a weight, they are what the start itself says of the public set, so that it is not forgotten (Li and
Hoiem 2016, "Learning without forgetting", arXiv 1606.09282).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fedstill_proto.arrays import FloatArray
from fedstill_proto.messages import RoundTask

from fedstill_client.learning.soft_term import own_targets
from fedstill_client.model.batches import ArtifactMismatch
from fedstill_client.model.forward import ForwardPass


def personal_task(
    task: RoundTask, start: Mapping[str, FloatArray], forward: ForwardPass, public_x: FloatArray | None
) -> RoundTask:
    """The work of the task's personal plan, as a round's task.

    Args:
        task: The round's task, with a personal plan.
        start: The student that the round started from [*shape]; [C, *shape] where each device has its own.
        forward: The forward graph of the students.
        public_x: The public set, where the devices have one.

    Raises:
        ArtifactMismatch: Several devices of a stack would each have soft labels of their own.
    """
    plan, manifest = task.personal, forward.manifest
    assert plan is not None  # who calls has looked
    targets = task.soft_targets
    if plan.soft_weight == 0 or manifest.soft_labels == "none":
        targets = None
    elif targets is None and public_x is not None and len(public_x):
        shared = all(start[spec.name].shape == spec.shape for spec in manifest.parameters)
        if not shared and manifest.stack_size > 1:
            raise ArtifactMismatch("a personal plan with soft labels of each device's own start; send some.")
        first = start if shared else {name: array[0] for name, array in start.items()}
        targets = own_targets(first, public_x, forward, task.training.temperature)
    training = replace(
        task.training,
        epochs=plan.epochs,
        soft_weight=0.0 if targets is None else plan.soft_weight,
        learning_rate=plan.learning_rate,
        proximal=plan.proximal,
        local_epochs=0,
    )
    return replace(task, training=training, soft_targets=targets, control_variates={})
