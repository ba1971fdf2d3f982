"""The tokenizer of a package: checked at the gate, where no library of tokenizers is needed, and opened."""

from __future__ import annotations

import importlib.metadata
import re

from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import WireError
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.subwords import Subwords
from fedstill_proto.subwords.reader import SubwordReader
from fedstill_proto.subwords.tokenizer_check import check_tokenizer

from fedstill_client.agent_types import AgentError

_DISTRIBUTION = "tokenizers"
_LEADING = re.compile(r"\d+")


def check_subwords(package: StudentPackage) -> None:
    """Raises WireError unless a package's tokenizer, if it has one, is for its student."""
    subwords = package.manifest.subwords
    if package.tokenizer is None or subwords is None:
        return
    highest = check_tokenizer(package.tokenizer)
    if highest >= subwords.size:
        problem = f"it has a sub-word of number {highest}; the student knows 0 to {subwords.size - 1}"
        raise WireError("tokenizer", problem)


class PackageTexts:
    """Texts for a student of sub-words; its tokenizer is opened with the first one.

    Args:
        tokenizer: The package's tokenizer.json.
        subwords: What its manifest says of it.
    """

    def __init__(self, tokenizer: bytes, subwords: Subwords) -> None:
        self.subwords = subwords
        self._tokenizer = tokenizer
        self._reader: SubwordReader | None = None

    @classmethod
    def of(cls, package: StudentPackage) -> PackageTexts | None:
        """Those of a package; None where its student reads no sub-words."""
        subwords = package.manifest.subwords
        return None if package.tokenizer is None or subwords is None else cls(package.tokenizer, subwords)

    @property
    def reader(self) -> SubwordReader:
        """The opened tokenizer.

        Raises:
            MissingExtra: The library of tokenizers is not installed.
            AgentError: It is older than the one that made the package.
        """
        if self._reader is None:
            opened = SubwordReader(self._tokenizer, places=self.subwords.places, pad=self.subwords.pad)
            _check_library(self.subwords.library)
            self._reader = opened
        return self._reader

    def rows(self, texts: list[str]) -> FloatArray:
        """Texts as the student takes them [texts, places]; raises InvalidValue, naming the text."""
        return self.reader.rows(texts)


def _check_library(needed: str) -> None:
    """Refuse a library older than what made the package: it may read the same file in another way."""
    installed = importlib.metadata.version(_DISTRIBUTION)
    if _series(installed) < _series(needed):
        raise AgentError(
            f"the package's tokenizer.json was made with tokenizers {needed}, this device has {installed}: "
            f"pip install 'tokenizers>={needed}'"
        )


def _series(version: str) -> tuple[int, int]:
    """Major and minor: of a patch, the same file reads the same."""
    found = [int(number) for number in _LEADING.findall(version)[:2]]
    return (found[0], found[1]) if len(found) == 2 else (0, 0)
