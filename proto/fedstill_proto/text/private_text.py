"""What must not be learned from what people type, and the text without it.

Not learned are numbers of four digits and more, what looks like a password or a key, cards (Luhn), IBANs,
e-mail, links with a name or a key, addresses of streets and machines, and whatever a text itself says is a
password, a PIN, a code or a user's name (the room fedstill_proto.text.unlearned has the rules, a kind a
file). All else stays as it is: a sentence loses its secrets, and no other word.

In place of each stands LEFT_OUT, which is read as the unknown word: nothing is learned of it, nor of what
comes behind it as though it came behind something else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass

from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.tokens import tokenize
from fedstill_proto.text.unlearned.identifiers import private_identifiers
from fedstill_proto.text.unlearned.numbers import private_numbers
from fedstill_proto.text.unlearned.parts import FoldedText, PrivatePart
from fedstill_proto.text.unlearned.places import private_places
from fedstill_proto.text.unlearned.shapes import has_many_signs, is_dense, secret_shape
from fedstill_proto.text.unlearned.told import told_secrets
from fedstill_proto.text.vocabulary import SPECIAL, TEXT_LIMIT, UNKNOWN, key_of

RULES = 1
"""Another number with each change of the rules: what was kept under others is looked through again."""
LEFT_OUT = SPECIAL[UNKNOWN]
_RUN = re.compile(r"[^\s/\\,;:=|()\[\]{}<>\"“”„«»…。，]{6,}")
_SIGNS_AMONG = re.compile(r"(?<!\S)[!-.0-~]{7,64}+(?!\S)")
_LONG_RUN = re.compile(r"[A-Za-z0-9+/_-]{20,}+={0,2}")
_EDGES = "'’‘.!?*_~-+&#%^`"
_LONGEST_RUN = 4096  # characters without a space; what is longer is nothing that a person types


@dataclass(frozen=True)
class LearnableText:
    """A text without what must not be learned.

    Attributes:
        text: The text, with LEFT_OUT in place of each part.
        parts: The parts of the text as it was written, in order.
    """

    text: str
    parts: tuple[PrivatePart, ...]

    @property
    def reasons(self) -> dict[str, int]:
        """How many parts were left out for each reason."""
        return dict(Counter(part.reason for part in self.parts))


def learnable(text: str) -> LearnableText:
    """The text without what must not be learned; of a text that was made so, the same."""
    parts = private_parts(text)
    if not parts:
        return LearnableText(text, ())
    pieces: list[str] = []
    at = 0
    for part in parts:
        before = text[at : part.begin]
        pieces += [before, " " * _touches(before[-1:]), LEFT_OUT]
        at = part.end
        pieces.append(" " * _touches(text[at : at + 1]))
    return LearnableText("".join([*pieces, text[at:]]), parts)


def private_parts(text: str) -> tuple[PrivatePart, ...]:
    """The parts of a text that must not be learned, in order, none within another.

    Raises:
        InvalidValue: The text is too long.
    """
    if len(text) > TEXT_LIMIT:
        raise InvalidValue("text", f"{len(text)} characters; give {TEXT_LIMIT} at most at a time")
    folded = FoldedText.of(text)
    found = sorted(folded.as_written(_found(folded.text)), key=lambda part: (part.begin, -part.end))
    if LEFT_OUT in text:
        places = [match.span() for match in re.finditer(LEFT_OUT, text)]
        found = [part for part in found if not any(b <= part.begin and part.end <= e for b, e in places)]
    parts: list[PrivatePart] = []
    for part in found:
        if parts and part.begin < parts[-1].end:
            last = parts[-1]
            if part.end > last.end:
                parts[-1] = PrivatePart(last.begin, part.end, last.reason)
        else:
            parts.append(part)
    return tuple(parts)


def without_words(text: str, keys: Set[str], *, found: set[str] | None = None) -> str:
    """The text with LEFT_OUT in place of some words.

    Args:
        text: The text.
        keys: The words as `normal` gives them.
        found: Those of them that the text has are added to it.
    """
    if not keys:
        return text
    pieces: list[str] = []
    at = 0
    for token in tokenize(text):
        key = key_of(token.text, token.kind)
        if key in keys:
            pieces += [text[at : token.begin], LEFT_OUT]
            at = token.end
            if found is not None:
                found.add(key)
    return "".join([*pieces, text[at:]])


def is_private_word(word: str) -> bool:
    """Whether a word by itself is one that must not be learned."""
    return bool(private_parts(word))


def _found(text: str) -> Iterator[PrivatePart]:
    yield from private_identifiers(text)
    yield from private_numbers(text)
    yield from private_places(text)
    yield from told_secrets(text)
    yield from _shapes(text)


def _shapes(text: str) -> Iterator[PrivatePart]:
    for match in _SIGNS_AMONG.finditer(text):
        if has_many_signs(match.group()):
            yield PrivatePart(match.start(), match.end(), "password")
    for match in _LONG_RUN.finditer(text):
        if is_dense(match.group()):
            yield PrivatePart(match.start(), match.end(), "key")
    for match in _RUN.finditer(text):
        begin, end = match.span()
        if end - begin > _LONGEST_RUN:
            yield PrivatePart(begin, end, "no word")
            continue
        written = match.group()
        word = written.strip(_EDGES)
        if word.isalpha() and (word.islower() or word.istitle()) and (len(word) < 8 or not word.isascii()):
            continue
        reason = secret_shape(word)
        if reason:
            begin += written.index(word)
            yield PrivatePart(begin, begin + len(word), reason)


def _touches(sign: str) -> bool:
    """Whether a sign would become one word with what stands beside it."""
    return sign.isalnum() or (sign in ("_", "'", "-") and bool(sign))
