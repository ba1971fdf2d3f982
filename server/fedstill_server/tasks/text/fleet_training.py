"""How a fleet of text learns on the server: a wider recurrent network as its teacher, and next words.

Text is its own label, the next word, so that there is always something to teach. The teacher learns the
teaching set's next words; a student learns them and the teacher's soft labels of them, the k likeliest words
and a rest bucket (Hinton et al. 2015, arXiv 1503.02531).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fedstill_proto.arrays import IntArray, Parameters
from fedstill_proto.soft_labels.label_arrays import TopKSoftLabels
from torch import nn

from fedstill_server.data.errors import ExamplesError
from fedstill_server.data.examples import Examples
from fedstill_server.families.language import GatedRecurrentNetwork
from fedstill_server.randomness import derived_seed
from fedstill_server.tasks.text.networks import fit_next_words, likeliest_next_words, next_word_accuracy
from fedstill_server.tasks.training import ServerTraining
from fedstill_server.training.fitting import FitPlan
from fedstill_server.training.networks import parameters_of


@dataclass(frozen=True, kw_only=True)
class TextTraining(ServerTraining):
    """Soft labels are the likeliest next words of every place: TopKSoftLabels of n * places rows.

    Attributes:
        width: Of a word in the teacher's table.
        state_width: Of the teacher's state.
        kept: Next words that the teacher's soft labels name before the first round.
        hard_weight: Of the rows' own next words, where there are soft labels.
        drawn: Of all other words, how many are named besides before the first round.
    """

    width: int
    state_width: int
    kept: int
    hard_weight: float
    drawn: int = 0

    def new_teacher(self) -> nn.Module:
        return GatedRecurrentNetwork(self.config.classes, width=self.width, state_width=self.state_width)

    def taught_teacher(self, teaching: Examples) -> Parameters:
        """The teacher after learning the teaching set's next words."""
        config, (x, y) = self.config.teacher, _rows(teaching)
        plan = self.plan(epochs=config.epochs, learning_rate=config.learning_rate)
        seed = derived_seed(self.config.seed, 0, "teach")
        return parameters_of(fit_next_words(self.teacher(), x, y, plan=plan, seed=seed))

    def distilled_student(self, family: str, teaching: Examples, teacher: Parameters) -> Parameters:
        """A family's student after learning the next words and what the teacher says of them."""
        config = self.config.teacher
        kept = min(self.kept, self.config.classes - 1 - self.drawn)
        soft_labels = likeliest_next_words(
            self.teacher(teacher), teaching.x, k=kept, temperature=config.temperature, drawn=self.drawn
        )
        plan = self.plan(
            epochs=config.student_epochs,
            learning_rate=config.student_learning_rate,
            temperature=config.temperature,
        )
        seed = derived_seed(self.config.seed, 0, f"learn/{family}")
        return self.fitted(self.student(family), teaching, soft_labels, plan=plan, seed=seed)

    def soft_labels(self, network: nn.Module, examples: Examples, *, temperature: float) -> TopKSoftLabels:
        """As many words as the fleet's tasks carry, of each place."""
        codec = self.config.downlink
        kept = codec.kept(self.config.classes) - codec.drawn
        return likeliest_next_words(network, examples.x, k=kept, temperature=temperature, drawn=codec.drawn)

    def accuracy(self, network: nn.Module, test: Examples) -> float:
        """The share of places whose next word is the likeliest."""
        return next_word_accuracy(network, *_rows(test))

    def fitted(
        self, network: nn.Module, examples: Examples, soft_labels: TopKSoftLabels, *, plan: FitPlan, seed: int
    ) -> Parameters:
        """After learning soft labels and the rows' own next words."""
        mixed = replace(plan, hard_weight=self.hard_weight)
        fitted = fit_next_words(network, *_rows(examples), plan=mixed, seed=seed, soft_labels=soft_labels)
        return parameters_of(fitted)


def _rows(examples: Examples) -> tuple[IntArray, IntArray]:
    if examples.y is None:
        raise ExamplesError("rows of text without the words that come next (y)")
    return examples.x, examples.y
