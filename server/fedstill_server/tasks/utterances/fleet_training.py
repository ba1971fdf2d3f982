"""How a fleet of utterances learns on the server: a wider bag of n-grams is its teacher.

Before the first round, where the public set is labelled, teacher and students learn its labels, with the
weight decay and the batches of BY_LABELS: where n-grams are left out, labels make better students than
what the teacher says of them.
"""

from __future__ import annotations

from dataclasses import replace

from fedstill_proto.arrays import Parameters
from torch import nn

from fedstill_server.data.examples import Examples
from fedstill_server.families.ngrams import weigh_terms, wide_bag
from fedstill_server.randomness import derived_seed
from fedstill_server.tasks.training import ServerTraining
from fedstill_server.tasks.utterances.students import BY_LABELS, IntentPlan
from fedstill_server.training.fitting import fit
from fedstill_server.training.networks import parameters_of


class UtteranceTraining(ServerTraining):
    """Soft labels are [n, classes]."""

    def new_teacher(self) -> nn.Module:
        return wide_bag(self.config.classes, hidden=max(self.config.teacher.hidden, default=1))

    def taught_teacher(self, teaching: Examples) -> Parameters:
        config = self.config.teacher
        if config.network or config.trained or not self._are_labelled(teaching):
            return super().taught_teacher(teaching)
        plan = replace(BY_LABELS, epochs=config.epochs, learning_rate=config.learning_rate)
        return self._taught(self.teacher(), teaching, plan, "teach")

    def distilled_student(self, family: str, teaching: Examples, teacher: Parameters) -> Parameters:
        config = self.config.teacher
        if not self._are_labelled(teaching):
            return super().distilled_student(family, teaching, teacher)
        plan = replace(BY_LABELS, epochs=config.student_epochs, learning_rate=config.student_learning_rate)
        return self._taught(self.student(family), teaching, plan, f"learn/{family}")

    def _are_labelled(self, teaching: Examples) -> bool:
        return teaching.y is not None and self.config.use_public_labels

    def _taught(self, network: nn.Module, teaching: Examples, plan: IntentPlan, purpose: str) -> Parameters:
        seed = derived_seed(self.config.seed, 0, purpose)
        weigh_terms(network, teaching.x)
        fit(network, teaching.x, None, plan=plan.fitting(), seed=seed, labels=teaching.y)
        return parameters_of(network)
