"""Texts as rows of sub-words: what a package's tokenizer makes of them, as the student was taught.

A row holds numbers of sub-words as float32, exact below 2^24, and the padding's number behind them. What is
special to the student, such as [SEP], cannot be said by a text that spells it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import FedstillError, InvalidValue, WireError
from fedstill_proto.subwords.tokenizer_check import EXACT_LIMIT, check_tokenizer
from fedstill_proto.system.extras import explain_missing

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

TEXT_LIMIT = 1 << 16
"""Characters of one text."""
TEXTS_LIMIT = 4096
"""Texts in one request."""
_Result = TypeVar("_Result")


class SubwordReader:
    """Reads texts by a tokenizer.json.

    Args:
        tokenizer: The file's content; it is looked through first.
        places: Sub-words of a row; longer texts are cut.
        pad: The number that stands behind a text.

    Raises:
        MissingExtra: The library of tokenizers is not installed.
        WireError: The file is not one that this agent reads.
    """

    def __init__(self, tokenizer: bytes, *, places: int, pad: int) -> None:
        check_tokenizer(tokenizer)
        self.places, self.pad = places, pad
        self._tokenizer = _opened(tokenizer)
        around = self._tokenizer.num_special_tokens_to_add(False)
        if not around < places:
            raise WireError(
                "subwords.places", f"{places}, no more than the {around} special sub-words of each"
            )
        if not 0 <= pad < EXACT_LIMIT:
            raise WireError("subwords.pad", f"{pad} is no number of a sub-word")
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length=places)
        # A text that spells "[PAD]" or "</s>" says letters, and nothing to the student.
        self._tokenizer.encode_special_tokens = True

    @property
    def size(self) -> int:
        """How many sub-words there are."""
        return int(self._tokenizer.get_vocab_size(True))

    def fits(self, text: str) -> bool:
        """Whether nothing of a text is cut off in a row."""
        return len(text) <= TEXT_LIMIT and not self._encoded(text).overflowing

    def numbers(self, text: str) -> list[int]:
        """The numbers of a text's sub-words, with the special ones around them, `places` at most.

        Raises:
            InvalidValue: The text is too long, or there is nothing in it.
        """
        found = self._encoded(text)
        if all(found.special_tokens_mask):
            raise InvalidValue("text", f"{text!r:.60} holds no sub-word")
        numbers = [int(number) for number in found.ids if number != self.pad]
        if max(numbers) >= EXACT_LIMIT:
            raise InvalidValue("text", f"{text!r:.40} has a sub-word of number {max(numbers)}")
        return numbers

    def rows(self, texts: Sequence[str]) -> FloatArray:
        """Texts as a student takes them [texts, places], float32; raises InvalidValue, naming the text."""
        if len(texts) > TEXTS_LIMIT:
            raise InvalidValue("texts", f"{len(texts)}; give {TEXTS_LIMIT} at most at a time")
        rows = np.full((len(texts), self.places), self.pad, np.float32)
        for row, text in enumerate(texts):
            try:
                numbers = self.numbers(text)
            except InvalidValue as error:
                raise InvalidValue(f"texts[{row}]", error.problem) from None
            rows[row, : len(numbers)] = numbers
        return rows

    def text(self, numbers: Iterable[int]) -> str:
        """The text of sub-words, without the special ones."""
        wanted = [int(number) for number in numbers]
        return str(_without_panic(lambda: self._tokenizer.decode(wanted, skip_special_tokens=True)))

    def _encoded(self, text: str) -> Encoding:
        checked = _checked(text)
        try:
            return _without_panic(lambda: self._tokenizer.encode(checked))
        except _LibraryFailed as error:
            problem = f"{text!r:.40} cannot be read by the package's tokenizer: {error}"
            raise InvalidValue("text", problem) from None


class _LibraryFailed(FedstillError):
    """The library of tokenizers gave up."""


def _opened(content: bytes) -> Tokenizer:
    with explain_missing("reading texts as sub-words"):
        import tokenizers
    try:
        return _without_panic(lambda: tokenizers.Tokenizer.from_buffer(content))
    except _LibraryFailed as error:
        raise WireError(
            "tokenizer", f"tokenizers {tokenizers.__version__} does not read it: {str(error)[:200]}"
        ) from None


def _without_panic(call: Callable[[], _Result]) -> _Result:
    """What a call into the library gives; its errors, and the panics of its Rust, as _LibraryFailed."""
    try:
        return call()
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise  # someone pressed Ctrl-C
        raise _LibraryFailed(
            str(error).strip().splitlines()[0] if str(error).strip() else "no reason"
        ) from None


def _checked(text: str) -> str:
    if not isinstance(text, str):
        raise InvalidValue("text", f"is a {type(text).__name__}; give texts")
    if len(text) > TEXT_LIMIT:
        raise InvalidValue("text", f"{len(text)} characters; give {TEXT_LIMIT} at most")
    return text.encode("utf-8", "ignore").decode()  # a half of a surrogate pair is no text
