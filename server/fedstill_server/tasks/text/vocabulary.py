"""A fleet's word list, and public texts as rows of its words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedstill_proto.errors import WireError
from fedstill_proto.text.token_rows import word_rows
from fedstill_proto.text.vocabulary import WordList

from fedstill_server.data.errors import ExamplesError
from fedstill_server.data.examples import Examples
from fedstill_server.tasks.text.languages.public_texts import read_public_texts


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
    """The texts of a file, one a line, or of all .txt files of a folder, of one language or several."""
    return [text for one in read_public_texts(path) for text in one.texts]


def text_examples(texts: Sequence[str], words: WordList, *, places: int) -> Examples:
    """The rows of texts, and the words that come next."""
    rows = word_rows((words.encode(text) for text in texts), places=places)
    return Examples(rows.x, rows.y)
