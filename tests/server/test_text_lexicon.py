"""A lexicon made of public texts: counts that a person can check, and what is a word by itself."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from fedstill_client.keyboard.suggester import Suggester
from fedstill_client.keyboard.user_ngrams import UserNgrams
from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.lexicon import CLASSES, NEVER, Lexicon
from fedstill_proto.text.vocabulary import MARKS, SPECIAL, START, WordList
from fedstill_server.tasks.text.lexicon import LexiconPlan, build_lexicon

TEXTS = ("the cat sat", "the cat ran", "the dog sat")
WORDS = WordList((*SPECIAL, *MARKS, "b", "+ing", "the", "cat", "sat", "ran"))
THE, CAT, SAT, RAN = (WORDS.entries.index(word) for word in ("the", "cat", "sat", "ran"))
DOG = len(WORDS)  # the dictionary's


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return build_lexicon(TEXTS, WORDS, LexiconPlan())


def test_shares_by_hand(lexicon: Lexicon) -> None:
    def shares(history: tuple[int, ...]) -> dict[int, float]:
        table = lexicon.pairs if len(history) == 1 else lexicon.triples
        key = history[0] if len(history) == 1 else history[0] * lexicon.words + history[1]
        found = table.after(key)
        assert found is not None
        return dict(zip(found[0].tolist(), found[1].tolist(), strict=True))

    # All pairs came after one word each: n1 = 6, n2 = 0, D1 = 1, kept at 0.9.
    assert shares((THE,)) == pytest.approx({CAT: 0.1 / 2, DOG: 0.1 / 2}, rel=0.03)
    assert shares((CAT,)) == pytest.approx({SAT: 0.1 / 2, RAN: 0.1 / 2}, rel=0.03)
    # Triples were seen 3, 2, 1, 1, 1, 1 times: Y = 4 / 6, D1 = 2/3, D2 = 0 (kept at 0.1), D3 = 3 (2.9).
    assert shares((START, START)) == pytest.approx({THE: 0.1 / 3}, rel=0.03)
    assert shares((START, THE)) == pytest.approx({CAT: 1.9 / 3, DOG: (1 - 2 / 3) / 3}, rel=0.03)


def test_what_comes_alone_goes_by_how_many_words_it_followed(lexicon: Lexicon) -> None:
    # "sat" followed two words, the others one each, of 6 pairs: Y = 4 / 6, D1 = 2/3, D2 = 2 (kept at 1.9).
    even = 1 / (len(MARKS) + 5)
    freed = (4 * 2 / 3 + 1.9) / 6
    for word, followed in ((THE, 1 - 2 / 3), (DOG, 1 - 2 / 3), (SAT, 2 - 1.9)):
        assert lexicon.base[word] == pytest.approx(freed * even + followed / 6, rel=0.01)
    assert lexicon.base.sum() == pytest.approx(1)


def test_a_word_beyond_the_list_is_in_the_dictionary(lexicon: Lexicon) -> None:
    assert lexicon.dictionary == ("dog",)
    assert lexicon.number("dog") == DOG
    assert [lexicon.stands_alone(WORDS.entries.index(entry)) for entry in ("b", "+ing", "the")] == [
        False,
        False,
        True,
    ]


def test_counts_seen_once_are_left_out_where_there_are_many() -> None:
    few = build_lexicon(TEXTS, WORDS, LexiconPlan(most_counts=5))

    assert (len(few.pairs), len(few.triples)) == (2, 2)  # of six each
    assert few.counted([START, THE])[1].sum() == pytest.approx(1)
    assert build_lexicon(TEXTS, WORDS, LexiconPlan(most_counts=1)).triples.next.tolist() == [THE]


def test_a_student_that_is_right_weighs_one_half_and_one_that_is_wrong_less() -> None:
    texts = [f"{one} {two}" for one in ("the", "cat") for two in ("sat", "ran")] * 500
    held_out = ["the sat"] * 2000

    def student(right: bool) -> np.ndarray:
        said = np.full((3, len(WORDS)), 1e-4)
        said[0, THE] = said[1, SAT if right else RAN] = 0.9
        return said

    mixes = [
        build_lexicon(
            texts, WORDS, LexiconPlan(), student=lambda text, right=right: student(right), held_out=held_out
        ).mix
        for right in (True, False)
    ]

    assert (mixes[0] == 0.5).all()
    assert 0 < mixes[1].min() < 0.3


@pytest.mark.parametrize("letter", ["b", "c", "d", "x", "z", "q", "ß", "д", "ψ", "ñ", "k"])
def test_a_letter_is_a_word_where_texts_use_it_as_one(letter: str) -> None:
    words = WordList((*SPECIAL, *MARKS, letter, "the", "cat"))
    rare = build_lexicon([*["the cat"] * 3000, f"the {letter}"], words, LexiconPlan())
    frequent = build_lexicon([f"the {letter} cat"] * 100, words, LexiconPlan())
    number = words.entries.index(letter)

    assert not rare.stands_alone(number)
    assert letter not in UserNgrams(words, rare).alphabet(2).words
    assert frequent.stands_alone(number)


@pytest.mark.parametrize(
    ("language", "letters", "none"),
    [("en", "ai", "bx"), ("es", "yao", "bx"), ("fr", "àay", "bx"), ("nl", "u", "bx"), ("de", "", "bx")],
)
def test_letters_by_language(language: str, letters: str, none: str) -> None:
    pytest.importorskip("wordfreq")
    words = WordList((*SPECIAL, *MARKS, *letters, *none))
    made = build_lexicon(["x"], words, LexiconPlan(languages=(language,), dictionary=50))

    assert [letter for letter in letters + none if made.stands_alone(words.number(letter) or 0)] == [*letters]
    assert len(made.dictionary) == 50
    assert "CC BY-SA" in made.attribution


def test_without_wordfreq_the_public_text_is_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wordfreq", None)
    notices: list[str] = []

    made = build_lexicon(TEXTS, WORDS, LexiconPlan(languages=("en",)), on_notice=notices.append)

    assert made.dictionary == ("dog",)
    assert made.attribution == ""
    assert "wordfreq is not installed" in notices[0]


def test_an_odd_plan_is_refused() -> None:
    for wrong in ({"dictionary": -1}, {"most_counts": -5}):
        with pytest.raises(InvalidValue):
            LexiconPlan(**wrong)  # type: ignore[arg-type]


class Even:
    """A student that knows nothing."""

    def next_words(self, context: object) -> np.ndarray:
        return np.full(len(WORDS), 1 / len(WORDS))

    def along(self, text: list[int]) -> list[np.ndarray]:  # type: ignore[override]
        return iter([self.next_words(text)] * len(text))  # type: ignore[return-value]


def test_a_device_mixes_student_and_counts(lexicon: Lexicon) -> None:
    alone = Suggester(UserNgrams(WORDS), Even())  # type: ignore[arg-type]
    mixed = Suggester(UserNgrams(WORDS, lexicon), Even())  # type: ignore[arg-type]
    counted = Suggester(
        UserNgrams(WORDS, replace(lexicon, mix=np.zeros(CLASSES, np.float32))),
        Even(),  # type: ignore[arg-type]
    )

    assert [each.word for each in alone.suggest("so the", "d")] == []
    assert [each.word for each in mixed.suggest("so the", "d")] == ["dog"]
    at = mixed.place("cat")
    assert at is not None
    chances = [one.scores("The")[at] for one in (counted, mixed)]
    assert chances[0] > chances[1] > 1 / len(WORDS)
    assert sum(mixed.interpolated(["the"], Even().next_words(()))) == pytest.approx(1)


def test_never_is_no_frequency(lexicon: Lexicon) -> None:
    assert lexicon.base[lexicon.frequency <= NEVER].sum() == 0
