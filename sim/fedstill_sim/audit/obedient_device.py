"""A device that trains from whatever student it is told to: what a hostile server meets without a policy."""

from __future__ import annotations

from collections.abc import Mapping

from fedstill_client.model.forward import Forward
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.trainer import Personalizer
from fedstill_client.rounds.round import DeviceStack, TrainingDiverged, perform_round
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.codec.api import Expected, decode_summary
from fedstill_proto.messages import RoundTask, SoftLabelSummary
from fedstill_proto.package.artifact import TrainingArtifact


class ObedientDevice:
    """Private examples behind the device's own round, which begins with whatever student the server names.

    It counts what it is asked. Its answers are encoded by the device's codec and decoded by the server's.
    """

    def __init__(
        self, artifact: TrainingArtifact, x: FloatArray, labels: IntArray, *, public_x: FloatArray
    ) -> None:
        """Hold private examples.

        Args:
            artifact: The training artifact, for one device.
            x: The private examples [n, *shape].
            labels: Their labels [n].
            public_x: The public set [P, *shape], which the server knows.
        """
        self.manifest = artifact.manifest
        self.public_x = public_x
        self.tasks = 0
        self._private = PrivateStack.of_one(x, labels)
        self._personalizer, self._forward = Personalizer(artifact), Forward(artifact)

    def answer(self, task: RoundTask, start: Mapping[str, FloatArray]) -> SoftLabelSummary:
        """Train from `start` as the task says, and answer.

        Raises:
            FedstillError: The task asks for what the student cannot do.
        """
        self.tasks += 1
        stack = DeviceStack(["device"], self._private, {name: array[None] for name, array in start.items()})
        work = perform_round(stack, task, self._personalizer, self._forward, self.public_x)
        summary = work.summaries[0]
        if summary is None:
            raise TrainingDiverged(task.training.learning_rate)
        return decode_summary(summary, expected=Expected.of(task, self.manifest.classes, start))
