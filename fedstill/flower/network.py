"""A torch module in the place of a training artifact: what trains it, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from fedstill_client.model.batches import StackPlan
from fedstill_client.model.forward import ForwardPass
from fedstill_client.model.gradient_term import GradientTerm
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.trainer import StepChange, Steps
from fedstill_client.rounds.distilled_start import StartSteps
from fedstill_proto.arrays import FloatArray, Parameters, parameter_specs
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import RoundTask
from fedstill_proto.package.artifact import StudentManifest
from fedstill_proto.soft_labels.label_arrays import TopKSoftLabels

from fedstill.flower.training import LocalTraining, distil

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fedstill.flower.training import Train

_ROWS_AT_ONCE = 1024


class TorchForward(ForwardPass):
    """The answers of one student that is a torch module."""

    def __init__(self, network: nn.Module, manifest: StudentManifest) -> None:
        self.manifest = manifest
        self._network = network

    def shared_outputs(self, parameters: Mapping[str, FloatArray], x: FloatArray) -> dict[str, FloatArray]:
        import torch

        install(self._network, parameters)
        self._network.eval()
        parts: list[dict[str, Tensor]] = []
        with torch.no_grad():
            for start in range(0, len(x), _ROWS_AT_ONCE):
                parts.append(self._outputs(torch.from_numpy(x[start : start + _ROWS_AT_ONCE])))
        shapes = {"logits": self.manifest.classes, "features": self.manifest.feature_width}
        return {
            name: torch.cat([part[name] for part in parts]).numpy()[None]
            if parts
            else np.empty((1, 0, width), np.float32)
            for name, width in shapes.items()
            if width
        }

    def own_outputs(
        self, parameters: Mapping[str, FloatArray], examples: PrivateStack
    ) -> dict[str, FloatArray]:
        own = examples.table_rows[0, : examples.counts[0]]
        return self.shared_outputs(parameters, examples.table[own])

    def _outputs(self, x: Tensor) -> dict[str, Tensor]:
        from fedstill_server.families.features import with_features

        if not self.manifest.feature_width:
            return {"logits": self._network(x)}
        logits, features = with_features(self._network, lambda: self._network(x))
        return {"logits": logits, "features": features}


class TorchTrainer:
    """Trains one student that is a torch module, by a function of its owner's or as planned."""

    def __init__(self, network: nn.Module, manifest: StudentManifest, task: RoundTask, train: Train) -> None:
        self.manifest = manifest
        self._network, self._task, self._train = network, task, train

    def train(
        self,
        parameters: Mapping[str, FloatArray],
        steps: Steps,
        *,
        copy: bool = True,
        change: StepChange | None = None,
    ) -> tuple[Parameters, FloatArray]:
        from fedstill_server.families.state import train_mode
        from fedstill_server.training.networks import parameters_of, seeded

        install(self._network, parameters)
        train_mode(self._network)
        with seeded(self._task.training.seed ^ self._task.round):
            if isinstance(steps, StartSteps):  # what no owner's training function has a part in
                mean_loss = distil(self._network, steps, self._task, self.manifest)
            else:
                assert isinstance(steps, StackPlan)  # nobody interrupts
                training = LocalTraining(steps, self._task)
                if not isinstance(change, GradientTerm | None):
                    raise FedstillError(
                        "the round lets a part of the student learn before the rest, and this device's own "
                        "training function knows of none; use fedper in place of fedrep."
                    )
                with added_to_gradients(self._network, change):
                    self._train(self._network, training)
                mean_loss = training.mean_loss
        self._network.cpu().float()
        trained = {name: array[None] for name, array in parameters_of(self._network).items()}
        if trained.keys() != {spec.name for spec in self.manifest.parameters}:
            raise FedstillError(
                f"the training function has put other parameters into {type(self._network).__name__}; it may "
                "change their values only."
            )
        return trained, np.array([mean_loss], np.float32)


@contextmanager
def added_to_gradients(network: nn.Module, term: GradientTerm | None) -> Iterator[None]:
    """Add the term of a round to every gradient of the network, whatever the loss and the optimizer."""
    import torch

    def adding(name: str, weights: nn.Parameter) -> Callable[[Tensor], Tensor]:
        def added(gradient: Tensor) -> Tensor:
            assert term is not None
            now = weights.detach().cpu().float().numpy()[None]
            return gradient + torch.from_numpy(term.at(name, now)[0]).to(gradient)

        return added

    named = [] if term is None else [each for each in network.named_parameters() if each[1].requires_grad]
    hooks = [each.register_hook(adding(name, each)) for name, each in named]  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def install(network: nn.Module, parameters: Mapping[str, FloatArray]) -> None:
    """Put a student, [*shape] or as a stack of one [1, *shape], into the network."""
    from fedstill_server.families.state import student_state
    from fedstill_server.training.networks import load_parameters

    shapes = {name: tuple(value.shape) for name, value in student_state(network).tensors.items()}
    load_parameters(network, {name: array.reshape(shapes[name]) for name, array in parameters.items()})


def manifest_of(
    network: nn.Module, task: RoundTask, *, family: str, input_shape: tuple[int, ...], classes: int
) -> StudentManifest:
    """What rounds need to know of a torch module that learns a task; there are no graphs behind it."""
    from fedstill_server.families.errors import FamilyError
    from fedstill_server.families.features import feature_width
    from fedstill_server.families.state import student_state
    from fedstill_server.training.networks import parameters_of

    told = None if task.soft_targets is None else task.soft_targets.soft_labels
    try:
        width = feature_width(network)
    except FamilyError:
        width = 0
    return StudentManifest(
        family=family,
        classes=classes,
        input_shape=input_shape,
        parameters=parameter_specs(parameters_of(network)),
        buffers=tuple(student_state(network).buffers),
        optimizer=task.training.optimizer,
        soft_labels="top-k" if isinstance(told, TopKSoftLabels) else "dense",
        k=told.k if isinstance(told, TopKSoftLabels) else 0,
        opset=1,
        step_rows=2 * task.training.batch_size,
        feature_width=width,
    )
