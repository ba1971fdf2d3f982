"""What the tokens of a package's student say: the words of its list, or the sub-words of its tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fedstill_proto.errors import FedstillError
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.constraints.suppressor import Suppressor
from fedstill_proto.package.constraints.token_mask import TokenMask
from fedstill_proto.package.subword_texts import SubwordTexts
from fedstill_proto.package.subwords import NEXT_TOKEN
from fedstill_proto.text.vocabulary import START, UNKNOWN, WordList

from fedstill_client.model.word_list import package_word_list


class GenerationError(FedstillError):
    """The student writes no text."""


class TokenTexts(Protocol):
    """Text as a student's tokens, and back.

    Attributes:
        begin: The token that texts begin with.
        ends: Those that end a text.
        never: Those that say nothing, and are never drawn.
    """

    begin: int
    ends: frozenset[int]
    never: frozenset[int]

    def numbers(self, text: str) -> list[int]:
        """The tokens of a text, from its beginning on."""

    def text(self, numbers: Sequence[int]) -> str:
        """What tokens say."""

    def mask(self, suppressor: Suppressor) -> TokenMask:
        """What keeps a list's words from being written."""


class WordTexts:
    """The words, marks and pieces of a list; a text stands between two STARTs."""

    begin, ends, never = START, frozenset({START}), frozenset({UNKNOWN})

    def __init__(self, words: WordList) -> None:
        self._words = words

    def numbers(self, text: str) -> list[int]:
        return [START, *self._words.encode(text)]

    def text(self, numbers: Sequence[int]) -> str:
        return self._words.decode(numbers)

    def mask(self, suppressor: Suppressor) -> TokenMask:
        return TokenMask.of_word_list(suppressor, self._words)


def package_texts(package: StudentPackage) -> TokenTexts:
    """What a package's tokens say.

    Raises:
        GenerationError: Its student writes no text, or the package does not say what its numbers mean.
        WireError: Its vocabulary.json or tokenizer.json is not one for its student.
    """
    subwords = package.manifest.subwords
    if subwords is not None and subwords.answer == NEXT_TOKEN and package.tokenizer is not None:
        return SubwordTexts(package.tokenizer, pad=subwords.pad, size=subwords.size)
    words = package_word_list(package)
    if words is None:
        raise GenerationError(
            f"the student {package.manifest.family!r} writes no text: it is none of text, or its package "
            "brings no vocabulary.json or tokenizer.json."
        )
    return WordTexts(words)
