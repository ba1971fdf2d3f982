"""A tagger learns the marked utterances of a table, each several times, at homes with other names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.ngrams import TEXT_LIMIT
from fedstill_proto.text.slot_words import UNKNOWN, KnownNames, SlotWords, known_words, slot_words
from fedstill_proto.text.slots import SlotKind, SlotSchema
from torch import Tensor, nn

from fedstill_server.tasks.utterances.slots.invented import REPLACED, Inventor, MarkedText
from fedstill_server.tasks.utterances.slots.tagger import SlotTagger
from fedstill_server.training.networks import one_deterministic_thread

OnEpoch = Callable[[int, float], None]
"""(epochs done, mean loss)"""
_FORGOTTEN = 0.5  # of the names that a table says, that are taken for unknown ones
_MOST_TIMES = 40  # that an utterance is said anew
_NOTHING = -100  # the label of a place without a word, which the loss leaves out


@dataclass(frozen=True, kw_only=True)
class SlotPlan:
    """How a tagger learns. seen: utterances in all, of a large table; each is seen equally often."""

    seen: int = 400_000
    passes: int = 8  # over what was said anew
    batch_size: int = 32
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    ngram_dropout: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (("seen", 1, 10**7), ("passes", 1, 1000), ("batch_size", 1, 1024)):
            if not least <= getattr(self, name) <= most:
                raise InvalidValue(name, f"{getattr(self, name)}; give {least} to {most}")


@dataclass(frozen=True, eq=False)
class LearnedTagger:
    """A tagger that has learned, and the slots that it finds."""

    network: SlotTagger
    schema: SlotSchema

    @property
    def parameter_count(self) -> int:
        return sum(weight.numel() for weight in self.network.parameters())


def learned_tagger(
    table: Sequence[MarkedText],
    *,
    plan: SlotPlan | None = None,
    buckets: int = 2048,
    on_epoch: OnEpoch = lambda epoch, loss: None,
) -> LearnedTagger:
    """A tagger of the slots that are marked in a table; raises InvalidValue where none is."""
    chosen = plan or SlotPlan()
    names = tuple(sorted({span.name for each in table for span in each.spans}))
    if not names:
        raise InvalidValue("slots", "none is marked")
    schema = SlotSchema(names, buckets, known_words(each.text for each in table))
    examples = _said_anew(table, schema, chosen)
    with one_deterministic_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(chosen.seed)
        network = SlotTagger(buckets, schema.labels)
        _fit(network, examples, chosen, on_epoch)
    return LearnedTagger(network.eval(), schema)


def _said_anew(
    table: Sequence[MarkedText], schema: SlotSchema, plan: SlotPlan
) -> list[tuple[SlotWords, np.ndarray]]:
    inventor, random = Inventor.of_table(table), np.random.default_rng([plan.seed, 46])
    examples = []
    for _ in range(min(_MOST_TIMES, max(1, round(plan.seen / plan.passes / len(table))))):
        for each in table:
            anew = inventor.anew(each, random)
            home = inventor.home(anew, random)
            known = None if home is None else KnownNames.of_home(home)
            words = slot_words(anew.text[:TEXT_LIMIT], schema, known=known)
            if words.places:
                _forget(words, anew, random)
                examples.append((words, words.labels(anew.spans, schema.names)))
    return examples


def _forget(words: SlotWords, utterance: MarkedText, random: np.random.Generator) -> None:
    """Take some of the words of names for words that nobody knows."""
    for span in utterance.spans:
        if SlotKind.of_name(span.name) in REPLACED and random.random() < _FORGOTTEN:
            inside = words.words_of(span.begin, span.end)
            words.features[inside.start : inside.stop, UNKNOWN] = 1.0


def _fit(
    network: SlotTagger, examples: list[tuple[SlotWords, np.ndarray]], plan: SlotPlan, on_epoch: OnEpoch
) -> None:
    steps = plan.passes * -(-len(examples) // plan.batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    course = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / max(1.0, 0.1 * steps), (steps - step) / steps)
    )
    loss_of = nn.CrossEntropyLoss(ignore_index=_NOTHING, label_smoothing=0.02)
    random = np.random.default_rng([plan.seed, 47])
    network.train()
    for epoch in range(plan.passes):
        total = 0.0
        order = random.permutation(len(examples))
        for begin in range(0, len(order), plan.batch_size):
            batch = [examples[at] for at in order[begin : begin + plan.batch_size]]
            numbers, features, there, labels = _padded(batch)
            logits = network(numbers, features, there, dropout=plan.ngram_dropout)
            loss = loss_of(logits.flatten(0, 1), labels.flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            course.step()
            total += float(loss.detach()) * len(batch)
        on_epoch(epoch + 1, total / len(examples))


def _padded(batch: list[tuple[SlotWords, np.ndarray]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    longest = max(len(labels) for _, labels in batch)
    grams = max(int((words.numbers > 0).sum(1).max()) for words, _ in batch)
    numbers = np.zeros((len(batch), longest, max(grams, 1)), np.int64)
    features = np.zeros((len(batch), longest, batch[0][0].features.shape[1]), np.float32)
    there = np.zeros((len(batch), longest), np.float32)
    labels = np.full((len(batch), longest), _NOTHING, np.int64)
    for row, (words, known) in enumerate(batch):
        numbers[row, : len(known)] = words.numbers[:, : numbers.shape[2]]
        features[row, : len(known)] = words.features
        there[row, : len(known)] = 1.0
        labels[row, : len(known)] = known
    return tuple(torch.from_numpy(each) for each in (numbers, features, there, labels))  # type: ignore[return-value]
