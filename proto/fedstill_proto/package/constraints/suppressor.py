"""Finds what a list suppresses: in a word, behind a context, and at the end of a text that is written."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence

from fedstill_proto.package.constraints.constraints import NO_CONSTRAINTS, Constraints
from fedstill_proto.package.constraints.folding import folded, forms, parts_of
from fedstill_proto.text.tokens import tokenize
from fedstill_proto.text.vocabulary import is_word, key_of, normal, split

TAIL_LETTERS = 240  # of a text, in which what ends with its last word is looked for
_SPELLED = 3  # letters by themselves, from which on they may spell a word


class Suppressor:
    """A list, ready to be asked; one that suppresses no words finds nothing."""

    def __init__(self, constraints: Constraints) -> None:
        self.constraints = constraints
        self._exact = frozenset(normal(word) for word in constraints.all_words)
        self._allowed = frozenset(normal(word) for word in constraints.allowed) - self._exact
        self._single: set[str] = set()
        # By the folded part before the last one: all parts but the last, and the last.
        self._phrases: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for text in constraints.all_words:
            parts = tuple(filter(None, map(folded, split(text))))
            if not parts:
                continue
            if len(parts) == 1:
                self._single.add(parts[0])
            else:
                self._phrases.setdefault(parts[-2], []).append((parts[:-1], parts[-1]))
        runs = sorted({" ".join(map(folded, split(text))) for text in constraints.all_sequences} - {""})
        self._runs = re.compile("|".join(map(re.escape, runs))) if runs else None
        self._across = any(" " in run for run in runs)

    @property
    def is_idle(self) -> bool:
        """Whether no word is ever suppressed."""
        return not (self._single or self._phrases or self._runs)

    def word(self, key: str) -> bool:
        """Whether a word is suppressed by itself, wherever it stands."""
        if self.is_idle or normal(key) in self._allowed:
            return False
        if any(self._is_single(form) for form in forms(key)):
            return True
        parts = parts_of(key)
        return len(parts) > 1 and (
            any(self._is_single(form) for part in parts for form in forms(part))
            or any(self._ends_phrase(parts[: end + 1]) for end in range(1, len(parts)))
        )

    def after(self, context: Sequence[str]) -> frozenset[str]:
        """What must not come next behind words: the folded forms that would complete a phrase."""
        if not self._phrases or not context:
            return frozenset()
        before = _parts(context)
        return frozenset(
            last
            for form in forms(before[-1])
            for preceding, last in self._phrases.get(form, ())
            if _match(before[-len(preceding) :], preceding)
        )

    def at_end(self, words: Sequence[str]) -> bool:
        """Whether something suppressed ends in the last of these words."""
        if self.is_idle or not words:
            return False
        last = words[-1]
        if self.word(last):
            return True
        forbidden = self.after(words[:-1])
        if forbidden and any(form in forbidden for form in forms(parts_of(last)[0])):
            return normal(last) not in self._allowed
        if self._across and self._runs is not None:
            before = " ".join(folded(word) for word in words[-8:-1])
            whole = f"{before} {folded(last)}"
            if any(found.end() > len(before) + 1 for found in self._runs.finditer(whole)):
                return True
        return self._is_spelled(words)

    def at_end_of_text(self, text: str, begin: int = 0) -> bool:
        """Whether something suppressed ends in what a text has from a character on; it may begin before.

        Args:
            text: A text, perhaps in the middle of a word.
            begin: Where what is new begins; the word that it goes on with counts as new.
        """
        if self.is_idle:
            return False
        cut = max(0, begin - TAIL_LETTERS)
        words: list[str] = []
        for token in tokenize(text[cut:]):
            key = key_of(token.text, token.kind)
            if not key or not is_word(key):
                continue
            words.append(key)
            if token.end + cut > begin and self.at_end(words):
                return True
        return False

    def found(self, text: str) -> str:
        """The first word of a text with which something suppressed ends; "" where there is none."""
        words: list[str] = []
        for key in split(text):
            if is_word(key):
                words.append(key)
                if self.at_end(words[-12:]):
                    return key
        return ""

    def _is_single(self, form: str) -> bool:
        return form in self._single or (self._runs is not None and self._runs.search(form) is not None)

    def _ends_phrase(self, parts: Sequence[str]) -> bool:
        return any(form in self.after(parts[:-1]) for form in forms(parts[-1]))

    def _is_spelled(self, words: Sequence[str]) -> bool:
        """Whether the last words are letters that spell a suppressed word: "d a m n"."""
        letters = ""
        for word in reversed(words[-24:]):
            if len(word) != 1:
                break
            letters = word + letters
            if len(letters) >= _SPELLED and any(form in self._single for form in forms(letters)):
                return True
        return False


@functools.lru_cache(maxsize=8)
def suppressor_of(constraints: Constraints) -> Suppressor:
    """The same list is made ready once."""
    return Suppressor(constraints)


NOTHING_SUPPRESSED = suppressor_of(NO_CONSTRAINTS)


def _parts(words: Iterable[str]) -> list[str]:
    return [part for word in words for part in parts_of(word)]


def _match(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    return len(parts) == len(wanted) and all(
        want in forms(part) for part, want in zip(parts, wanted, strict=True)
    )
