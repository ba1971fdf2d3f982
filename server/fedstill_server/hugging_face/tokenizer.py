"""A model's tokenizer.json: text to rows of sub-words, and what a package carries of it.

Fast tokenizers alone, read by the library tokenizers: no code of a folder runs, and the same file makes the
same rows on a device.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import WireError
from fedstill_proto.package.subwords import Subwords
from fedstill_proto.subwords.tokenizer_check import TOKENIZER_LIMIT_BYTES, check_tokenizer

from fedstill_server.hugging_face.errors import HubModelError

TOKENIZER_FILE, _SPECIAL_FILE = "tokenizer.json", "tokenizer_config.json"
_SLOW = ("vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
_PAD_WORDS = ("[PAD]", "<pad>", "<|endoftext|>", "</s>", "<|end_of_text|>")


@dataclass(frozen=True, eq=False)
class SubwordTokenizer:
    """A tokenizer that is read.

    Attributes:
        content: tokenizer.json.
        pad: The number that a short row is filled up with.
        size: How many sub-words it knows: numbers are below it.
        library: The version of the library tokenizers.
    """

    content: bytes
    pad: int
    size: int
    library: str

    @classmethod
    def of_folder(cls, folder: Path, *, pad: int | None = None) -> SubwordTokenizer | None:
        """That of a model's folder; None where it has none at all.

        Args:
            folder: Where tokenizer.json lies.
            pad: What config.json says of the padding, where the tokenizer's own files do not.

        Raises:
            HubModelError: It cannot be read, or is one of the slow kind.
        """
        path = folder / TOKENIZER_FILE
        if not path.is_file():
            slow = next((name for name in _SLOW if (folder / name).is_file()), None)
            if slow is None:
                return None
            raise HubModelError(
                f"{folder}: has {slow} and no tokenizer.json: slow tokenizers run on no device; make one "
                "with transformers' AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
            )
        return cls.of_bytes(_content(path), where=str(path), pad_word=_pad_word(folder), pad=pad)

    @classmethod
    def of_bytes(
        cls, content: bytes, *, where: str, pad_word: str | None = None, pad: int | None = None
    ) -> SubwordTokenizer:
        """That of a tokenizer.json; raises HubModelError."""
        import tokenizers

        try:
            opened: Any = tokenizers.Tokenizer.from_str(content.decode())
        except Exception as error:  # the library raises nothing more special
            raise HubModelError(f"{where}: not a tokenizer ({str(error)[:200]})") from None
        entries: dict[str, int] = opened.get_vocab(with_added_tokens=True)
        if len(entries) < 2:
            raise HubModelError(f"{where}: knows {len(entries)} sub-words")
        own = opened.padding or {}
        words = (pad_word, own.get("pad_token"), *_PAD_WORDS) if pad is None else (pad_word,)
        known = next((entries[word] for word in words if word in entries), pad)
        if known is None:
            raise HubModelError(
                f"{where}: it has no padding; name its pad_token in tokenizer_config.json, or pad_token_id "
                "in config.json"
            )
        return cls(content, known, max(entries.values()) + 1, tokenizers.__version__)

    def rows(self, texts: Sequence[str], *, places: int) -> FloatArray:
        """Texts as rows [n, places], float32: cut, or filled up with the padding at the end.

        They are those of `fedstill_proto.subwords.reader`, which devices read with; many at a time.
        """
        rows = np.full((len(texts), places), self.pad, np.float32)
        for row, encoded in zip(rows, self._opened(places).encode_batch(list(texts)), strict=True):
            numbers = [number for number in encoded.ids if number != self.pad]
            row[: len(numbers)] = numbers
        return rows

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """How many sub-words each text has, uncut."""
        return [len(encoded.ids) for encoded in self._opened(None).encode_batch(list(texts))]

    def reads_as(self, other: SubwordTokenizer) -> bool:
        """Whether both make the same rows of every text."""
        if self.pad != other.pad:
            return False
        return (
            self.content == other.content or self._opened(1 << 12).to_str() == other._opened(1 << 12).to_str()
        )

    def numbers(self, texts: Sequence[str]) -> list[list[int]]:
        """The sub-words of each text, uncut, and without those that stand around one that is read alone."""
        opened = self._opened(None)
        opened.no_padding()
        return [encoded.ids for encoded in opened.encode_batch(list(texts), add_special_tokens=False)]

    def packaged(self, *, places: int, size: int, answer: str) -> tuple[bytes, Subwords]:
        """tokenizer.json of a package, and what its manifest says of it.

        Args:
            places: The numbers of a row.
            size: How many sub-words the student knows.
            answer: What it says of a text.

        Raises:
            HubModelError: No device reads such a tokenizer.
        """
        content = self._opened(places).to_str().encode()
        try:
            check_tokenizer(content)
        except WireError as error:
            raise HubModelError(f"tokenizer.json: no device reads it: {error}") from None
        described = Subwords(places=places, pad=self.pad, size=size, library=self.library, answer=answer)
        return content, described

    def _opened(self, places: int | None) -> Any:
        from tokenizers import Tokenizer

        opened: Any = Tokenizer.from_str(self.content.decode())
        if places is None:
            opened.no_truncation()
        else:
            opened.enable_truncation(places)
        opened.no_padding()
        opened.encode_special_tokens = True  # a text that spells "[PAD]" says letters
        return opened


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(TOKENIZER_LIMIT_BYTES + 1)
    except OSError as error:
        raise HubModelError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) > TOKENIZER_LIMIT_BYTES:
        raise HubModelError(f"{path}: larger than {TOKENIZER_LIMIT_BYTES:,d} bytes")
    return content


def _pad_word(folder: Path) -> str | None:
    """The padding as tokenizer_config.json names it."""
    path = folder / _SPECIAL_FILE
    if not path.is_file() or path.stat().st_size > TOKENIZER_LIMIT_BYTES:
        return None
    try:
        word = json.loads(path.read_bytes()).get("pad_token")
    except (ValueError, AttributeError, RecursionError):
        return None
    word = word.get("content") if isinstance(word, dict) else word
    return word if isinstance(word, str) else None
