"""Word trigrams, and how much a keyboard's suggestions are worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fedstill_client.keyboard.suggester import Suggester
from fedstill_client.keyboard.user_ngrams import UserNgrams
from fedstill_proto.text.vocabulary import MARKS, SPECIAL, START, WordList
from fedstill_sim.tasks.text.data import Typist
from fedstill_sim.tasks.text.measures import Tally, changed, measure
from fedstill_sim.tasks.text.personal import impersonal, personal
from fedstill_sim.tasks.text.trigrams import WordTrigrams

A, B, C = 2, 3, 4
WORDS = WordList((*SPECIAL, *MARKS, "apple", "apricot", "bread", "butter", "zebra"))


def test_trigrams_by_hand() -> None:
    model = WordTrigrams([[A, B], [A, C]], words=5, start=START)

    # Of 4 words, 3 different: p(A) = (2 + 3/5) / 7, p(B) = (1 + 3/5) / 7.
    one = np.array([3 / 5, 3 / 5, 2 + 3 / 5, 1 + 3 / 5, 1 + 3 / 5]) / 7
    after_a = (2 * one + np.array([0, 0, 0, 1, 1])) / 4  # A was followed by B and by C
    after_start_a = (2 * after_a + np.array([0, 0, 0, 1, 1])) / 4
    np.testing.assert_allclose(model.next_words([START, A]), after_start_a)
    np.testing.assert_allclose(model.next_words([C, A]), after_a)  # this pair was never seen
    np.testing.assert_allclose(model.next_words([A, B]), one)
    for context in ([START], [A], [A, C], [B, B]):
        assert model.next_words(context).sum() == pytest.approx(1)
    texts = list(model.along([START, A, B]))
    np.testing.assert_allclose(texts[2], one)
    np.testing.assert_allclose(texts[1], after_start_a)


class Fixed:
    """Says the same after everything."""

    def __init__(self, *chances: float) -> None:
        self.chances = np.array([0, 0, 0.1, 0, 0, 0, 0, 0, *chances])

    def next_words(self, context: object) -> np.ndarray:
        return self.chances

    def along(self, text: list[int]) -> object:
        return iter([self.chances] * len(text))


def test_measures_by_hand() -> None:
    suggester = impersonal(WORDS, Fixed(0.4, 0.05, 0.3, 0.1, 0.05))  # type: ignore[arg-type]

    tally = measure(suggester, ["Apple butter, apricot. Zonk"])

    # apple stands first: 1 keystroke of 6; butter third: 1 of 7; apricot fifth of all and second behind "a":
    # 2 of 8; zonk never: 5 of 5; two marks.
    assert (tally.words, tally.first, tally.shown) == (4, 1, 2)
    assert (tally.letters, tally.keystrokes) == (6 + 7 + 8 + 5 + 2, 1 + 1 + 2 + 5 + 2)
    assert (tally.new, tally.new_shown) == (1, 0)
    assert (tally.tokens, tally.token_first, tally.token_shown) == (
        6,
        1,
        2,
    )  # "." is the third, before butter
    assert tally.listed == 5
    assert tally.keystrokes_saved == pytest.approx(1 - 11 / 28)
    assert measure(suggester, ["apple apple"]).perplexity == pytest.approx(1 / 0.4)
    assert measure(suggester, []) == Tally()
    assert measure(suggester, ["apple butter"]) + measure(suggester, ["zonk"]) == measure(
        suggester, ["apple butter", "zonk"]
    )


def test_own_words_are_counted_and_found() -> None:
    model = Fixed(0.4, 0.05, 0.3, 0.1, 0.05)
    typist = Typist(
        "ada", ("zonk zebra", "zonk zebra", "zonk zebra", "zonk bread", "zonk zebra"), ("zonk zebra",)
    )

    before = measure(impersonal(WORDS, model), typist.test)  # type: ignore[arg-type]
    after = measure(personal(WORDS, model, typist), typist.test)  # type: ignore[arg-type]

    assert (before.new, before.new_shown, after.new_shown) == (1, 0, 1)
    assert after.keystrokes < before.keystrokes
    assert after.perplexity < before.perplexity


def test_what_is_typed_is_counted_where_that_is_asked_for() -> None:
    model, texts = Fixed(0.4, 0.05, 0.3, 0.1, 0.05), ["zonk"] * 5
    still, learning = impersonal(WORDS, model), impersonal(WORDS, model)  # type: ignore[arg-type]

    assert measure(still, texts).new_shown == 0
    assert measure(learning, texts, observes=True).new_shown == 4  # it was typed before
    assert (still.ngrams.texts, learning.ngrams.texts) == (0, 5)


def test_what_is_suggested_is_what_is_measured() -> None:
    own = UserNgrams(WORDS)
    for text in ("apply butter", "apply the apply", "zebra apricot"):
        own.add(text)
    suggester = Suggester(own, Fixed(0.4, 0.05, 0.3, 0.1, 0.05))  # type: ignore[arg-type]
    for word in ("apple", "apply", "zebra", "butter"):
        tally = measure(suggester, [word])
        typed = next(
            (
                n
                for n in range(len(word))
                if word in [s.word.lower() for s in suggester.suggest("", word[:n])]
            ),
            len(word),
        )
        assert tally.keystrokes == typed + 1


def test_change_by_device() -> None:
    change = changed([0.1, 0.2, 0.3, 0.4], [0.12, 0.2, 0.28, 0.48])

    assert change.mean == pytest.approx(0.02)
    half = 1.96 * np.std([0.02, 0, -0.02, 0.08], ddof=1) / 2
    assert (change.low, change.high) == pytest.approx((0.02 - half, 0.02 + half))
    assert (change.better, change.worse) == (0.5, 0.25)
    assert changed([0.1], [0.2]).high == math.inf
