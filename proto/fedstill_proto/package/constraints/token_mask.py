"""Masks the next token of a text that is being written, so that nothing suppressed ever ends in it.

A token is suppressed where what it adds holds something suppressed by itself, or with the text before it: a
word may be made of several sub-words, and a phrase of several words. So as never to be one token late, a
token that ends in a suppressed word is taken for that word, even where the next one might go on to another.

    masked(logits, ids)         logits [V] with -inf for suppressed tokens
    allows(ids, token)          the exact answer for one token, by the text that it makes
    choose(logits, ids, draw)   draws until a token is allowed: exact whatever the tokenizer does

`masked` looks tokens up by their folded text, which is exact where a tokenizer's texts put together are the
text; where they are not (bytes of one letter in several tokens, say), `choose` still is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import FedstillError
from fedstill_proto.package.constraints.folding import folded
from fedstill_proto.package.constraints.suppressor import TAIL_LETTERS, Suppressor
from fedstill_proto.text.vocabulary import CONTINUES, MARKS, SPECIAL, WordList, is_word, split

_TAIL_TOKENS = 64
_LAST = "\U0010ffff"

Draw = Callable[[FloatArray], int]


class NothingAllowed(FedstillError):
    """Every next token is suppressed."""


class TokenMask:
    """The tokens of one vocabulary under one list.

    Args:
        suppressor: The list.
        texts: What each token [V] adds to a text, with the space that it begins with, if any; "" for special
            tokens.
        decode: The text of tokens, where that is not their texts put together.
    """

    def __init__(
        self,
        suppressor: Suppressor,
        texts: Sequence[str],
        *,
        decode: Callable[[Sequence[int]], str] | None = None,
    ) -> None:
        self._suppressor, self._texts = suppressor, texts
        self._decode = decode or (lambda ids: "".join(texts[each] for each in ids))
        self._alone = np.array([suppressor.at_end_of_text(text) for text in texts], bool)
        ordered = sorted((_written(text), token) for token, text in enumerate(texts) if text)
        self._written = [text for text, _ in ordered]
        self._tokens = [token for _, token in ordered]
        self._patterns = _patterns(suppressor)

    @classmethod
    def of_word_list(cls, suppressor: Suppressor, words: WordList) -> TokenMask:
        """The mask of the words, marks and pieces of a list."""
        return cls(suppressor, [_text_of(entry) for entry in words.entries])

    @classmethod
    def of_decoder(
        cls, suppressor: Suppressor, decode: Callable[[Sequence[int]], str], *, size: int, behind: int
    ) -> TokenMask:
        """The mask of a tokenizer's tokens 0 to size - 1.

        Args:
            suppressor: The list.
            decode: The text of tokens.
            size: How many there are.
            behind: A token of letters: what others add to a text is read behind it, where a decoder leaves
                the space before a first word out.
        """
        before = decode([behind])
        texts = []
        for token in range(size):
            both = decode([behind, token])
            texts.append(both[len(before) :] if both.startswith(before) else decode([token]))
        return cls(suppressor, texts, decode=decode)

    def masked(self, logits: FloatArray, ids: Sequence[int]) -> FloatArray:
        """Logits [V] behind tokens, in which suppressed ones are -inf; raises NothingAllowed."""
        suppressed = self.suppressed(ids)
        if not suppressed.any():
            return logits
        result = np.where(suppressed, np.float32(-np.inf), logits)
        if not np.isfinite(result).any():
            raise NothingAllowed("all next tokens are suppressed; the list of constraints is too wide.")
        return np.asarray(result, np.float32)

    def suppressed(self, ids: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Which tokens [V] must not come behind others."""
        if self._suppressor.is_idle:
            return self._alone
        tail = self._tail(ids)
        result = self._alone
        for rest in self._rests(f" {_written(tail).lstrip()}"):  # a text begins with a word
            begin = bisect_left(self._written, rest)
            end = bisect_left(self._written, rest + _LAST, begin)
            for token in self._tokens[begin:end]:
                if not result[token] and self._ends(tail, self._texts[token]):
                    result = result.copy() if result is self._alone else result
                    result[token] = True
        return result

    def allows(self, ids: Sequence[int], token: int) -> bool:
        """Whether a token may come behind others, by the text that they make together."""
        if self._alone[token]:
            return False
        if self._suppressor.is_idle:
            return True
        recent = list(ids[-_TAIL_TOKENS:])
        before, whole = self._decode(recent), self._decode([*recent, token])
        begin = len(before) if whole.startswith(before) else max(0, len(before) - 4)
        return not self._suppressor.at_end_of_text(whole, begin)

    def choose(self, logits: FloatArray, ids: Sequence[int], draw: Draw) -> int:
        """The token that `draw` takes of logits [V], drawn again with it masked where it is suppressed."""
        left = self.masked(logits, ids)
        while True:
            token = draw(left)
            if self.allows(ids, token):
                return token
            left = np.array(left, np.float32)
            left[token] = -np.inf
            if not np.isfinite(left).any():
                raise NothingAllowed("all next tokens are suppressed; the list of constraints is too wide.")

    def _tail(self, ids: Sequence[int]) -> str:
        return self._decode(list(ids[-_TAIL_TOKENS:]))[-TAIL_LETTERS:]

    def _ends(self, tail: str, text: str) -> bool:
        return self._suppressor.at_end_of_text(tail + text, len(tail))

    def _rests(self, tail: str) -> set[str]:
        """What a token would begin with that completes a pattern which the tail (as `_written`) has begun."""
        rests: set[str] = set()
        for begin in range(max(0, len(tail) - TAIL_LETTERS), len(tail)):
            open_part = tail[begin:]
            first = bisect_left(self._patterns, open_part)
            while first < len(self._patterns) and self._patterns[first].startswith(open_part):
                if len(self._patterns[first]) > len(open_part):
                    rests.add(self._patterns[first][len(open_part) :])
                first += 1
        return rests


def _patterns(suppressor: Suppressor) -> list[str]:
    """Words and phrases as " word word", sequences as they are: folded, in the alphabet's order."""
    given = suppressor.constraints
    words = {" " + " ".join(folded(key) for key in split(text) if is_word(key)) for text in given.all_words}
    runs = {" ".join(map(folded, split(text))) for text in given.all_sequences}
    return sorted(words | runs)


def _written(text: str) -> str:
    """A text as patterns are: words folded, one space before each that does not go on with the one before."""
    if not text:
        return ""
    starts = " " if not text[0].isalnum() else ""
    ends = " " if text[-1].isspace() else ""
    return starts + " ".join(folded(key) for key in split(text) if is_word(key)) + ends


def _text_of(entry: str) -> str:
    if entry in SPECIAL:
        return ""
    if entry in MARKS:
        return entry
    return entry.removeprefix(CONTINUES) if entry.startswith(CONTINUES) else f" {entry}"
