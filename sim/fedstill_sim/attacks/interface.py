"""What an attack is: what its devices train on, and what they say in place of their honest answers.

An attack is a frozen dataclass of its options. One of your own is a subclass in any module:

    class Contrary(Attack):
        line = "all devices say the class that the fleet believes in least"
        sharpness: float = option(5.0, "How sure they are, in logits.", above=0)

        def soft_labels(self, view: LabelView) -> LabelAnswers:
            return view.own.saying(softmax(-self.sharpness * view.leaning))

`--attack module:Contrary` runs it. What it returns is encoded with the round's codec and goes through the
server's gate as any answer does. It must follow from the view alone: a run that is resumed asks anew.
"""

from __future__ import annotations

import functools
from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Float64Array, FloatArray, IntArray
from fedstill_proto.messages import SummaryKind, SummaryRequest
from fedstill_server.config.options import WithOptions
from fedstill_server.data.forms import Labels
from fedstill_server.methods.interface import Method

from fedstill_sim.attacks.answers import LabelAnswers, ParameterAnswers, centred_logits, softmax
from fedstill_sim.data.fleet import FleetData

_LEAST = 1e-4  # a probability is taken for no smaller, whatever a codec could say


@dataclass(frozen=True, kw_only=True, eq=False)
class _View:
    """What all views hold.

    Attributes:
        round: From 1.
        rounds: How many there will be.
        method: The fleet's method with its options, the fold that the server uses among them.
        request: What devices are asked for.
        generator: Seeded for this round; the only randomness that an attack may use.
    """

    round: int
    rounds: int
    method: Method
    request: SummaryRequest
    generator: np.random.Generator


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelView(_View):
    """A round of soft labels as adversaries see it, who know everything: all answers are there.

    Attributes:
        honest: The honest devices' answers.
        own: Those which the adversaries would give if they were honest.
        told: What the server told the devices of the rows before, [rows, classes]; uniform where nothing.
        labels: The true classes of the rows, int64 [rows], where the server has and uses labels.
        x: The public rows themselves [rows, *shape]; none where the rows are classes.
    """

    honest: LabelAnswers
    own: LabelAnswers
    told: Float64Array
    labels: IntArray | None
    x: FloatArray

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return int(self.told.shape[1])

    @property
    def rows(self) -> int:
        """How many rows are asked for."""
        return len(self.told)

    @property
    def least(self) -> float:
        """The probability that the codec's smallest is read as."""
        least = _LEAST if self.request.codec is None else self.request.codec.least
        return max(least, _LEAST)

    @functools.cached_property
    def logits(self) -> Float64Array:
        """The honest devices' centred logits [n, rows, classes]."""
        return self.honest.logits(self.least)

    @functools.cached_property
    def mean(self) -> Float64Array:
        """The mean of the honest devices' centred logits, of those that answer a row: [rows, classes]."""
        votes = self.honest.said.sum(axis=0)[:, None]
        total = (self.logits * self.honest.said[:, :, None]).sum(axis=0)
        mean: Float64Array = total / np.maximum(votes, 1)
        return mean

    @functools.cached_property
    def start(self) -> Float64Array:
        """Logits [rows, classes] of a device that learned nothing: 0 where it answers how far it moved."""
        if self.request.relative:
            return np.zeros_like(self.told)
        return centred_logits(self.told, least=self.least)

    @functools.cached_property
    def leaning(self) -> Float64Array:
        """What the fleet believes of the rows after the honest answers, as logits [rows, classes]."""
        if self.request.relative:
            return centred_logits(self.told, least=self.least) + self.mean
        return self.mean

    @functools.cached_property
    def moved(self) -> Float64Array:
        """How far each honest device moved from where it began, in logits [n, rows, classes]."""
        moved: Float64Array = (self.logits - self.start) * self.honest.said[:, :, None]
        return moved

    @functools.cached_property
    def usual_length(self) -> float:
        """How long an honest row's move is at most, usually: what a fold that clips lets through.

        Of each device the 75th percentile of its rows' norms; of these the lower median.
        """
        lengths = np.linalg.norm(self.moved, axis=2)
        each = [np.percentile(one[said], 75) for one, said in zip(lengths, self.honest.said, strict=True)]
        ordered = np.sort(np.array(each))
        return float(ordered[(len(ordered) - 1) // 2])

    @functools.cached_property
    def rivals(self) -> tuple[IntArray, IntArray]:
        """The right class of each row, as far as is known, and the likeliest of the others: [rows] each."""
        right = self.leaning.argmax(axis=1) if self.labels is None else self.labels
        others = np.where(np.eye(self.classes, dtype=np.bool_)[right], -np.inf, self.leaning)
        return right, others.argmax(axis=1)

    @functools.cached_property
    def harm(self) -> Float64Array:
        """The direction of length 1 that takes each row soonest to a wrong class: [rows, classes]."""
        right, rival = self.rivals
        harm: Float64Array = (np.eye(self.classes)[rival] - np.eye(self.classes)[right]) / np.sqrt(2)
        return harm

    def having_moved(self, moves: Float64Array) -> Float64Array:
        """Probabilities of a device that moved so far, in logits [rows, classes] or [n, rows, classes]."""
        return softmax(np.clip(self.start + moves, -700, 700))

    def rounded(self, probabilities: Float64Array) -> Float64Array:
        """Probabilities [rows, classes] as the server will read them."""
        if self.request.codec is None:
            return probabilities
        return self.request.codec.rounded(probabilities.astype(np.float32)).dense().astype(np.float64)

    def claimed_counts(self) -> IntArray:
        """Counts that look like an honest device's [adversaries, classes]: of each class the largest one of
        the honest devices, where the rows are classes, and otherwise the adversary's own."""
        if self.request.kind is not SummaryKind.CLASS_MEANS:
            return self.own.counts
        most = np.maximum(self.honest.counts.max(axis=0), 1)
        return np.broadcast_to(most, self.own.counts.shape).copy()

    def saying(self, probabilities: Float64Array) -> LabelAnswers:
        """All adversaries answer every row with [rows, classes], or each with its own [n, rows, classes]."""
        said = self.own.saying(probabilities)
        return LabelAnswers(probabilities=said.probabilities, said=said.said, counts=self.claimed_counts())


@dataclass(frozen=True, kw_only=True, eq=False)
class ParameterView(_View):
    """A round of parameters of one family as adversaries see it.

    Attributes:
        honest: The honest devices' answers.
        own: Those which the adversaries would give if they were honest.
        start: The student that all were given, [width].
    """

    honest: ParameterAnswers
    own: ParameterAnswers
    start: Float64Array

    @functools.cached_property
    def moved(self) -> Float64Array:
        """How far each honest student moved from its start [n, width]."""
        return self.honest.parameters - self.start

    @functools.cached_property
    def mean(self) -> Float64Array:
        """The mean of that [width]."""
        mean: Float64Array = self.moved.mean(axis=0)
        return mean


@dataclass(frozen=True, eq=False)
class Trial:
    """What shows whether an attack has succeeded: examples [n, *shape], and the class that the attacker wants
    each to get [n]."""

    x: FloatArray
    wanted: npt.NDArray[np.int64]


class Attack(WithOptions, ABC):
    """Override `soft_labels`, `parameters` or both to lie, `poisoned` to train honestly on false data."""

    line: ClassVar[str] = ""  # what it does, and where it is from; the docstring's first line unless it says

    def soft_labels(self, view: LabelView) -> LabelAnswers:
        """What the adversaries say in a round of soft labels, in the order of `view.own`."""
        return view.own

    def parameters(self, view: ParameterView) -> ParameterAnswers:
        """What they say in a round of parameters."""
        return view.own

    def poisoned(self, data: FleetData, adversaries: IntArray, generator: np.random.Generator) -> FleetData:
        """The fleet's data with what the adversaries train on; see `poisoning.with_training_examples`."""
        return data

    @classmethod
    def misfit(cls, method: type[Method]) -> str | None:
        """Why it makes no sense for a method whose kind of answer it could lie about; None where it does."""
        return None

    def trial(self, data: FleetData) -> Trial | None:
        """What shows success beside the fleet's accuracy; None where nothing does."""
        return None


def overrides(attack: type[Attack], name: str) -> bool:
    """Whether an attack has a function of its own under a name of Attack."""
    own: Callable[..., object] = getattr(attack, name)
    return own is not getattr(Attack, name)


_PARTS = {
    SummaryKind.PUBLIC_SET: "soft_labels",
    SummaryKind.CLASS_MEANS: "soft_labels",
    SummaryKind.PARAMETERS: "parameters",
}
_WORDS = {
    SummaryKind.PUBLIC_SET: "soft labels of public rows",
    SummaryKind.CLASS_MEANS: "soft labels of classes",
    SummaryKind.PARAMETERS: "parameters",
    SummaryKind.CLASS_PROTOTYPES: "class prototypes",
}


def unsuited(attack: type[Attack], method: type[Method]) -> str | None:
    """Why an attack makes no sense for a method, in a line; None where it does."""
    answers = method.answers
    if answers is SummaryKind.NONE or overrides(attack, "poisoned"):
        return None
    if answers is not SummaryKind.PARAMETERS and Labels.ONE not in method.label_places:
        return "its soft labels stand at each place of a text, of which no attack is made"
    part = _PARTS.get(answers)
    if part is not None and overrides(attack, part):
        return attack.misfit(method)
    lies = [word for kind, word in _WORDS.items() if kind in _PARTS and overrides(attack, _PARTS[kind])]
    return f"its devices answer with {_WORDS[answers]}, and the attack lies about {' and '.join(lies)}"
