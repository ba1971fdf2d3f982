"""The text before a word, without what must not be learned: it grows by a word at a time, and is read once.

A text falls into pieces at the ends of sentences. What was made of each is kept under a keyed digest of it,
and nothing of what was left out stays in memory.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import OrderedDict

from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.private_text import learnable
from fedstill_proto.text.vocabulary import TEXT_LIMIT

_PIECE = re.compile(r"[\s\S]{100,400}?(?:[.!?…。！？।]\s+|\n)|[\s\S]{1,400}(?:(?<=\s)|\Z)|[\s\S]{400}")
_KEPT = 256  # pieces


class LearnableContext:
    """Contexts of one agent, as its suggester may see them."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._pieces: OrderedDict[bytes, str] = OrderedDict()

    def of(self, text: str) -> str:
        """The text without what must not be learned; raises InvalidValue for one that is too long."""
        if len(text) > TEXT_LIMIT:
            raise InvalidValue("text", f"{len(text)} characters; give {TEXT_LIMIT} at most at a time")
        return "".join(self._cleaned(piece) for piece in _PIECE.findall(text))

    def _cleaned(self, piece: str) -> str:
        digest = hashlib.blake2b(piece.encode("utf-8", "ignore"), key=self._key, digest_size=16).digest()
        kept = self._pieces.get(digest)
        if kept is None:
            kept = self._pieces[digest] = learnable(piece).text
            if len(self._pieces) > _KEPT:
                self._pieces.popitem(last=False)
        return kept
