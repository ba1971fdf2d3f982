"""A fleet's word list, and public texts as rows of its words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fedstill_proto.errors import WireError
from fedstill_proto.text.text_files import read_lines
from fedstill_proto.text.token_rows import word_rows
from fedstill_proto.text.vocabulary import WordList

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.data.examples import DataError, Examples

_FILE_LIMIT_BYTES = 256 << 20


def vocabulary_of(folder: Path, config: FleetConfig) -> bytes | None:
    """The vocabulary.json of the run in `folder`, checked; None for a fleet that is not of text."""
    if config.text is None:
        return None
    path = folder / config.text.vocabulary
    try:
        content = path.read_bytes()
        WordList.from_json(content, size=config.classes)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except WireError as error:
        raise DataError(f"{path}: {error}") from None
    return content


def read_texts(path: Path) -> list[str]:
    """The texts of a file, one a line, or of all .txt files of a folder, in the order of their names."""
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    texts = [
        text for file in files for text in read_lines(file, most_bytes=_FILE_LIMIT_BYTES, error=DataError)
    ]
    if not texts:
        raise DataError(f"{path}: holds no text; give a file with a text a line, or a folder of .txt files")
    return texts


def text_examples(texts: Sequence[str], words: WordList, *, places: int) -> Examples:
    """The rows of texts, and the words that come next."""
    rows = word_rows((words.encode(text) for text in texts), places=places)
    return Examples(rows.x, rows.y)


def chosen_rows(examples: Examples, count: int, *, seed: int) -> Examples:
    """At most `count` of the rows, drawn with the seed, in their order."""
    if count >= len(examples):
        return examples
    rows = np.sort(np.random.default_rng([seed, 0x7E87]).permutation(len(examples))[:count])
    return Examples(examples.x[rows], None if examples.y is None else examples.y[rows])
