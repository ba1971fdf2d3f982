"""A keyboard's suggestions: own words, their weights, slips, completions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from fedstill_client.keyboard.mixing import PRIOR, PRIOR_WORDS, Evidence, usual_weights
from fedstill_client.keyboard.own_marginals import OwnMarginals
from fedstill_client.keyboard.own_words import OwnWords
from fedstill_client.keyboard.slips import NEIGHBOUR, NEIGHBOURS, ONE_MORE_OR_LESS, OTHER_KEY, SWAPPED, meant
from fedstill_client.keyboard.suggester import Suggester
from fedstill_proto.errors import InvalidValue
from fedstill_proto.word_list import MARKS, SPECIAL, UNKNOWN, WordList

LISTED = ("i'll", "kind", "king", "kingdom", "queen", "the", "theatre", "their", "+s")
WORDS = WordList((*SPECIAL, *MARKS, *LISTED))
CHANCES = dict(zip(LISTED, (0.05, 0.1, 0.2, 0.04, 0.06, 0.3, 0.01, 0.02, 0.12), strict=True))


class Same:
    """A student that says the same after everything."""

    def next_words(self, context: Sequence[int]) -> np.ndarray:
        return np.array([0, 0, 0.1, 0, 0, 0, 0, 0, *CHANCES.values()])

    def along(self, text: Sequence[int]) -> Iterator[np.ndarray]:
        return (self.next_words(text) for _ in text)


def suggester(*texts: str) -> Suggester:
    own = OwnWords(WORDS)
    for text in texts:
        own.add(text)
    return Suggester(own, Same())


def words(found: Suggester, context: str, prefix: str = "", k: int = 3) -> list[str]:
    return [suggestion.word for suggestion in found.suggest(context, prefix, k)]


class TestOwnWords:
    def test_counts_by_hand(self) -> None:
        own = OwnWords(WORDS)
        own.add("The blorp king. The blorp queen")
        the, blorp = WORDS.number("the"), len(WORDS)

        assert own.new_words == ["blorp"]
        assert own.numbers("blorp THE unheard") == [blorp, the, UNKNOWN]
        assert own.times(blorp) == 2
        king, queen, dot = (own.number(word) for word in ("king", "queen", "."))
        once = np.zeros(len(WORDS) + 1)
        once[[the, blorp]], once[[king, queen, dot]] = 2 / 7, 1 / 7
        after_blorp = 2 * once / 4  # it was followed by two words, one time each
        after_blorp[[king, queen]] += 1 / 4
        after_both = 2 * after_blorp / 4
        after_both[[king, queen]] += 1 / 4
        for context, seen, chances in (
            ("the blorp", 3, after_both),
            ("king blorp", 2, after_blorp),
            ("unheard", 1, once),
        ):
            found = own.next_words(own.numbers(context))
            assert found[0] == seen
            np.testing.assert_allclose(found[1], chances)
        assert own.next_words([])[1].argmax() == the

    def test_an_empty_device_says_nothing(self) -> None:
        seen, chances = OwnWords(WORDS).next_words([3, 4])
        assert (seen, chances.sum()) == (0, 0)

    def test_what_is_no_word_is_not_learned(self) -> None:
        own = OwnWords(WORDS)
        own.add("x" * 41 + " ...")
        assert own.new_words == []


class TestMarginals:
    def test_by_hand(self) -> None:
        marginals = OwnMarginals(3)
        said = np.array([0.5, 0.25, 0.25])
        marginals.add([(1, said)] * 6 + [(0, said), (None, np.array([1.0, 0.0, 0.0]))])
        # Seven places are evidence: the words came 1, 6 and 0 times, and 3.5, 1.75 and 1.75 were expected.
        factors = np.sqrt([3 / 5.5, 8 / 3.75, 2 / 3.75])

        np.testing.assert_allclose(marginals.factors(), factors)
        np.testing.assert_allclose(marginals.rescaled(said), said * factors / (said * factors).sum())

    def test_a_device_without_texts_leaves_the_student_as_it_is(self) -> None:
        said = np.array([0.5, 0.25, 0.25], np.float32)
        np.testing.assert_array_equal(OwnMarginals(3).rescaled(said), said)

    def test_a_student_that_expects_what_comes_is_left_as_it_is(self) -> None:
        marginals = OwnMarginals(2)
        marginals.add([(0, np.array([0.75, 0.25]))] * 75 + [(1, np.array([0.75, 0.25]))] * 25)
        np.testing.assert_allclose(marginals.factors(), 1)

    def test_what_is_observed_becomes_likelier_wherever_it_fits(self) -> None:
        found = suggester()
        before = found.scores("the")
        for _ in range(20):
            found.observe("queen")
        # With the counts' own weight taken away, what is left are the marginals.
        found.weights = np.zeros_like(found.weights)
        queen, king = found.place("queen"), found.place("king")

        assert queen is not None
        assert king is not None
        assert found.scores("the")[queen] > 2 * before[queen]
        assert found.scores("the")[king] < before[king]


class TestWeights:
    def test_they_start_as_usual(self) -> None:
        assert usual_weights().tolist() == [0.0, PRIOR, PRIOR, PRIOR]
        np.testing.assert_array_equal(Evidence().weights(), usual_weights())

    def test_they_go_to_the_source_that_is_right(self) -> None:
        evidence = Evidence()
        for _ in range(1000):
            evidence.add(2, student=0.001, own=0.5)
            evidence.add(3, student=0.5, own=0.001)
        weights = evidence.weights()

        assert weights[2] > 0.9
        assert weights[3] < 0.01
        assert weights[1] == PRIOR

    def test_by_hand(self) -> None:
        evidence = Evidence()
        evidence.add(1, student=1.0, own=0.0)  # the student alone knew it
        evidence.add(1, student=0.0, own=0.0)  # nobody did: it says nothing
        assert evidence.weights()[1] == pytest.approx(PRIOR_WORDS * PRIOR / (PRIOR_WORDS + 1))

    def test_texts_that_a_device_set_aside_choose_them(self) -> None:
        found = suggester("queen queen queen queen king")

        alike, other = found.fit(["queen queen queen"] * 30), found.fit(["king theatre the their"] * 30)

        assert alike[3] > 0.5
        assert other[1] < PRIOR


class TestSlips:
    @pytest.mark.parametrize(
        ("typed", "intended", "chance"),
        [
            ("kimg", "king", NEIGHBOUR),
            ("kzng", "king", OTHER_KEY),
            ("knig", "king", SWAPPED),
            ("kng", "king", ONE_MORE_OR_LESS),
            ("kiing", "king", ONE_MORE_OR_LESS),
        ],
    )
    def test_one_slip(self, typed: str, intended: str, chance: float) -> None:
        assert meant(typed)[intended] == chance

    def test_no_slip_two_slips_too_short_or_too_long(self) -> None:
        assert "king" not in meant("king")
        assert "king" not in meant("kmgi")
        assert meant("ki") == meant("k" * 25) == {}

    def test_keys_that_touch(self) -> None:
        assert set(NEIGHBOURS["s"]) == set("awedxz")
        assert all(one in NEIGHBOURS[other] for one, others in NEIGHBOURS.items() for other in others)


class TestSuggestions:
    def test_the_likeliest_words_and_no_mark_or_piece(self) -> None:
        assert words(suggester(), "anything") == ["the", "king", "kind"]
        assert words(suggester(), "", k=20) == sorted(LISTED[:-1], key=lambda word: -CHANCES[word])

    def test_completions_with_the_capitals_of_what_is_typed(self) -> None:
        assert words(suggester(), "", "ki") == ["king", "kind", "kingdom"]
        assert words(suggester(), "", "Ki", 1) == ["King"]
        assert words(suggester(), "", "KIN", 1) == ["KING"]
        assert words(suggester(), "", "I", 1) == ["I'll"]
        assert words(suggester(), "", "i’", 1) == ["i'll"]
        assert words(suggester(), "", "xyzzyx") == []

    def test_a_slip_is_corrected(self) -> None:
        found = suggester().suggest("", "quewn")

        assert [(f.word, f.kind) for f in found] == [("queen", "correction")]
        assert found[0].chance == pytest.approx(0.06 * NEIGHBOUR)
        kinds = [(s.word, s.kind) for s in suggester().suggest("", "thei")]
        assert kinds[0] == ("their", "completion")
        assert ("the", "correction") in kinds  # one letter too many
        assert words(suggester(), "", "Teh", 1) == ["The"]

    def test_a_word_typed_three_times_comes_after_two_letters(self) -> None:
        # However likely the words of the list are that begin so, and however much else was typed.
        texts = ["their king " * 200 + "the theatre", "thrumble", "thrumble", "thrumble"]
        assert "thrumble" not in words(suggester(*texts[:2]), "the king", "th", 20)
        assert "thrumble" not in words(suggester(*texts[:3]), "their", "th")

        found = suggester(*texts).suggest("their", "th")

        assert found[-1].word == "thrumble"
        assert found[-1].own
        assert len(found) == 3
        assert words(suggester(*texts), "their", "thr", 1) == ["thrumble"]
        assert "thrumble" not in words(suggester(*texts), "their", "t")

    def test_own_sequences_come_first(self) -> None:
        found = suggester(*["queen theatre"] * 5)
        assert words(found, "The queen") == ["the", "king", "theatre"]  # the pair was typed, not the three

        found.weights = found.fit(["king queen theatre"] * 20)

        assert words(found, "The queen", k=1) == ["theatre"]

    def test_chances_sum_to_one(self) -> None:
        found = suggester("queen blorp the", "blorp")
        student = Same().next_words([])
        for tokens in ([], ["queen"], ["queen", "blorp"], ["zzz"]):
            assert found.mixed(tokens, student).sum() == pytest.approx(1)

    @pytest.mark.parametrize(
        ("asked", "words"),
        [
            (("", "two words"), "no beginning of one word"),
            (("", "\x00"), "no beginning of one word"),
            (("", "a."), "no beginning of one word"),
            (("", "x" * 41), "41 letters"),
            (("", "", 0), "k: 0"),
            (("", "", 21), "ask for 1 to 20"),
            (("x" * 100_001, ""), "100000 at most"),
        ],
    )
    def test_what_is_refused(self, asked: tuple[str, str], words: str) -> None:
        with pytest.raises(InvalidValue, match=words):
            suggester().suggest(*asked)

    @pytest.mark.parametrize("prefix", ["'", "to-", "o'", "'t", "-", "\ud800", "👍"])
    def test_odd_beginnings_are_taken(self, prefix: str) -> None:
        suggester("o'er to-morrow").suggest("a\x00\ud800b", prefix)
