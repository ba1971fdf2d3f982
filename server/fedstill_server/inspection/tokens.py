"""How well a student of text says the next token, and whether its confidence means what it says, by token.

Logits of all rows do not fit into memory: they are looked at a part at a time, and what is kept of each token
is the first choice, the place of the right one, the top probability and the likelihood, at two temperatures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray

from fedstill_server.calibration import Calibration, bins_of, calibration_error
from fedstill_server.inspection.corruption import Answer

SHOWN = 3
"""How many suggestions a keyboard shows."""
_VALUES_AT_ONCE = 1 << 22  # logits: 16 MB
_FITTED_VALUES = 1 << 23  # logits that a temperature is fitted to
_COMMON = (10, 100, 1000)

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenAnswers:
    """What a student says of each of n next tokens.

    Attributes:
        labels: The right ones [n].
        first: Its first choices [n].
        rank: How many tokens it holds likelier than the right one [n].
        word_rank: The same among whole words alone [n]; empty without a word list.
        confidence: The top probabilities [n].
        nats: -log p of the right ones [n].
        brier: Brier scores [n].
        temperature: What logits were divided by, for the last three.
    """

    labels: IntArray
    first: IntArray
    rank: IntArray
    word_rank: IntArray
    confidence: Floats
    nats: Floats
    brier: Floats
    temperature: float

    def calibration(self, part: Bools | slice = slice(None)) -> Calibration:
        """Of all tokens, or of some."""
        right = (self.first == self.labels)[part]
        bins = bins_of(self.confidence[part], right)
        return Calibration(
            temperature=self.temperature,
            accuracy=float(right.mean()),
            ece=calibration_error(bins),
            brier=float(self.brier[part].mean()),
            negative_log_likelihood=float(self.nats[part].mean()),
            bins=bins,
        )


@dataclass(frozen=True, kw_only=True)
class TokenSlice:
    """Tokens of one kind: how many, and how well they are said and their confidence is meant."""

    name: str
    tokens: int
    accuracy: float
    shown: float
    perplexity: float
    ece: float


@dataclass(frozen=True, kw_only=True)
class TextFigures:
    """How good a student of text is.

    Attributes:
        tokens: Next tokens that it was judged by.
        rows: Rows of them.
        of_rows: Rows that there are.
        perplexity: exp of the mean -log p.
        top1: Share of tokens that are its first choice.
        top3: Share that are among its three likeliest.
        words: Those of the tokens that are whole words of the list; 0 without a list.
        word_top1: Share of words that are the first word that it would suggest, before a letter is typed.
        word_top3: Share of words that need no keystroke but the choice: they are among the three words that a
            keyboard shows before a letter is typed.
        slices: By the token's kind, how common it is, and its place in the row.
    """

    tokens: int
    rows: int
    of_rows: int
    perplexity: float
    top1: float
    top3: float
    words: int
    word_top1: float
    word_top3: float
    slices: tuple[TokenSlice, ...]


def token_answers(
    answer: Answer,
    x: npt.NDArray[Any],
    labels: IntArray,
    *,
    temperature: float = 1.0,
    words: IntArray | None = None,
) -> TokenAnswers:
    """Ask a student about rows.

    Args:
        answer: Its graph: rows [n, S] to logits [n, S, V].
        x: Rows [n, S].
        labels: The next tokens [n, S]; a place without one has -1, and is left out.
        temperature: What logits are divided by.
        words: The numbers of whole words, that suggestions are made of; None where there is no word list.
    """
    is_word = None
    found: list[dict[str, np.ndarray]] = []
    for part, logits in logits_of_parts(answer, x):
        flat, right = logits.reshape(-1, logits.shape[-1]), labels[part].reshape(-1)
        flat, right = flat[right >= 0], right[right >= 0]
        if words is not None and is_word is None:
            is_word = np.zeros(flat.shape[1], bool)
            is_word[words] = True
        found.append(_of_tokens(flat, right, temperature, is_word))
    every = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
    return TokenAnswers(temperature=temperature, **every)


def _of_tokens(
    logits: FloatArray, labels: IntArray, temperature: float, is_word: Bools | None
) -> dict[str, np.ndarray]:
    places = np.arange(len(labels))
    own = logits[places, labels][:, None]
    above = logits > own
    scaled = (logits - logits.max(axis=1, keepdims=True)) / np.float32(temperature)
    powers = np.exp(scaled)
    sums = powers.sum(axis=1, dtype=np.float64)
    squares = np.square(powers).sum(axis=1, dtype=np.float64) / sums**2
    right = powers[places, labels] / sums
    return {
        "labels": labels,
        "first": logits.argmax(axis=1),
        "rank": above.sum(axis=1),
        "word_rank": above[:, is_word].sum(axis=1) if is_word is not None else np.zeros(0, np.int64),
        "confidence": 1.0 / sums,  # the likeliest has exp(0)
        "nats": np.log(sums) - scaled[places, labels],
        "brier": squares - 2 * right + 1,
    }


def logits_of_parts(answer: Answer, x: npt.NDArray[Any]) -> Iterator[tuple[slice, FloatArray]]:
    """Logits [rows, S, V] of some rows after the others."""
    start, rows = 0, 1
    while start < len(x):
        part = slice(start, min(start + rows, len(x)))
        logits = answer(x[part])
        yield part, logits
        start, rows = part.stop, max(1, _VALUES_AT_ONCE // max(logits[0].size, 1))


def fitting_tokens(answer: Answer, x: npt.NDArray[Any], labels: IntArray) -> tuple[FloatArray, IntArray]:
    """Logits [m, V] and labels [m] of as many tokens as a temperature is well fitted to, spread over rows."""
    values = answer(x[:1]).size
    rows = np.unique(np.linspace(0, len(x) - 1, max(1, min(len(x), _FITTED_VALUES // values))).astype(int))
    logits = np.concatenate([one for _, one in logits_of_parts(answer, x[rows])])
    flat, right = logits.reshape(-1, logits.shape[-1]), labels[rows].reshape(-1)
    return flat[right >= 0], right[right >= 0]


def text_figures(
    answers: TokenAnswers, slices: Mapping[str, Bools], *, rows: int, of_rows: int, words: IntArray | None
) -> TextFigures:
    """What the answers come to."""
    is_word = np.isin(answers.labels, words) if words is not None else np.zeros(len(answers.labels), bool)
    word_rank = answers.word_rank[is_word] if words is not None else np.zeros(0, np.int64)
    return TextFigures(
        tokens=len(answers.labels),
        rows=rows,
        of_rows=of_rows,
        perplexity=math.exp(answers.nats.mean()),
        top1=float((answers.first == answers.labels).mean()),
        top3=float((answers.rank < SHOWN).mean()),
        words=int(is_word.sum()),
        word_top1=float((word_rank < 1).mean()) if len(word_rank) else 0.0,
        word_top3=float((word_rank < SHOWN).mean()) if len(word_rank) else 0.0,
        slices=tuple(_slice(name, answers, part) for name, part in slices.items() if part.any()),
    )


def _slice(name: str, answers: TokenAnswers, part: Bools) -> TokenSlice:
    measured = answers.calibration(part)
    return TokenSlice(
        name=name,
        tokens=int(part.sum()),
        accuracy=measured.accuracy,
        shown=float((answers.rank[part] < SHOWN).mean()),
        perplexity=math.exp(measured.negative_log_likelihood),
        ece=measured.ece,
    )


def slices_of_tokens(
    labels: IntArray, public: IntArray, *, classes: int, kinds: Mapping[str, Sequence[int]]
) -> dict[str, Bools]:
    """Which of the tokens are of what kind.

    Args:
        labels: Next tokens [n, S], -1 where there is none.
        public: Those of the public text, by which a token is common or rare.
        classes: How many tokens there are.
        kinds: Numbers of tokens by the name of their kind.

    Returns:
        By name, a mask over the tokens that are there, row by row.
    """
    flat = labels.reshape(-1)
    there = flat >= 0
    counts = np.bincount(public[public >= 0].reshape(-1), minlength=classes)
    order = np.empty(classes, np.int64)
    order[np.argsort(-counts, kind="stable")] = np.arange(classes)
    found = {f"kind: {name}": np.isin(flat, list(numbers)) for name, numbers in kinds.items()}
    low = 0
    for high in (*_COMMON, classes):
        if low < min(high, classes):
            name = f"the {high} commonest" if not low else f"commonest {low + 1} to {min(high, classes)}"
            found[name] = there & (order[flat] >= low) & (order[flat] < high)
        low = high
    quarter = np.tile(np.arange(labels.shape[1]) * 4 // labels.shape[1], len(labels))
    for number, name in enumerate(("first", "second", "third", "last")):
        found[f"place: {name} quarter of a row"] = quarter == number
    return {name: part[there] for name, part in found.items()}
