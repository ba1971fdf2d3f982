"""The teacher, a larger network on the server, and the students that start from it.

The teacher is trained on the labelled public set. A student is distilled from the teacher's soft labels of
the public set (Hinton et al. 2015, arXiv 1503.02531). Without public labels there is nothing to train a
teacher on yet: it and the students start untrained and learn from the fleet's consensus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fedstill_proto.arrays import Parameters
from torch import nn

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.data.errors import ExamplesError
from fedstill_server.data.examples import Examples
from fedstill_server.families import build_student
from fedstill_server.families.heads import with_head
from fedstill_server.families.pictures import ImageClassifier, is_picture
from fedstill_server.families.sized import DeepPerceptron
from fedstill_server.randomness import derived_seed
from fedstill_server.teachers.frozen import frozen_teacher
from fedstill_server.teachers.registry import network_named
from fedstill_server.training.fitting import FitPlan, fit, gradient_for
from fedstill_server.training.networks import (
    accuracy_of,
    load_parameters,
    logits_of,
    parameters_of,
    seeded,
    softened,
    state_of,
)


@dataclass(frozen=True)
class ServerTraining:
    """How teacher and students of a fleet learn on the server: here, examples with one label.

    Soft labels are [n, classes] where examples have one label; a task of labels at each place has a form of
    its own.
    """

    config: FleetConfig

    def new_teacher(self) -> nn.Module:
        """The teacher as it starts; torch's random numbers are those of the fleet's seed."""
        config = self.config
        outputs = config.target.outputs(config.classes)
        if is_picture(config.input_shape):
            network: nn.Module = ImageClassifier(config.input_shape, outputs)
        else:
            network = DeepPerceptron(config.input_shape, outputs, hidden=config.teacher.hidden)
        return with_head(network, config.target)

    def teacher(self, parameters: Parameters | None = None) -> nn.Module:
        """The teacher with `parameters`, or as it starts; a frozen one has none."""
        config, teacher = self.config, self.config.teacher
        if teacher.frozen:
            return frozen_teacher(teacher.network, config.input_shape, config.classes, digest=teacher.digest)
        with seeded(derived_seed(self.config.seed, 0, "teacher")):
            if self.config.teacher.network:
                return self._named_teacher(parameters)
            network = self.new_teacher()
        return load_parameters(network, parameters) if parameters is not None else network

    def _named_teacher(self, state: Parameters | None) -> nn.Module:
        """The network that the configuration names; besides parameters it may keep running means."""
        config, teacher = self.config, self.config.teacher
        outputs = config.target.outputs(config.classes)
        network = network_named(teacher.network, config.input_shape, outputs, digest=teacher.digest)
        network = with_head(network, config.target)
        return network if state is None else load_parameters(network, state)

    def student(self, family: str, parameters: Parameters | None = None) -> nn.Module:
        """A student of `family` with `parameters`, or as it starts."""
        seed = derived_seed(self.config.seed, 0, f"student/{family}")
        config = self.config
        network = build_student(family, config.input_shape, config.classes, seed=seed, target=config.target)
        return load_parameters(network, parameters) if parameters is not None else network

    def taught_teacher(self, teaching: Examples) -> Parameters:
        """The teacher after learning labels of examples; untrained if there are none to use."""
        network, config = self.teacher(), self.config.teacher
        if config.frozen:
            return {}
        if teaching.y is not None and self.config.use_public_labels and not config.trained:
            plan = self.plan(
                epochs=config.epochs, learning_rate=config.learning_rate, input_noise=config.input_noise
            )
            seed = derived_seed(self.config.seed, 0, "teach")
            known, gradient = teaching.labelled, gradient_for(self.config.target)
            fit(network, known.x, None, plan=plan, seed=seed, labels=known.y, gradient=gradient)
        return state_of(network) if config.network else parameters_of(network)

    def distilled_student(self, family: str, teaching: Examples, teacher: Parameters) -> Parameters:
        """A family's student after learning the teacher's soft labels of examples."""
        config = self.config.teacher
        soft_labels = self.soft_labels(self.teacher(teacher), teaching, temperature=config.temperature)
        plan = self.plan(
            epochs=config.student_epochs,
            learning_rate=config.student_learning_rate,
            temperature=config.temperature,
        )
        seed = derived_seed(self.config.seed, 0, f"learn/{family}")
        return self.fitted(self.student(family), teaching, soft_labels, plan=plan, seed=seed)

    def soft_labels(self, network: nn.Module, examples: Examples, *, temperature: float) -> Any:
        """A network's soft labels of examples, [n * places, classes]: softmax(logits / temperature)."""
        logits = logits_of(network, examples.x, device=self.config.teacher.device)
        return softened(logits, temperature=temperature, target=self.config.target)

    def teacher_learns(
        self, teacher: Parameters, examples: Examples, soft_labels: Any, *, round_number: int
    ) -> Parameters:
        """The teacher after a round's learning of soft labels, softened at the plan's temperature."""
        if self.config.teacher.frozen:
            return teacher
        plan = self._round_plan(self.config.teacher.learning_rate)
        seed = derived_seed(self.config.seed, round_number, "learn/teacher")
        network = self.teacher(teacher)
        learned = self.fitted(network, examples, soft_labels, plan=plan, seed=seed)
        return state_of(network) if self.config.teacher.network else learned

    def student_learns(
        self,
        family: str,
        student: Parameters,
        examples: Examples,
        soft_labels: Any,
        *,
        round_number: int,
        input_noise: float = 0.0,
    ) -> Parameters:
        """A student after the same; input_noise: standard deviation, in units of the input."""
        plan = self._round_plan(self.config.teacher.student_learning_rate, input_noise=input_noise)
        seed = derived_seed(self.config.seed, round_number, f"learn/{family}")
        return self.fitted(self.student(family, student), examples, soft_labels, plan=plan, seed=seed)

    def accuracy(self, network: nn.Module, test: Examples) -> float:
        """The share of labels that are the network's first choice.

        Raises:
            ExamplesError: For examples without labels.
        """
        if test.y is None:
            raise ExamplesError("examples without labels (y) to measure on")
        return accuracy_of(network, test.x, test.y, target=self.config.target)

    def fitted(
        self, network: nn.Module, examples: Examples, soft_labels: Any, *, plan: FitPlan, seed: int
    ) -> Parameters:
        """The parameters of a network after learning soft labels of examples."""
        gradient = gradient_for(self.config.target)
        return parameters_of(fit(network, examples.x, soft_labels, plan=plan, seed=seed, gradient=gradient))

    def plan(
        self,
        *,
        epochs: int,
        learning_rate: float,
        batch_size: int | None = None,
        temperature: float = 1.0,
        input_noise: float = 0.0,
    ) -> FitPlan:
        """How a network is fitted; what is not said is as the fleet's configuration has it."""
        config = self.config.teacher
        return FitPlan(
            epochs=epochs,
            batch_size=config.batch_size if batch_size is None else batch_size,
            learning_rate=learning_rate,
            weight_decay=config.weight_decay,
            temperature=temperature,
            input_noise=input_noise,
            device=config.device,
        )

    def _round_plan(self, learning_rate: float, *, input_noise: float = 0.0) -> FitPlan:
        return self.plan(
            epochs=self.config.teacher.round_epochs,
            learning_rate=learning_rate,
            batch_size=self.config.teacher.round_batch_size,
            temperature=self.config.training.temperature,
            input_noise=input_noise,
        )
