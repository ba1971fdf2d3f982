"""How suggestions are written: as the owner writes them, as people do, and with the capitals that are typed.

The owner's own forms count beside the public table's (casing.py of the contract), which stands for
PUBLIC_TIMES times that a word was typed. Where a sentence starts, a word has a capital, unless the owner
leaves that out, with this word or in general. Capitals of the letters typed so far stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from fedstill_proto.text.casing import (
    CaseCounts,
    CasePlace,
    CaseTable,
    capitalized,
    place_behind,
    written_words,
)
from fedstill_proto.text.tokens import EMOJI, WORD
from fedstill_proto.text.vocabulary import normal

PUBLIC_TIMES = 3.0  # that a form of the public table counts as
UNSEEN_TIMES = 0.5  # that a likely form counts as, of a word that the table has not seen
LAZY_SHARE = 0.5  # that a small word counts as which people write with capitals: "i", "nasa"
TURN_TIMES = 2.0  # that one behind the same word counts as
STYLE_STARTS, STYLE_SHARE = 30, 1 / 3  # sentences that tell whether the owner begins them with capitals
_CURLY = "’"


class OwnCasing:
    """The forms in which the owner of a device has written words."""

    def __init__(self) -> None:
        self._counts = CaseCounts()
        self._small_starts: Counter[str] = Counter()
        self._capital_starts: Counter[str] = Counter()
        self._apostrophes: Counter[bool] = Counter()  # whether they are curly

    def add(self, text: str) -> None:
        """Count a text that was typed."""
        for word in written_words(text):
            if word.kind is EMOJI:
                self._counts.forms.setdefault(word.key, Counter())[word.written] += 1
            elif word.kind is WORD:
                self._counts.add(word)
                if "'" in word.form:
                    self._apostrophes[_CURLY in word.written] += 1
                if word.starts_sentence:
                    is_small = word.form == word.key and capitalized(word.key) != word.key
                    (self._small_starts if is_small else self._capital_starts)[word.key] += 1

    def form(self, key: str, previous: str, *, public: str, is_seen: bool) -> str:
        """How a word is written within a sentence.

        Args:
            key: The word, in lower case.
            previous: The key of the word or mark before it.
            public: How people write it there.
            is_seen: Whether that was seen, or is what is likely.
        """
        times = {public: PUBLIC_TIMES if is_seen else UNSEEN_TIMES}
        turns = self._counts.turns.get((previous, key), Counter[str]())
        for form, count in self._counts.forms.get(key, {}).items():
            is_lazy = is_seen and form == key != public
            share = LAZY_SHARE if is_lazy else 1.0
            times[form] = times.get(form, 0.0) + share * (count + TURN_TIMES * turns[form])
        form = max(times, key=lambda each: times[each])
        if "'" in form and self._apostrophes[True] > self._apostrophes[False]:
            return form.replace("'", _CURLY)
        return form

    def starts_small(self, key: str) -> bool:
        """Whether the owner writes a word in small letters where a sentence starts."""
        small, capital = self._small_starts[key], self._capital_starts[key]
        if small + capital > 1:
            return small > capital
        small, starts = self._small_starts.total(), self._small_starts.total() + self._capital_starts.total()
        return starts >= STYLE_STARTS and starts - small < STYLE_SHARE * starts


class Casing:
    """Writes the words of one device, given the public table and the owner's own forms.

    Args:
        own: The owner's forms.
        table: The public table; none where a package has none.
        number: The number of a key, as in the table.
    """

    def __init__(self, own: OwnCasing, table: CaseTable | None, number: Callable[[str], int]) -> None:
        self._own, self._table, self._number = own, table, number
        self._place: tuple[str, CasePlace] = ("", place_behind(""))

    def written(self, key: str, context: str, letters: str) -> str:
        """How a word is written behind a context, of which `letters` are typed ("" for none)."""
        place = self._place_of(context)
        number = self._number(key)
        public, is_seen = key, False
        if self._table is not None:
            public = self._table.form(number, key, self._number(place.previous))
            is_seen = self._table.is_seen(number)
        form = self._own.form(key, place.previous, public=public, is_seen=is_seen)
        if letters:
            return with_letters(form, letters)
        if place.starts_sentence and not self._own.starts_small(key):
            return capitalized(form)
        return form

    def _place_of(self, context: str) -> CasePlace:
        asked, place = self._place  # as another thread may replace it
        if asked != context:
            place = place_behind(context)
            self._place = (context, place)
        return place


def with_letters(form: str, letters: str) -> str:
    """A word with the capitals of what is typed: "Na" gives "NASA" and "Nach", "NA" "NACH", "iP" "iPhone".

    Args:
        form: How the word is written.
        letters: Its letters so far, or those that were meant to be.
    """
    cased = [letter for letter in letters if letter.isupper() or letter.islower()]
    capitals = sum(map(str.isupper, cased))
    if not capitals:
        return form
    if 1 < capitals == len(cased):
        return form.upper()
    if len(normal(letters)) == len(letters) and normal(form).startswith(normal(letters)):
        fits = not any(letter.isupper() and letter != form[at] for at, letter in enumerate(letters))
        if fits or capitals > cased[0].isupper():
            return form if fits else letters + form[len(letters) :]
    return capitalized(form) if cased[0].isupper() else form
