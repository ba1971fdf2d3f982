"""A keyboard's suggestions: the owner's n-grams, their weights, typing errors, completions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import pytest
from fedstill_client.keyboard.adaptation import DRAFT_WORDS, Adaptation, DraftText, Prediction, adapted
from fedstill_client.keyboard.cache_lm import (
    DECAY,
    MAX_WEIGHT,
    OFFSET,
    SAME_WORD,
    SHARPNESS,
    CacheLM,
    cache_weight,
    key_of,
)
from fedstill_client.keyboard.correction.channel import Channel
from fedstill_client.keyboard.interpolation import PRIOR_WORDS, Evidence, default_weights
from fedstill_client.keyboard.suggester import Suggester
from fedstill_client.keyboard.unigram_adaptation import UnigramAdaptation, rescaled
from fedstill_client.keyboard.user_ngrams import UserNgrams
from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.vocabulary import MARKS, SPECIAL, START, UNKNOWN, WordList

LISTED = ("i'll", "kind", "king", "kingdom", "queen", "the", "theatre", "their", "+s")
WORDS = WordList((*SPECIAL, *MARKS, *LISTED))
CHANCES = dict(zip(LISTED, (0.05, 0.1, 0.2, 0.04, 0.06, 0.3, 0.01, 0.02, 0.12), strict=True))


class Same:
    """A student that predicts the same after everything."""

    def next_words(self, context: Sequence[int]) -> np.ndarray:
        return np.array([0, 0, 0.1, 0, 0, 0, 0, 0, *CHANCES.values()])

    def along(self, text: Sequence[int]) -> Iterator[np.ndarray]:
        return (self.next_words(text) for _ in text)


def suggester(*texts: str, adaptation: Adaptation | None = None) -> Suggester:
    own = UserNgrams(WORDS)
    for text in texts:
        own.add(text)
    return Suggester(own, Same(), adaptation=adaptation)


def words(found: Suggester, context: str, prefix: str = "", k: int = 3) -> list[str]:
    return [suggestion.word for suggestion in found.suggest(context, prefix, k)]


class TestUserNgrams:
    def test_counts_by_hand(self) -> None:
        own = UserNgrams(WORDS)
        own.add("The blorp king. The blorp queen")
        the, blorp = WORDS.number("the"), len(WORDS)

        assert own.new_words == ["blorp"]
        assert own.numbers("blorp THE unheard") == [blorp, the, UNKNOWN]
        assert own.count(blorp) == 2
        king, queen, dot = (own.number(word) for word in ("king", "queen", "."))
        once = np.zeros(len(WORDS) + 1)
        once[[the, blorp]], once[[king, queen, dot]] = 2 / 7, 1 / 7
        after_blorp = 2 * once / 4  # it was followed by two words, one time each
        after_blorp[[king, queen]] += 1 / 4
        after_both = 2 * after_blorp / 4
        after_both[[king, queen]] += 1 / 4
        for context, seen, chances in (
            ("the blorp", 7, after_both),
            ("king blorp", 3, after_blorp),
            ("unheard", 1, once),
        ):
            found = own.next_words(own.numbers(context))
            assert found[0] == seen
            np.testing.assert_allclose(found[1], chances)
        assert own.next_words([])[1].argmax() == the

    def test_what_is_removed_counts_no_more(self) -> None:
        own, other = UserNgrams(WORDS), UserNgrams(WORDS)
        own.add("the blorp king")
        own.add("the king the blorp")
        own.remove("the blorp king")
        other.add("the king the blorp")

        for context in ("", "the", "the king", "the blorp", "king the"):
            seen, chances = own.next_words(own.numbers(context))
            same, expected = other.next_words(other.numbers(context))
            assert seen == same
            np.testing.assert_allclose(chances, expected)
        own.remove("the king the blorp")
        assert own.next_words([])[0] == 0

    def test_an_empty_device_says_nothing(self) -> None:
        seen, chances = UserNgrams(WORDS).next_words([3, 4])
        assert (seen, chances.sum()) == (0, 0)

    def test_what_is_no_word_is_not_learned(self) -> None:
        own = UserNgrams(WORDS)
        own.add("x" * 81 + " ... 4821 www.example.org anna@example.org /etc/fstab")
        assert own.new_words == []


class TestUnigramAdaptation:
    PREDICTION = np.array([0.5, 0.25, 0.25])

    def test_by_hand(self) -> None:
        unigrams, others = UnigramAdaptation(3), UnigramAdaptation(3)
        for number in (1, 1, 1, 1):
            unigrams.add(number, self.PREDICTION)
        for number in (1, 1, 0):
            others.add(number, self.PREDICTION)
        # Of seven words, 1, 6 and 0 came, and 3.5, 1.75 and 1.75 were expected.
        factors = np.sqrt([3 / 5.5, 8 / 3.75, 2 / 3.75])

        np.testing.assert_allclose(unigrams.factors(others), factors)
        np.testing.assert_allclose(unigrams.factors(), np.sqrt([2 / 4, 6 / 3, 2 / 3]))
        np.testing.assert_allclose(
            rescaled(self.PREDICTION, factors), self.PREDICTION * factors / (self.PREDICTION * factors).sum()
        )

    def test_a_device_without_texts_leaves_the_student_as_it_is(self) -> None:
        np.testing.assert_array_equal(
            rescaled(self.PREDICTION, UnigramAdaptation(3).factors()), self.PREDICTION
        )

    def test_a_student_that_expects_what_comes_is_left_as_it_is(self) -> None:
        unigrams, prediction = UnigramAdaptation(2), np.array([0.75, 0.25])
        for number in [0] * 75 + [1] * 25:
            unigrams.add(number, prediction)
        np.testing.assert_allclose(unigrams.factors(), 1)


class TestCacheLM:
    """Four words beside START, after which a student makes one of two predictions."""

    ONE, OTHER = np.array([0.1, 0, 0.7, 0.1, 0.1]), np.array([0.1, 0, 0.1, 0.1, 0.7])

    def test_by_hand(self) -> None:
        cache = CacheLM()
        for before, typed, prediction in ((1, 2, self.ONE), (1, 3, self.OTHER), (4, 3, self.ONE)):
            cache.add(before, typed, key_of(prediction))
        keys = [key_of(prediction) - cache.mean_key for prediction in (self.ONE, self.OTHER, self.ONE)]
        cosines = [key @ keys[0] / np.linalg.norm(key) / np.linalg.norm(keys[0]) for key in keys]

        weights = cache.log_weights(1, key_of(self.ONE), mean_key=cache.mean_key, later=2)

        by_hand = SHARPNESS * np.array(cosines) + SAME_WORD * np.array([1, 1, 0])
        np.testing.assert_allclose(weights, by_hand - DECAY * np.log(OFFSET + np.array([5, 4, 3])), rtol=1e-5)
        assert (len(cache), cache.words.tolist()) == (3, [2, 3, 3])

    def test_the_oldest_places_are_let_go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fedstill_client.keyboard.cache_lm.MOST_PLACES", 100)
        cache = CacheLM()
        for number in range(1000):
            cache.add(1, number, key_of(self.ONE))

        assert 100 <= len(cache) <= 200
        assert cache.words.tolist() == list(range(1000 - len(cache), 1000))
        np.testing.assert_allclose(cache.mean_key, key_of(self.ONE), rtol=1e-5)

    def test_keys_know_nothing_of_a_factor_and_of_the_end_of_a_text(self) -> None:
        ends, scaled = self.ONE.copy(), 0.6 * self.ONE
        ends[START] = 0.4
        np.testing.assert_allclose(key_of(ends), key_of(self.ONE), atol=1e-4)
        np.testing.assert_allclose(key_of(scaled), key_of(self.ONE), atol=1e-4)
        assert np.abs(key_of(self.ONE) - key_of(self.OTHER)).max() > 0.1

    def test_what_came_in_places_alike_comes_first(self) -> None:
        texts, draft = Adaptation(5), Adaptation(5)
        for _ in range(30):
            texts.add(1, 2, Prediction.of(self.ONE))
            texts.add(1, 5, Prediction.of(self.OTHER))  # a new word

        found = adapted(1, Prediction.of(self.ONE), texts=texts, draft=draft, words=6)
        other = adapted(1, Prediction.of(self.OTHER), texts=texts, draft=draft, words=6)

        assert found.sum() == pytest.approx(1)
        assert cache_weight(60) == pytest.approx(MAX_WEIGHT * 60 / 110)
        assert found[2] > 0.9 * cache_weight(60)
        assert other[5] > 0.9 * cache_weight(60) > 0.1 * cache_weight(60) > found[5]

    def test_texts_and_the_one_that_is_typed_count_alike(self) -> None:
        one, other = Prediction.of(self.ONE), Prediction.of(self.OTHER)
        typed = [(1, 2, one), (2, 3, other), (3, 2, one)]
        whole, first, last = Adaptation(5), Adaptation(5), Adaptation(5)
        for place in typed:
            whole.add(*place)
        first.add(*typed[0])
        for place in typed[1:]:
            last.add(*place)

        one = adapted(2, Prediction.of(self.ONE), texts=Adaptation(5), draft=whole, words=5)
        two = adapted(2, Prediction.of(self.ONE), texts=first, draft=last, words=5)

        # The mean key is that of the texts before; but for that, it is all one text.
        assert (one.sum(), two.sum()) == pytest.approx((1, 1))
        np.testing.assert_allclose(whole.unigrams.factors(), first.unigrams.factors(last.unigrams))
        assert np.abs(one - two).max() < cache_weight(3)


class Predictor:
    """Predicts by the number of tokens before each place, and counts how often it is asked."""

    def __init__(self) -> None:
        self.times = 0

    def predict(self, tokens: Sequence[str], first: int, wanted: int) -> list[Prediction]:
        self.times += 1
        assert first <= wanted < len(tokens)
        return [self.prediction(place) for place in range(wanted, len(tokens))]

    @staticmethod
    def prediction(place: int) -> Prediction:
        return Prediction.of(np.array([1 + place, 0, 1, 1, 1]) / (4 + place))


class TestDraftText:
    NUMBERS: ClassVar = {"a": 1, "b": 2, "c": 3, "new": 5}

    def follow(self, text: DraftText, predictor: Predictor, *tokens: str) -> list[int]:
        text.follow(
            tokens, predictor.prediction(len(tokens)), number=self.NUMBERS.get, predict=predictor.predict
        )
        return text.adaptation.cache.words.tolist()

    def test_a_word_more_or_less_is_not_predicted_again(self) -> None:
        text, predictor = DraftText(5), Predictor()

        assert self.follow(text, predictor) == []
        assert self.follow(text, predictor, "a") == [1]
        assert self.follow(text, predictor, "a", "b") == [1, 2]
        assert self.follow(text, predictor, "a", "b") == [1, 2]
        assert self.follow(text, predictor, "a", "b", "new") == [1, 2, 5]
        assert self.follow(text, predictor, "a", "b") == [1, 2]
        assert self.follow(text, predictor, "a", "c") == [1, 3]
        assert self.follow(text, predictor, "a", "c", "unheard", "b") == [1, 3, 2]
        assert predictor.times == 1  # as two words came at once

    def test_what_was_let_go_leaves_no_trace(self) -> None:
        text, fresh, predictor = DraftText(5), DraftText(5), Predictor()
        for tokens in (("a", "b", "c", "a"), ("a", "b"), ("a", "b", "b")):
            self.follow(text, predictor, *tokens)
        self.follow(fresh, predictor, "a", "b", "b")

        for name in ("counts", "expected"):
            one, other = (getattr(each.adaptation.unigrams, name) for each in (text, fresh))
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(text.adaptation.cache.mean_key, fresh.adaptation.cache.mean_key)

    def test_a_long_text_is_known_from_its_last_words(self) -> None:
        text, predictor = DraftText(5), Predictor()
        for words in range(1000):
            known = len(self.follow(text, predictor, *["a", "b"] * (words // 2), *["a"] * (words % 2)))
            assert known == words if words < DRAFT_WORDS else DRAFT_WORDS / 2 <= known < DRAFT_WORDS
        assert predictor.times == 0


class TestAdaptation:
    def test_what_is_observed_becomes_likelier_wherever_it_fits(self) -> None:
        found = suggester(adaptation=Adaptation(len(WORDS)))
        before = found.scores("the")
        for _ in range(20):
            found.observe("queen")
        # With the counts' own weight taken away, what is left is the adaptation.
        found.weights = np.zeros_like(found.weights)
        queen, king = found.place("queen"), found.place("king")

        assert queen is not None
        assert king is not None
        assert found.scores("the")[queen] > 2 * before[queen]
        assert found.scores("the")[king] < before[king]

    def test_without_one_the_student_is_taken_as_it_is(self) -> None:
        found = suggester()
        before = found.scores("the")
        found.adapt("queen queen queen")
        np.testing.assert_array_equal(found.scores("the queen"), before)

    def test_the_words_of_draft_become_likelier(self) -> None:
        found = suggester(adaptation=Adaptation(len(WORDS)))
        queen = found.place("queen")
        assert queen is not None
        first = found.scores("")[queen]
        assert found.scores("queen king queen king queen king queen king")[queen] > 1.5 * first
        assert found.scores("")[queen] == first


class TestWeights:
    def test_they_start_as_the_prior(self) -> None:
        assert default_weights()[0] == 0  # nothing was typed
        np.testing.assert_array_equal(Evidence().weights(), default_weights())

    def test_they_go_to_the_source_that_is_right(self) -> None:
        evidence = Evidence()
        for _ in range(1000):
            evidence.add(2, student=0.001, ngrams=0.5)
            evidence.add(3, student=0.5, ngrams=0.001)
        weights = evidence.weights()

        assert weights[2] > 0.9
        assert weights[3] < 0.01
        assert weights[1] == default_weights()[1]

    def test_by_hand(self) -> None:
        evidence = Evidence()
        evidence.add(1, student=1.0, ngrams=0.0)  # the student alone knew it
        evidence.add(1, student=0.0, ngrams=0.0)  # nobody did: it says nothing
        assert evidence.weights()[1] == pytest.approx(PRIOR_WORDS * default_weights()[1] / (PRIOR_WORDS + 1))

    def test_texts_that_a_device_set_aside_choose_them(self) -> None:
        found = suggester("queen queen queen queen king")

        weights, other = found.fit(["queen queen queen"] * 90), found.fit(["king theatre the their"] * 90)

        assert weights[7] > 0.5
        assert other[1] < default_weights()[1]


class TestSuggestions:
    def test_the_likeliest_words_and_no_mark_or_piece(self) -> None:
        assert words(suggester(), "anything") == ["the", "king", "kind"]
        assert words(suggester(), "to", k=20) == sorted(LISTED[:-1], key=lambda word: -CHANCES[word])
        assert words(suggester(), "") == ["The", "King", "Kind"]

    def test_completions_with_the_capitals_of_what_is_typed(self) -> None:
        assert words(suggester(), "", "ki") == ["king", "kind", "kingdom"]
        assert words(suggester(), "", "Ki", 1) == ["King"]
        assert words(suggester(), "", "KIN", 1) == ["KING"]
        assert words(suggester(), "", "I", 1) == ["I'll"]
        assert words(suggester(), "", "i’", 1) == ["i'll"]
        assert words(suggester(), "", "xyzzyx") == []

    def test_a_typing_error_is_corrected(self) -> None:
        found = suggester().suggest("", "quewn")

        assert [(f.word, f.kind) for f in found] == [("queen", "correction")]
        assert found[0].chance == pytest.approx(0.06 * Channel().near, rel=1e-3)
        kinds = [(s.word, s.kind) for s in suggester().suggest("", "thei")]
        assert kinds[0] == ("their", "completion")
        assert ("the", "correction") in kinds  # one letter too many
        assert words(suggester(), "", "Teh", 1) == ["The"]

    def test_a_word_typed_once_comes_after_two_letters(self) -> None:
        # However likely the words of the list are that begin so, and however much else was typed.
        texts = ["their king " * 200 + "the theatre", "thrumble"]
        assert "thrumble" not in words(suggester(*texts[:1]), "the king", "th", 20)

        found = suggester(*texts).suggest("their", "th")

        assert found[-1].word == "thrumble"
        assert found[-1].own
        assert len(found) == 3
        assert "thrumble" in words(suggester(*texts), "their", "thr")
        assert "thrumble" not in words(suggester(*texts), "their", "t")
        assert "thrumble" not in words(suggester(*texts), "their", "th", 2)

    @pytest.mark.parametrize(
        "error",
        ["teh", "theri", "thier", "kign", "kimg", "kigdom", "quenn", "queeen", "theater", "thetre", "jing"],
    )
    def test_what_may_be_an_error_is_suggested_from_its_second_use_on(self, error: str) -> None:
        assert error not in words(suggester(error), "", error[:2], 20)
        assert error in words(suggester(error, error), "", error[:2], 20)

    @pytest.mark.parametrize(
        "name",
        ["zoltan", "qwyneth", "kingsley", "théa", "thrumble", "ubuntu", "blorp", "okonkwo", "ngaio", "kings"],
    )
    def test_a_new_word_that_is_hardly_one_is_suggested_from_its_first_use_on(self, name: str) -> None:
        assert name in [each.lower() for each in words(suggester(name), "", name[:2], 20)]

    def test_a_whole_word_leaves_the_reserved_place(self) -> None:
        found = words(suggester("their king " * 200, "thesaurus"), "their", "the")
        assert found == ["the", "their", "thesaurus"]

    def test_own_sequences_come_first(self) -> None:
        found = suggester(*["queen theatre"] * 5)
        assert words(found, "The queen") == ["the", "king", "kind"]  # before the weights are chosen

        found.weights = found.fit(["king queen theatre"] * 20)

        assert words(found, "The queen", k=1) == ["theatre"]

    def test_chances_sum_to_one(self) -> None:
        found = suggester("queen blorp the", "blorp")
        student = Same().next_words([])
        for tokens in ([], ["queen"], ["queen", "blorp"], ["zzz"]):
            assert found.interpolated(tokens, student).sum() == pytest.approx(1)

    @pytest.mark.parametrize(
        ("asked", "words"),
        [
            (("", "", 0), "k: 0"),
            (("", "", 21), "ask for 1 to 20"),
            (("x" * 100_001, ""), "100000 at most"),
        ],
    )
    def test_what_is_refused(self, asked: tuple[str, str], words: str) -> None:
        with pytest.raises(InvalidValue, match=words):
            suggester().suggest(*asked)

    @pytest.mark.parametrize(
        "prefix", ["'", "to-", "o'", "'t", "-", "\ud800", "👍", "two words", "\x00", "a.", "x" * 81]
    )
    def test_odd_beginnings_are_taken(self, prefix: str) -> None:
        suggester("o'er to-morrow").suggest("a\x00\ud800b", prefix)
