"""How words are written: "NASA", "Priyanka", "iPhone", and "Essen" or "essen" by the word before.

A word's key is in lower case (`normal`). The form that people write it in is counted in text where the word
does not start a sentence and the line has small letters at all (Lita et al., 2003, "tRuEcasIng"): the most
frequent form of a key is its usual one. Where another form is more frequent after one certain word, that word
decides. Words that were seen at starts of sentences alone, or never, are written as words with the same
ending are, where nearly all of these are alike (German "-ung"); else small, unless capitals are within them.

A table travels in the lexicon, by the numbers 0 to W - 1 of its words:

    usual           uint8 [W]: 0 as the key, 1 with a capital, 2 in capitals, 3 as in `special`, 4 unseen,
                    5 unseen, and with a capital by its ending
    special         uint8: forms in UTF-8, a line each, in the order of their numbers
    turn_histories  uint64 [n], rising: the number of the word before, times W, plus the word's
    turn_forms      uint8 [n]: as `usual`, 0 to 3
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import regex

from fedstill_proto.errors import WireError
from fedstill_proto.text.tokens import MARK, WORD, TokenKind, tokenize
from fedstill_proto.text.vocabulary import WORD_LIMIT, key_of, normal

AS_KEY, CAPITAL, CAPITALS, SPECIAL_FORM, UNSEEN, CAPITAL_BY_ENDING = range(6)
ENDING_LETTERS = range(8, 1, -1)
ENDING_WORDS, ENDING_SHARE = 3, 0.8  # words with an ending, and of those the ones with a capital, at least
LEAST_TURNS = 2  # times that a word was written otherwise behind another one
CAREFUL = 10  # how many small words of people who leave capitals out are as telling as one of others
TURN_LIMIT = 1_000_000
FILE_FIELD = "lexicon.safetensors: casing"
_STRAIGHT = str.maketrans(dict.fromkeys("’‘ʼ＇", "'") | dict.fromkeys("‐‑", "-"))
_BEGINS_QUOTATION = regex.compile("[:：]|[,،，、].*[\"“”„«»‚‘’'「]")
_TAIL = 120  # characters of a context that its end is read from
_QUOTED = regex.compile(r"[,:]\s*[\"“„«‚‘']\s*$")

Arrays = Mapping[str, npt.NDArray[Any]]


def capitalized(form: str) -> str:
    """A form with a capital at its beginning: "'Tis", "IJs"; one such as "iPhone" stays as it is."""
    if len(form) == 2 and form[0] in "'’":
        return form  # Dutch "'s avonds"
    for at, sign in enumerate(form):
        if sign.isdigit():
            return form  # "4th"
        if sign.isalpha():
            if not sign.islower() or _has_capital_within(form, at + 1):
                return form
            if form[at : at + 2] == "ij":  # one letter of Dutch
                return form[:at] + "IJ" + form[at + 2 :]
            return form[:at] + sign.title() + form[at + 1 :]
    return form


def _has_capital_within(form: str, begin: int) -> bool:
    """Whether capitals stand in the word itself, rather than behind an apostrophe as in "d'Espagne"."""
    return any(form[at].isupper() and form[at - 1] not in "'’-" for at in range(begin, len(form)))


class WrittenWord(NamedTuple):
    """A word or an emoji as it stands in a text, and where."""

    form: str  # with plain apostrophes and hyphens
    written: str
    key: str
    kind: TokenKind
    previous: str  # the key of the word or mark before it, "" at the beginning of a line
    starts_sentence: bool
    is_telling: bool  # its capitals are its own, not the sentence's or the quotation's


def written_words(text: str) -> Iterator[WrittenWord]:
    """The words and emoji of a text; of lines all in capitals none."""
    for line in text.splitlines():
        if _is_shouted(line):
            continue
        previous, marks = "", ""
        for token in tokenize(line):
            key = key_of(token.text, token.kind)
            if token.kind is MARK:
                marks, previous = marks + token.text, key or previous
                continue
            form = token.text.translate(_STRAIGHT)
            is_telling = not token.starts_sentence and not _BEGINS_QUOTATION.search(marks)
            if token.kind is WORD or key != previous:
                yield WrittenWord(
                    form, token.text, key, token.kind, previous, token.starts_sentence, is_telling
                )
            previous, marks = key, ""


def _is_shouted(line: str) -> bool:
    return line == line.upper() and sum(map(str.isupper, line)) > 1 and " " in line.strip()


class CasePlace(NamedTuple):
    """Where a word is about to be written."""

    previous: str  # the key of the word or mark before it; "" for none
    starts_sentence: bool


def place_behind(context: str) -> CasePlace:
    """The place behind a text, of which the last characters are read."""
    tokens = tokenize(context[-_TAIL:] + " x")
    starts = tokens[-1].starts_sentence or _QUOTED.search(context[-_TAIL:]) is not None
    for token in reversed(tokens[:-1]):
        key = key_of(token.text, token.kind)
        if key:
            return CasePlace(key, starts)
    return CasePlace("", starts)


class CaseCounts:
    """How often each key was written in which form; the sum of the counts of texts is that of all of them.

    Attributes:
        forms: By key, how often which form where capitals are the word's own.
        starts: The same at starts of sentences.
        turns: The same as `forms`, by the key before and the key.
    """

    def __init__(self) -> None:
        self.forms: dict[str, Counter[str]] = {}
        self.starts: dict[str, Counter[str]] = {}
        self.turns: dict[tuple[str, str], Counter[str]] = {}

    def add(self, word: WrittenWord, *, times: int = 1, with_turns: bool = True) -> None:
        """Count a word so many times."""
        if word.is_telling:
            self.forms.setdefault(word.key, Counter())[word.form] += times
            if with_turns:
                self.turns.setdefault((word.previous, word.key), Counter())[word.form] += times
        elif word.starts_sentence:
            self.starts.setdefault(word.key, Counter())[word.form] += times

    @classmethod
    def of(cls, texts: Sequence[str]) -> CaseCounts:
        """Those of public texts, with `turns` for the keys that have several forms.

        A word counts as CAREFUL, a small one in a line that begins without a capital as 1: its writer may
        leave all capitals out.
        """
        counts = cls()
        for text in texts:
            for word, times in _weighted_words(text):
                counts.add(word, times=times, with_turns=False)
        ambiguous = {key for key, forms in counts.forms.items() if len(forms) > 1}
        for text in texts:
            for word, times in _weighted_words(text):
                if word.key in ambiguous and word.is_telling:
                    counts.turns.setdefault((word.previous, word.key), Counter())[word.form] += times
        return counts

    def usual(self, key: str) -> str | None:
        """The usual form of a key; None of one that was never seen."""
        forms = self.forms.get(key)
        if forms:
            return _most_frequent(forms)
        starts = self.starts.get(key)
        if not starts:
            return None
        form = _most_frequent(starts)
        return key if form in (capitalized(key), key.upper()) and len(key) > 1 else form


def _weighted_words(text: str) -> Iterator[tuple[WrittenWord, int]]:
    """The words of a text, and how much each counts."""
    for line in text.splitlines():
        first = next((sign for sign in line if sign.isalpha()), "")
        for word in written_words(line):
            if word.kind is WORD:
                yield word, 1 if first.islower() and word.form == word.key else CAREFUL


def _most_frequent(forms: Counter[str]) -> str:
    """The most frequent form, of equals the one with fewer capitals."""
    return min(forms, key=lambda form: (-forms[form], sum(map(str.isupper, form)), form))


@dataclass(frozen=True, eq=False)
class CaseTable:
    """How the words of a lexicon are written, by their numbers.

    Attributes:
        usual: uint8 [W], AS_KEY to CAPITAL_BY_ENDING.
        special: The forms of those that are SPECIAL_FORM, by number.
        turn_histories: int64 [n], rising: the word before, times W, plus the word.
        turn_forms: uint8 [n], AS_KEY to SPECIAL_FORM.
    """

    usual: npt.NDArray[np.uint8]
    special: Mapping[int, str] = field(default_factory=dict)
    turn_histories: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    turn_forms: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))

    @classmethod
    def of(cls, counts: CaseCounts, words: Sequence[str]) -> CaseTable:
        """The table of words [W] by number."""
        numbers = {word: number for number, word in enumerate(words)}
        endings = _endings(counts)
        usual = np.full(len(words), UNSEEN, np.uint8)
        special: dict[int, str] = {}
        for key, number in numbers.items():
            form = counts.usual(key)
            if key not in counts.forms and form in (None, key) and _has_capital(endings, key):
                usual[number] = CAPITAL_BY_ENDING
            elif form is not None and normal(form) == key:
                usual[number] = _code_of(form, key)
                if usual[number] == SPECIAL_FORM:
                    special[number] = form
        turns: dict[int, int] = {}
        for (previous, key), forms in counts.turns.items():
            of_word, before = numbers.get(key), numbers.get(previous)
            if of_word is None or before is None or len(counts.forms[key]) < 2:
                continue
            form = _most_frequent(forms)
            code = _code_of(form, key)
            is_known = code != SPECIAL_FORM or special.get(of_word) == form
            if code != usual[of_word] and is_known and forms[form] >= LEAST_TURNS * CAREFUL:
                turns[before * len(words) + of_word] = code
        histories = np.array(sorted(turns), np.int64)
        codes = np.array([turns[int(history)] for history in histories], np.uint8)
        return cls(usual, special, histories, codes)

    def __len__(self) -> int:
        return len(self.usual)

    def is_seen(self, number: int) -> bool:
        """Whether the table knows how a word is written."""
        return number < len(self.usual) and bool(self.usual[number] < UNSEEN)

    def form(self, number: int, key: str, previous: int) -> str:
        """How a word is written behind another one; as its key where the table does not have it."""
        if number >= len(self.usual):
            return key
        code = int(self.usual[number])
        history = previous * len(self.usual) + number
        at = int(np.searchsorted(self.turn_histories, history))
        if at < len(self.turn_histories) and self.turn_histories[at] == history:
            code = int(self.turn_forms[at])
        if code == SPECIAL_FORM:
            return self.special[number]
        if code in (CAPITAL, CAPITAL_BY_ENDING):
            return capitalized(key)
        return key.upper() if code == CAPITALS else key

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of a lexicon."""
        special = "\n".join(self.special[number] for number in sorted(self.special))
        return {
            "usual": self.usual,
            "special": np.frombuffer(special.encode(), np.uint8),
            "turn_histories": self.turn_histories.astype(np.uint64),
            "turn_forms": self.turn_forms,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, words: Sequence[str]) -> CaseTable:
        """Read the arrays of a lexicon of these words; raises WireError."""
        expected = {
            "usual": np.uint8,
            "special": np.uint8,
            "turn_histories": np.uint64,
            "turn_forms": np.uint8,
        }
        if arrays.keys() != expected.keys():
            raise WireError(FILE_FIELD, f"holds {sorted(arrays)!r:.80}, not {sorted(expected)}")
        for name, kind in expected.items():
            if arrays[name].ndim != 1 or arrays[name].dtype != kind:
                raise WireError(f"{FILE_FIELD}_{name}", f"no vector of {kind.__name__}")
        usual, histories, codes = arrays["usual"], arrays["turn_histories"], arrays["turn_forms"]
        if len(usual) != len(words) or (len(usual) and usual.max() > CAPITAL_BY_ENDING):
            raise WireError(f"{FILE_FIELD}_usual", f"no {len(words)} values of 0 to {CAPITAL_BY_ENDING}")
        special = _special(arrays["special"], np.flatnonzero(usual == SPECIAL_FORM).tolist(), words)
        if len(histories) > TURN_LIMIT or len(codes) != len(histories):
            raise WireError(f"{FILE_FIELD}_turn_forms", f"{len(codes)} of {len(histories)} words")
        if len(histories) and not (
            histories[-1] < len(words) ** 2 and (histories[1:] > histories[:-1]).all()
        ):
            raise WireError(f"{FILE_FIELD}_turn_histories", "do not rise, or name words that are not there")
        turned = (histories % np.uint64(max(len(words), 1)))[codes == SPECIAL_FORM]
        if (len(codes) and codes.max() > SPECIAL_FORM) or not all(
            int(number) in special for number in turned
        ):
            raise WireError(f"{FILE_FIELD}_turn_forms", f"are not 0 to {SPECIAL_FORM}, or have no such form")
        return cls(usual, special, histories.astype(np.int64), codes)


def _endings(counts: CaseCounts) -> dict[str, list[int]]:
    """Of each ending of words, how many there are, and how many have a capital."""
    endings: dict[str, list[int]] = {}
    for key in counts.forms:
        has_capital = counts.usual(key) != key
        for letters in ENDING_LETTERS:
            if len(key) >= letters:
                found = endings.setdefault(key[-letters:], [0, 0])
                found[0] += 1
                found[1] += has_capital
    return endings


def _has_capital(endings: Mapping[str, Sequence[int]], key: str) -> bool:
    """Whether words with the longest ending of a key that enough words have are written with a capital."""
    if not key.isalpha():
        return False
    for letters in ENDING_LETTERS:
        words, capitals = endings.get(key[-letters:], (0, 0)) if len(key) >= letters else (0, 0)
        if words >= ENDING_WORDS:
            return capitals >= ENDING_SHARE * words
    return False


def _code_of(form: str, key: str) -> int:
    if form == key:
        return AS_KEY
    if form == capitalized(key):
        return CAPITAL
    return CAPITALS if form == key.upper() else SPECIAL_FORM


def _special(array: npt.NDArray[Any], numbers: Sequence[int], words: Sequence[str]) -> dict[int, str]:
    where = f"{FILE_FIELD}_special"
    try:
        text = array.tobytes().decode()
    except UnicodeDecodeError as error:
        raise WireError(where, f"is no UTF-8: {error}") from None
    forms = text.split("\n") if text else []
    if len(forms) != len(numbers):
        raise WireError(where, f"{len(forms)} forms of {len(numbers)} words")
    for number, form in zip(numbers, forms, strict=True):
        if len(form) > WORD_LIMIT or normal(form) != words[number]:
            raise WireError(where, f"{form!r:.80} is no form of {words[number]!r:.80}")
    return dict(zip(numbers, forms, strict=True))
