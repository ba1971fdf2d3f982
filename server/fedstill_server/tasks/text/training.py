"""Train a recurrent student of text, on what comes next and on what a teacher says of it.

The texts come in a new order each epoch, one behind another, cut into rows at another place each time. Small
data asks for much dropout, of whole words, of inputs and of what the table is read with, the same at all
places of a row (Gal and Ghahramani, 2016, arXiv:1512.05287; Merity et al., 2018, arXiv:1708.02182). AdamW's
rate rises to its peak in a seventh of the steps and falls to 0 along half a cosine.

Each step's rows are halved, and a thread of its own takes each half: as many bits come out of one core as of
two. All chance follows from the seed and the epoch, and a checkpoint is written after each: training that was
killed goes on as if it had not been, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.vocabulary import START
from torch import Tensor, nn

from fedstill_server.families.language import GatedRecurrentNetwork
from fedstill_server.randomness import derived_seed
from fedstill_server.tasks.text.softmax.candidate_words import CandidateWords
from fedstill_server.tasks.text.softmax.tied_softmax import NextWordTargets, next_word_loss
from fedstill_server.training.checkpoint import TrainingState, read_checkpoint, write_checkpoint

_RISING, _FIRST_RATE = 1 / 7, 1 / 25  # share of the steps; of the peak
_LARGEST_GRADIENT = 1.0
_UNSEEN, _PRIOR_SCALE = 0.3, 4.0  # times that a word is said which is not; of a column beside the others
_SUM_ERROR = 1e-3  # of float32 over thousands of words


@dataclass(frozen=True, kw_only=True)
class TextPlan:
    """How a recurrent student is trained. Dropouts and soft_weight are shares."""

    epochs: int
    learning_rate: float = 5e-3
    weight_decay: float = 0.05
    batch_size: int = 32  # rows of a step
    places: int = 32  # words of a row
    word_dropout: float = 0.1
    input_dropout: float = 0.3
    output_dropout: float = 0.4
    soft_weight: float = 0.0
    candidates: int = 0  # words drawn for a step's softmax where there is no soft label; 0: all words

    def __post_init__(self) -> None:
        if self.candidates < 0:
            raise InvalidValue("candidates", f"{self.candidates}; give 0 for all words, or more")
        for name in ("epochs", "batch_size", "places"):
            if getattr(self, name) < 1:
                raise InvalidValue(name, f"{getattr(self, name)}; give 1 or more")
        for name in ("word_dropout", "input_dropout", "output_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InvalidValue(name, f"{getattr(self, name)}; give a share from 0 to below 1")
        if not 0 <= self.soft_weight <= 1:
            raise InvalidValue("soft_weight", f"{self.soft_weight}; give a share, 0 to 1")
        if not 0 < self.learning_rate < math.inf:
            raise InvalidValue("learning_rate", f"{self.learning_rate}; give a rate above 0")


@dataclass(frozen=True, eq=False)
class RestShares:
    """How all words, the named too, share what a soft label leaves; both sides know it, so it costs no byte.

    Counts of the public texts say more than the student, which spreads the rest by what it knows already: at
    first nothing.
    """

    table: FloatArray  # [m, V], rows of sum 1: for example one for each word that may stand before
    row: IntArray  # [places], of the table

    def __post_init__(self) -> None:
        sums = self.table.sum(axis=1, dtype=np.float64)
        if not ((self.table >= 0).all() and (abs(sums - 1) <= _SUM_ERROR).all()):
            raise InvalidValue("table", "a row that is not of shares of sum 1; divide it by its sum")
        if len(self.row) and not 0 <= self.row.min() <= self.row.max() < len(self.table):
            raise InvalidValue("row", f"{self.row.min()} to {self.row.max()} of {len(self.table)} rows")


@dataclass(frozen=True, eq=False)
class SoftWords:
    """What a teacher says comes after each place of encoded texts, START first, one text behind another."""

    named: IntArray  # [places, k] different words
    chances: FloatArray  # [places, k]; the rest is 1 less their sum
    rest: RestShares | None = None  # without: the rest stays spread as the student itself spreads it


Progress = Callable[[int, int, float], None]
"""Told of steps done, steps in all (a few more than there are), and the last one's mean loss."""


def train_text(
    student: GatedRecurrentNetwork,
    texts: Sequence[Sequence[int]],
    plan: TextPlan,
    *,
    seed: int,
    soft: SoftWords | None = None,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    on_step: Progress = lambda done, steps, loss: None,
) -> GatedRecurrentNetwork:
    """Train `student` in place on encoded texts, and return it.

    checkpoint: where the training is kept between epochs; `fingerprint` says whose it is.
    """
    stream = _Stream(texts, soft)
    optimizer = torch.optim.AdamW(
        student.parameters(),
        lr=plan.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=plan.weight_decay,
        fused=True,
    )
    state = TrainingState(
        epoch=0, modules={"student": student}, optimizer=optimizer, trained=[*student.parameters()]
    )
    done = 0
    if checkpoint is not None and checkpoint.exists():
        done = read_checkpoint(checkpoint, state, fingerprint=fingerprint)
    steps = stream.rows(plan.places) // plan.batch_size + 1
    drawn = None
    if plan.candidates and soft is None:
        drawn = CandidateWords(texts, words=student.embedding.num_embeddings, drawn=plan.candidates)
    student.train()
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as beside:
        for epoch in range(done, plan.epochs):
            random = torch.Generator().manual_seed(derived_seed(seed, epoch, "text"))
            for step, (x, targets) in enumerate(stream.batches(plan, random)):
                for group in optimizer.param_groups:
                    group["lr"] = plan.learning_rate * _rate(epoch * steps + step, plan.epochs * steps)
                dropped = _Dropped.draw(student, x, plan, random)
                if drawn is not None:
                    targets = drawn.narrowed(targets, random)
                loss = _put_gradients(student, x, targets, dropped, beside)
                nn.utils.clip_grad_norm_(student.parameters(), _LARGEST_GRADIENT)
                optimizer.step()
                on_step(epoch * steps + step + 1, plan.epochs * steps, loss)
            if checkpoint is not None:
                write_checkpoint(checkpoint, replace(state, epoch=epoch + 1), fingerprint=fingerprint)
    return student.eval()


def _put_gradients(
    student: GatedRecurrentNetwork,
    x: Tensor,
    targets: NextWordTargets,
    dropped: _Dropped,
    beside: ThreadPoolExecutor,
) -> float:
    """Give parameters the gradients of the mean loss of rows x [B, S], which is returned."""
    parameters, middle = [*student.parameters()], (len(x) + 1) // 2

    def of_rows(rows: slice) -> tuple[float, Sequence[Tensor]]:
        begin, end, _ = rows.indices(len(x))
        places = slice(begin * x.shape[1], end * x.shape[1])
        states = _states(student, x[rows], dropped.of(rows))
        loss = next_word_loss(states, student.embedding.weight, targets[places]) * ((end - begin) / len(x))
        return float(loss.detach()), torch.autograd.grad(loss, parameters)

    waiting = beside.submit(of_rows, slice(middle, None)) if middle < len(x) else None
    loss, gradients = of_rows(slice(0, middle))
    if waiting is not None:
        other, others = waiting.result()
        loss += other
        for gradient, more in zip(gradients, others, strict=True):
            gradient += more
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    return loss


def start_from_frequencies(
    student: GatedRecurrentNetwork, texts: Sequence[Sequence[int]]
) -> GatedRecurrentNetwork:
    """Let a new student's first column say how frequent each word of encoded texts is, and return it.

    Logits then begin as logarithms of frequencies, and nothing has to be learned for that; the column goes on
    learning as the others do. A student whose state is read by the table itself stays as it is.
    """
    if student.to_word is None:
        return student
    said = np.concatenate([np.asarray([START, *text], np.int64) for text in texts])
    logs = np.log(np.bincount(said, minlength=student.embedding.num_embeddings) + _UNSEEN)
    with torch.no_grad():
        student.embedding.weight[:, 0] = torch.from_numpy((logs - logs.mean()) / _PRIOR_SCALE).float()
        student.to_word.weight[0] = 0
        student.to_word.bias[0] = _PRIOR_SCALE
    return student


class _Stream:
    """Texts in any order, one behind another."""

    def __init__(self, texts: Sequence[Sequence[int]], soft: SoftWords | None) -> None:
        padded = [[START, *text] for text in texts]
        self._words = torch.tensor([word for text in padded for word in text])
        self._lengths = np.array([len(text) for text in padded])
        self._begins = np.cumsum(self._lengths) - self._lengths
        self._soft = self._rest = None
        if soft is not None:
            if len(soft.named) != len(self._words):
                raise InvalidValue("soft", f"{len(soft.named)} places of {len(self._words)}")
            # A teacher's answers are the most of what training keeps in memory: 4 bytes a number.
            self._soft = (torch.from_numpy(soft.named.astype(np.int32)), torch.from_numpy(soft.chances))
            if soft.rest is not None:
                if len(soft.rest.row) != len(self._words):
                    raise InvalidValue("rest", f"{len(soft.rest.row)} places of {len(self._words)}")
                self._rest = (torch.from_numpy(soft.rest.table), torch.from_numpy(soft.rest.row))

    def rows(self, places: int) -> int:
        """How many rows of so many words there are, wherever the first one begins."""
        return max(0, len(self._words) - 1) // places

    def batches(self, plan: TextPlan, random: torch.Generator) -> Iterator[tuple[Tensor, NextWordTargets]]:
        """The steps of an epoch: words [B, S], and what comes after each, place by place."""
        order = torch.randperm(len(self._lengths), generator=random).numpy()
        places = torch.from_numpy(
            np.concatenate(
                [np.arange(self._begins[text], self._begins[text] + self._lengths[text]) for text in order]
            )
        )
        first = int(torch.randint(plan.places, (1,), generator=random))
        rows = max(0, len(places) - 1 - first) // plan.places
        # The START behind the last word of a text is the next text's, whatever that is; the last row's last
        # place may have none, and is left.
        seen = places[first : first + rows * plan.places].reshape(rows, plan.places)
        said = places[first + 1 : first + 1 + rows * plan.places].reshape(rows, plan.places)
        for chosen in torch.randperm(rows, generator=random).split(plan.batch_size):  # type: ignore[no-untyped-call]
            here, next_word = seen[chosen], self._words[said[chosen].reshape(-1)]
            if self._soft is None:
                yield self._words[here], NextWordTargets(next_word)
            else:
                named, chances = (part[here.reshape(-1)] for part in self._soft)
                targets = NextWordTargets(next_word, named.long(), chances, plan.soft_weight)
                if self._rest is not None:
                    table, row = self._rest
                    targets = replace(targets, shares=table, shares_of=row[here.reshape(-1)].long())
                yield self._words[here], targets


@dataclass(frozen=True)
class _Dropped:
    """Factors, 0 of what is dropped: of words [V], inputs [B, 1, width], outputs [B, 1, state width]."""

    words: Tensor
    inputs: Tensor | None
    outputs: Tensor | None

    @classmethod
    def draw(
        cls, student: GatedRecurrentNetwork, x: Tensor, plan: TextPlan, random: torch.Generator
    ) -> _Dropped:
        table = student.embedding
        return cls(
            _kept((table.num_embeddings,), plan.word_dropout, random),
            _kept((len(x), 1, table.embedding_dim), plan.input_dropout, random)
            if plan.input_dropout
            else None,
            _kept((len(x), 1, student.width), plan.output_dropout, random) if plan.output_dropout else None,
        )

    def of(self, rows: slice) -> _Dropped:
        inputs = None if self.inputs is None else self.inputs[rows]
        return _Dropped(self.words, inputs, None if self.outputs is None else self.outputs[rows])


def _kept(shape: tuple[int, ...], share: float, random: torch.Generator) -> Tensor:
    return (torch.rand(shape, generator=random) >= share).float() / (1 - share)


def _states(student: GatedRecurrentNetwork, x: Tensor, dropped: _Dropped) -> Tensor:
    """What the table is read with at each place of x [B, S]: [B * S, width]."""
    words = student.embedding(x) * dropped.words[x].unsqueeze(-1)
    if dropped.inputs is not None:
        words = words * dropped.inputs
    states = recurrent_states(student, words)
    if dropped.outputs is not None:
        states = states * dropped.outputs
    return student.said(states.reshape(-1, states.shape[-1]))


def recurrent_states(student: GatedRecurrentNetwork, words: Tensor) -> Tensor:
    """States [B, S, state width] after each of the words [B, S, width], in torch's one fast operator."""
    of_word, of_state = student.of_word, student.of_state
    weights = [of_word.weight, of_state.weight, of_word.bias, of_state.bias]
    first = words.new_zeros(1, len(words), student.width)
    gru: Any = torch.gru
    states: Tensor = gru(words, first, weights, True, 1, 0.0, False, False, True)[0]
    return states


def _rate(step: int, steps: int) -> float:
    """Share of the peak rate."""
    rising = _RISING * steps
    if step < rising:
        return _FIRST_RATE + (1 - _FIRST_RATE) * (1 - math.cos(math.pi * step / rising)) / 2
    return (1 + math.cos(math.pi * min(1.0, (step - rising) / (steps - rising)))) / 2
