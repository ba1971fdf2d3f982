"""A keyboard's teacher: recurrent networks and Kneser-Ney trigrams, of which the mean says what comes next.

    p(w | h) = sum_i weight_i p_i(w | h)

Networks of other seeds err elsewhere (Hansen and Salamon, 1990), and counts remember what networks of small
data smooth away (Mikolov et al., 2011); the weights are those under which texts are likeliest that no part of
the teacher was trained on (expectation maximization, Jelinek and Mercer, 1980). Distilled, the mean fits into
one student (Hinton et al., 2015, arXiv:1503.02531).

A count remembers its own text too well to teach it: of a text to be taught, the trigrams are those of the
other texts (cross-fitting over folds).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.text.vocabulary import START

from fedstill_server.families.language import GatedRecurrentNetwork
from fedstill_server.tasks.text.ngrams import KneserNeyTrigrams
from fedstill_server.tasks.text.sampled_words import sampled_words
from fedstill_server.tasks.text.training import RestShares, SoftWords, recurrent_states

Texts = Sequence[Sequence[int]]

_FOLDS = 5
_ITERATIONS = 50
_VALUES_AT_ONCE = 1 << 22  # probabilities: 16 MB
_SHARED_VALUES = 1 << 27  # shares of pairs: 512 MB


@dataclass(frozen=True, eq=False)
class TextTeacher:
    """Networks, trigrams, and the weight of each, the trigrams' last: [networks + 1], of sum 1."""

    networks: tuple[GatedRecurrentNetwork, ...]
    trigrams: KneserNeyTrigrams
    weights: npt.NDArray[np.float64]

    @property
    def parameters(self) -> int:
        """Weights of the networks, and counts of the trigrams."""
        of_networks = sum(value.numel() for network in self.networks for value in network.parameters())
        return of_networks + self.trigrams.counts

    def along(self, texts: Texts) -> Iterator[FloatArray]:
        """Chances [n + 1, V] after START and after each of a text's n words, for each of the texts."""
        return _mixed(self.networks, self.trigrams, texts, self.weights)

    def soft_words(
        self,
        texts: Texts,
        *,
        k: int,
        on_fold: Callable[[int, int], None] = lambda done, folds: None,
    ) -> SoftWords:
        """The k likeliest words at each place of the texts that it was trained on."""
        found: dict[int, tuple[IntArray, FloatArray]] = {}
        for number, chances in self.taught(texts, on_fold=on_fold):
            likeliest = torch.from_numpy(chances).topk(k)
            found[number] = (likeliest.indices.numpy(), likeliest.values.numpy())
        return SoftWords(*_in_order(found))

    def sampled_words(
        self,
        texts: Texts,
        *,
        k: int,
        seed: int,
        on_fold: Callable[[int, int], None] = lambda done, folds: None,
    ) -> SoftWords:
        """k words at each place that say on average all of it, and how pairs of words share the rest."""
        random, shared = np.random.default_rng(seed), shared_by_pairs(self.trigrams, texts)
        begins = np.cumsum([0, *(len(text) + 1 for text in texts)])
        found: dict[int, tuple[IntArray, FloatArray]] = {}
        for number, chances in self.taught(texts, on_fold=on_fold):
            row = shared.row[begins[number] : begins[number + 1]]
            found[number] = sampled_words(chances, k=k, random=random, shared=shared.table, shared_row=row)
        return SoftWords(*_in_order(found), shared)

    def taught(
        self,
        texts: Texts,
        *,
        only: Collection[int] | None = None,
        on_fold: Callable[[int, int], None] = lambda done, folds: None,
    ) -> Iterator[tuple[int, FloatArray]]:
        """What students are taught of each text [n + 1, V], behind its number; one fold after another.

        only: the numbers of the texts to speak of; without, of all.
        """
        for fold in range(_FOLDS):
            others = [text for number, text in enumerate(texts) if number % _FOLDS != fold]
            trigrams = KneserNeyTrigrams(others, words=self.trigrams.words)
            here = [n for n in range(fold, len(texts), _FOLDS) if only is None or n in only]
            said = _mixed(self.networks, trigrams, [texts[number] for number in here], self.weights)
            yield from zip(here, said, strict=True)
            on_fold(fold + 1, _FOLDS)


def shared_by_pairs(trigrams: KneserNeyTrigrams, texts: Texts) -> RestShares:
    """What counts of pairs say of each place of the texts; who has the public texts can make them."""
    before, row, times = np.unique(
        [word for text in texts for word in (START, *text)], return_inverse=True, return_counts=True
    )
    most = max(1, _SHARED_VALUES // trigrams.words - 1)
    if len(before) > most:  # after the rarest words, what is likely after any word
        frequent = np.sort(np.argsort(-times, kind="stable")[:most])
        places = np.full(len(before), most)
        places[frequent] = np.arange(most)
        table = np.stack([*(trigrams.after(int(word)) for word in before[frequent]), trigrams.after(None)])
        row = places[row]
    else:
        table = np.stack([trigrams.after(int(word)) for word in before])
    return RestShares(table / table.sum(axis=1, keepdims=True), row)


def _in_order(found: dict[int, tuple[IntArray, FloatArray]]) -> tuple[IntArray, FloatArray]:
    parts = [found[number] for number in range(len(found))]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def weighed_teacher(
    networks: Sequence[GatedRecurrentNetwork], trigrams: KneserNeyTrigrams, held_out: Texts
) -> TextTeacher:
    """The teacher whose weights make texts likeliest that none of its parts has seen."""
    parts = [(network,) for network in networks]
    chances = [
        *(_of_next_words(_of_networks(part, held_out), held_out) for part in parts),
        _of_next_words(_of_trigrams(trigrams, held_out), held_out),
    ]
    evidence = np.stack(chances).astype(np.float64)  # [networks + 1, places]
    weights = np.full(len(evidence), 1 / len(evidence))
    for _ in range(_ITERATIONS if evidence.shape[1] else 0):
        shares = weights[:, None] * evidence
        weights = (shares / shares.sum(axis=0)).mean(axis=1)
    return TextTeacher(tuple(networks), trigrams, weights)


def _mixed(
    networks: Sequence[GatedRecurrentNetwork],
    trigrams: KneserNeyTrigrams,
    texts: Texts,
    weights: npt.NDArray[np.float64],
) -> Iterator[FloatArray]:
    said = _of_networks(networks, texts, weights=weights[:-1].tolist())
    for chances, counted in zip(said, _of_trigrams(trigrams, texts), strict=True):
        counted *= np.float32(weights[-1])
        counted += chances
        yield counted


def _of_trigrams(trigrams: KneserNeyTrigrams, texts: Texts) -> Iterator[FloatArray]:
    for text in texts:
        yield trigrams.along([START, *text])


def _of_networks(
    networks: Sequence[GatedRecurrentNetwork],
    texts: Texts,
    *,
    weights: Sequence[float] = (1.0,),
) -> Iterator[FloatArray]:
    """The weighted sum of what networks say after START and after each word, text by text."""
    start = 0
    while start < len(texts):
        longest, stop = 0, start
        while stop < len(texts):
            longest = max(longest, len(texts[stop]) + 1)
            rows = stop + 1 - start
            if rows > 1 and rows * longest * networks[0].embedding.num_embeddings > _VALUES_AT_ONCE:
                break
            stop += 1
        part = texts[start:stop]
        x = torch.full((len(part), max(len(text) for text in part) + 1), START)
        for row, text in enumerate(part):
            x[row, 1 : len(text) + 1] = torch.tensor(text, dtype=torch.int64)
        chances = sum(
            weight * next_words(network, x) for network, weight in zip(networks, weights, strict=True)
        )
        assert isinstance(chances, torch.Tensor)
        for row, text in enumerate(part):
            yield chances[row, : len(text) + 1].numpy()
        start = stop


def next_words(network: GatedRecurrentNetwork, x: torch.Tensor) -> torch.Tensor:
    """Chances [n, S, V] of the word after each of the rows x [n, S]."""
    with torch.no_grad():
        states = recurrent_states(network, network.embedding(x))
        logits = network.logits(states.reshape(-1, states.shape[-1]))
        return torch.softmax(logits, -1).reshape(*x.shape, -1)


def next_words_along(network: GatedRecurrentNetwork, text: Sequence[int]) -> FloatArray:
    """A network's chances [n + 1, V] after START and after each of a text's n words."""
    chances: FloatArray = next_words(network, torch.tensor([[START, *text]]))[0].numpy()
    return chances


def next_words_of(network: GatedRecurrentNetwork, texts: Texts) -> FloatArray:
    """A network's chances of all the words that came in texts, and of START behind each."""
    return _of_next_words(_of_networks((network,), texts), texts)


def _of_next_words(said: Iterator[FloatArray], texts: Texts) -> FloatArray:
    """The chances of the words that came, and of START behind the last."""
    chances = [
        of_text[np.arange(len(text) + 1), [*text, START]] for of_text, text in zip(said, texts, strict=True)
    ]
    return np.concatenate(chances) if chances else np.zeros(0, np.float32)
