"""Somebody who types a text with the suggestions in sight, and presses one key for the word that is meant.

Each word is looked for among the suggestions before its first letter and after each; as soon as it is among
those shown, its key (F1, F2, ...) takes it, with the space behind it. Everything else is typed letter by
letter. The next key waits until suggestions are there, a second at most: slow ones are not missed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.desktop_session.session import Desktop, Seen

SHOWN = 3
_CHUNK = re.compile(r"\s*([^\w\s]*)([\w](?:\S*\w)?)?(\S*)")
_QUIET_SECONDS, _LOOK_SECONDS = 0.06, 0.004
_PATIENCE_SECONDS = 1.2  # after a key that brings no suggestions
_NAMES = {" ": "space", "\n": "Return"}


@dataclass
class TypedText:
    """What typing came to.

    Attributes:
        wanted: The text.
        typed: What stands in the field.
        keys: Keys that were pressed.
        words: Words of the text.
        before_a_letter: Words that were taken before a letter of them was typed.
        taken: Words that were taken at all.
        key_ms: From each key to the widget's answer, in milliseconds.
        table_ms: From each key to the last change of the lookup table.
    """

    wanted: str = ""
    typed: str = ""
    keys: int = 0
    words: int = 0
    before_a_letter: int = 0
    taken: int = 0
    key_ms: list[float] = field(default_factory=list)
    table_ms: list[float] = field(default_factory=list)

    @property
    def saved(self) -> float:
        """Characters saved, as a share of all."""
        return 1 - self.keys / max(len(self.wanted), 1)


class Person:
    """Types into the field that has the focus.

    Args:
        desktop: The desktop.
        field: The field's name.
        joining: Marks that the engine takes for a part of the word before, once it was taken: before one that
            begins another word, the space is pressed.
    """

    def __init__(self, desktop: Desktop, field: str, *, joining: str = "") -> None:
        self._desktop, self._field, self._joining = desktop, field, joining
        self._seen = desktop.look()
        self.result = TypedText(typed=self._seen.texts[field])

    def type(self, lines: list[str]) -> TypedText:
        """Type texts, and Enter behind each."""
        for line in lines:
            is_taken = False  # and has its space
            for number, (before, word, after) in enumerate(chunks(line)):
                is_joined = is_taken and before[:1] != "" and before[0] in self._joining
                for mark in (" " if number and (is_joined or not is_taken) else "") + before:
                    self._press(mark)
                is_taken = bool(word) and self._word(word) and not after
                for mark in after:
                    self._press(mark)
            self._press("\n")
            self.result.wanted += " ".join(line.split()) + "\n"
        self.result.typed = self._look().texts[self._field]
        return self.result

    def _word(self, word: str) -> bool:
        """Type a word; returns whether it was taken, and has its space."""
        self.result.words += 1
        for place in range(len(word) + 1):
            if word in self._seen.table[:SHOWN]:
                self._press(f"F{self._seen.table.index(word) + 1}")
                self.result.taken += 1
                self.result.before_a_letter += place == 0
                return True
            if place < len(word):
                self._press(word[place])
        return False

    def _press(self, key: str) -> None:
        updates = self._seen.updates
        self._desktop.press_one(_NAMES.get(key, key))
        self.result.keys += 1
        self._seen = self._look(updates)
        if self._seen.key_ms is not None:
            self.result.key_ms.append(self._seen.key_ms)
        if self._seen.table_ms is not None:
            self.result.table_ms.append(self._seen.table_ms)

    def _look(self, updates: int = -1) -> Seen:
        """Look until suggestions are there and change no more, or until patience ends."""
        begin = changed = time.monotonic()
        seen = self._desktop.look()
        while True:
            now = time.monotonic()
            is_there = seen.updates != updates and seen.table and now - changed > _QUIET_SECONDS
            if is_there or now - begin > _PATIENCE_SECONDS:
                return seen
            time.sleep(_LOOK_SECONDS)
            last, seen = seen, self._desktop.look()
            if seen != last:
                changed = time.monotonic()


def chunks(line: str) -> Iterator[tuple[str, str, str]]:
    """What stands between the spaces of a line: marks, a word, and marks."""
    for chunk in line.split():
        found = _CHUNK.fullmatch(chunk)
        assert found is not None
        yield found[1], found[2] or "", found[3]
