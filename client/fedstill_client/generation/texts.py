"""What the tokens of a package's student say: the words of its list, or the sub-words of its tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Protocol

from fedstill_proto.errors import FedstillError, WireError
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.constraints.suppressor import Suppressor
from fedstill_proto.package.constraints.token_mask import TokenMask
from fedstill_proto.package.subwords import MOST_PLACES, NEXT_TOKEN
from fedstill_proto.text.vocabulary import START, UNKNOWN, WordList

from fedstill_client.model.word_list import package_word_list

_ENDS = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "<|im_end|>", "<|eot_id|>")
_BEGINNINGS = ("<s>", "<bos>", "<|begin_of_text|>")


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


class SubwordTexts:
    """The sub-words of a tokenizer.json; what ends a text begins the next one, where nothing else does.

    Args:
        tokenizer: The file's content.
        pad: The number of the padding.
        size: How many sub-words the student knows.
    """

    def __init__(self, tokenizer: bytes, *, pad: int, size: int) -> None:
        from fedstill_proto.subwords.reader import SubwordReader  # others need no library of tokenizers

        self._reader = SubwordReader(tokenizer, places=MOST_PLACES, pad=pad)
        special = _special_tokens(tokenizer)
        self._size = size
        self.ends = frozenset(number for text, number in special.items() if text in _ENDS)
        self.never = frozenset(special.values()) - self.ends | {*range(size, self._reader.size)}
        named = [special[text] for text in _BEGINNINGS if text in special]
        self.begin = [*named, *sorted(self.ends), pad][0]

    def numbers(self, text: str) -> list[int]:
        found = self._reader.numbers(text) if text else []
        return found if found and found[0] in self.never | self.ends else [self.begin, *found]

    def text(self, numbers: Sequence[int]) -> str:
        return self._reader.text(numbers)

    def mask(self, suppressor: Suppressor) -> TokenMask:
        return TokenMask.of_decoder(
            suppressor, self._reader.text, size=self._size, behind=self._reader.numbers("a")[-1]
        )


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


def _special_tokens(tokenizer: bytes) -> dict[str, int]:
    try:
        added = json.loads(tokenizer).get("added_tokens") or []
        return {str(each["content"]): int(each["id"]) for each in added if each.get("special")}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WireError("tokenizer", f"not a tokenizer.json ({str(error)[:100]})") from None
