"""What stands before the cursor, and which sentences were typed there.

Both follow the keys. An app that gives the text around its cursor does so a moment after it has changed, so
that what it says may be older than the last keys.
"""

from __future__ import annotations

SENTENCE_MARKS = ".!?…。！？।؟"
_CONTEXT_LIMIT = 20_000  # characters that are kept of what stands before the cursor
_ASKED_LIMIT = 400  # characters that a question has at most, and half of it at least
_LATE_LIMIT = 60  # characters that an app may be behind the keys
_TOLD_APART = 4  # characters before the cursor, which places in a text differ in
_SENTENCE_LIMIT = 2000  # characters


class TextBefore:
    """The text before the cursor, as far as it is known."""

    def __init__(self) -> None:
        self._text = ""
        self._is_sure = False
        self._taken_back = 0  # characters, of which the app may still speak
        self._told = 0  # characters that the app spoke of last
        self.is_told = False  # by the app

    def add(self, text: str) -> None:
        """Take in what was typed."""
        self._text = (self._text + text)[-_CONTEXT_LIMIT:]

    def take_back(self) -> None:
        """Take back one character."""
        self._text = self._text[:-1]
        self._taken_back += 1

    def doubt(self) -> None:
        """The cursor has gone elsewhere, or the text was changed by other means than keys."""
        self._is_sure = False

    def leave(self) -> None:
        """Another field has the focus."""
        self._text, self._is_sure, self._taken_back, self._told, self.is_told = "", False, 0, 0, False

    def say(self, text: str, preedit: str) -> bool:
        """Take what the app says of it; returns whether the cursor stands elsewhere than keys have led.

        Args:
            text: The text before the cursor.
            preedit: What waits at the cursor; where IBus gives it to the app, that is said first here.
        """
        text = text[-_CONTEXT_LIMIT:]
        ahead = len(self._text) - len(text)
        is_late = self._text.startswith(text) and ahead <= _LATE_LIMIT
        is_late |= text.startswith(self._text) and -ahead <= self._taken_back
        is_late |= preedit != "" and text.endswith(self._text[-_LATE_LIMIT:] + preedit)
        is_late &= len(text) + self._taken_back >= self._told  # what it says follows the keys
        self._told = len(text)
        if self._is_sure and is_late:
            self._taken_back = self._taken_back if ahead else 0
            return False
        is_elsewhere = self.is_told and text[-_TOLD_APART:] != self._text[-_TOLD_APART:]
        self._text, self._is_sure, self._taken_back, self.is_told = text, True, 0, True
        return is_elsewhere

    def __str__(self) -> str:
        """The end of the paragraph, cut at a word; at the same place for some hundred characters."""
        text = self._text.rpartition("\n")[2]
        step = _ASKED_LIMIT // 2
        begin = max(0, len(text) // step - 1) * step
        return text[begin:].partition(" ")[2] if begin else text


class SentenceTyped:
    """The sentence that is being typed, until it is whole and may be learned."""

    def __init__(self) -> None:
        self._text = ""
        self._is_skipping = False

    def add(self, text: str) -> list[str]:
        """Take in what was typed; returns the sentences that it has ended."""
        ended: list[str] = []
        for character in text:
            if character == "\n":
                ended += self.end()
            elif character.isspace():
                self._is_skipping = False
                is_whole = self._text.rstrip("\"'”’»)").endswith(tuple(SENTENCE_MARKS))
                if is_whole or len(self._text) > _SENTENCE_LIMIT:
                    ended += self.end()
                elif self._text:
                    self._text += " "
            elif not self._is_skipping:
                self._text += character
        return ended

    def take_back(self) -> None:
        """Take back one character."""
        self._text = self._text[:-1]

    def end(self) -> list[str]:
        """The sentence, if there is one, which ends here."""
        text, self._text, self._is_skipping = " ".join(self._text.split()), "", False
        return [text] if any(character.isalpha() for character in text) else []

    def forget(self) -> None:
        """Drop the sentence: it isn't known any more what of it is still there."""
        self._text, self._is_skipping = "", False

    def skip_word(self) -> None:
        """Drop the word that is being typed: an app puts letters into it that are not seen here."""
        self._text = self._text[: len(self._text) - len(self._text.split(" ")[-1])]
        self._is_skipping = True
