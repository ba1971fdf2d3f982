"""A fleet's word list, and public texts as rows of its words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedstill_proto.errors import WireError
from fedstill_proto.text.text_files import read_lines
from fedstill_proto.text.token_rows import word_rows
from fedstill_proto.text.vocabulary import WordList

from fedstill_server.data.errors import ExamplesError
from fedstill_server.data.examples import Examples

_FILE_LIMIT_BYTES = 256 << 20


def read_word_list(path: Path, *, words: int) -> bytes:
    """A vocabulary.json of so many words, checked.

    Raises:
        ExamplesError: For a file that is missing, or holds something else.
    """
    try:
        content = path.read_bytes()
        WordList.from_json(content, size=words)
    except OSError as error:
        raise ExamplesError(f"{path}: cannot be read: {error.strerror}") from None
    except WireError as error:
        raise ExamplesError(f"{path}: {error}") from None
    return content


def read_texts(path: Path) -> list[str]:
    """The texts of a file, one a line, or of all .txt files of a folder, in the order of their names."""
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    texts = [
        text for file in files for text in read_lines(file, most_bytes=_FILE_LIMIT_BYTES, error=ExamplesError)
    ]
    if not texts:
        raise ExamplesError(
            f"{path}: holds no text; give a file with a text a line, or a folder of .txt files"
        )
    return texts


def text_examples(texts: Sequence[str], words: WordList, *, places: int) -> Examples:
    """The rows of texts, and the words that come next."""
    rows = word_rows((words.encode(text) for text in texts), places=places)
    return Examples(rows.x, rows.y)
