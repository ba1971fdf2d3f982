"""Personal dictionaries as files: read whole, checked line by line before anything is learned, and written.

Read are, by what their lines look like,

- plain text, a word a line, with a tab and how often it is used behind it where that is known;
- Hunspell's personal lists (.dic): a first line with the number of words, flags behind "/", "*" before words
  that are none; and LibreOffice's (a header that ends with "---");
- Gboard's export, and others of Android: shortcut, tab, word, tab, language;
- AOSP's combined word lists: "word=...,f=120".

Blank lines and lines that begin with "#" say nothing. An entry of several words is left out: a keyboard
suggests them one by one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fedstill_proto.errors import FedstillError
from fedstill_proto.text.vocabulary import WORD_LIMIT, is_word, normal, split

from fedstill_client.agent_types import OwnWord

FILE_LIMIT_BYTES = 8 << 20
WORDS_LIMIT = 50_000
LINE_LIMIT = 500  # characters
COUNT_LIMIT = 1 << 31
_HUNSPELL_COUNT = re.compile(r"\d{1,9}")
_COMBINED = re.compile(r"\s*word=([^,]+)(?:,.*?\bf=(\d{1,9}))?")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*|")
_HEADER_END = "---"


class DictionaryProblem(FedstillError):
    """A file is no personal dictionary; nothing of it was learned."""


@dataclass(frozen=True)
class PersonalDictionary:
    """What a file holds.

    Attributes:
        words: Its words, each once.
        left_out: Entries that are not one word.
    """

    words: tuple[OwnWord, ...]
    left_out: int


def read_personal_dictionary(file: Path) -> PersonalDictionary:
    """Read a file; raises DictionaryProblem with its line and value."""
    lines = _decoded(file).splitlines()
    is_hunspell = file.suffix.lower() == ".dic" or (bool(lines) and _is_count_of(lines[0], len(lines)))
    begin = _behind_header(lines, is_hunspell=is_hunspell)
    words: dict[str, OwnWord] = {}
    left_out = 0
    for number, line in enumerate(lines[begin:], begin + 1):
        _check_line(file, number, line)
        if not line.strip() or line.startswith(("#", "dictionary=")):
            continue
        word = _entry(file, number, line, is_hunspell=is_hunspell)
        if word is None:
            left_out += 1
            continue
        before = words.setdefault(normal(word.word), word)
        if before.count < word.count:
            words[normal(word.word)] = word
        if len(words) > WORDS_LIMIT:
            raise DictionaryProblem(
                f"{file}: line {number}: more than {WORDS_LIMIT} words. A personal dictionary has that many "
                "at most; leave out what is in every dictionary. Nothing was imported."
            )
    if not words:
        raise DictionaryProblem(f"{file}: holds no word; give one a line. Nothing was imported.")
    return PersonalDictionary(tuple(words.values()), left_out)


def write_personal_dictionary(file: Path, words: Iterable[OwnWord]) -> int:
    """Write words as plain text, each with a tab and its count; gives how many. The file is private."""
    lines = [f"{word.word}\t{word.count}\n" for word in words]
    try:
        file.touch(mode=0o600)
        file.chmod(0o600)
        file.write_text("".join(lines), encoding="utf-8")
    except OSError as problem:
        raise FedstillError(f"{file}: cannot be written: {problem.strerror}.") from None
    return len(lines)


def _decoded(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_LIMIT_BYTES + 1)
    except OSError as problem:
        raise DictionaryProblem(f"{file}: cannot be read: {problem.strerror}.") from None
    if len(content) > FILE_LIMIT_BYTES:
        raise DictionaryProblem(
            f"{file}: more than {FILE_LIMIT_BYTES} bytes, which is no personal dictionary; leave out what is "
            "in every dictionary. Nothing was imported."
        )
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        value = content[problem.start : problem.start + 1].hex()
        raise DictionaryProblem(
            f"{file}: line {line}: the byte {value} is not {encoding.removesuffix('-sig').upper()} text; "
            "save the file as UTF-8. Nothing was imported."
        ) from None


def _is_count_of(first: str, lines: int) -> bool:
    """Whether a first line says how many words follow."""
    return _HUNSPELL_COUNT.fullmatch(first.strip()) is not None and int(first) >= lines // 2 > 0


def _behind_header(lines: list[str], *, is_hunspell: bool) -> int:
    """The line that the words begin with."""
    if lines and lines[0].startswith("OOoUserDict"):
        return next((place + 1 for place, line in enumerate(lines[:10]) if line.strip() == _HEADER_END), 1)
    return int(is_hunspell and bool(lines) and _HUNSPELL_COUNT.fullmatch(lines[0].strip()) is not None)


def _check_line(file: Path, number: int, line: str) -> None:
    if len(line) > LINE_LIMIT:
        raise DictionaryProblem(
            f"{file}: line {number}: {len(line)} characters, beginning with {line[:20]!r}; {LINE_LIMIT} at "
            "most. Nothing was imported."
        )
    for sign in line:
        if unicodedata.category(sign) == "Cc" and sign != "\t":
            raise DictionaryProblem(
                f"{file}: line {number}: {line[:40]!r} holds the control character {sign!r}; is it a text? "
                "Nothing was imported."
            )


def _entry(file: Path, number: int, line: str, *, is_hunspell: bool) -> OwnWord | None:
    """The word of a line; None where it is not one word."""
    combined = _COMBINED.match(line)
    if combined:
        return _one_word(combined.group(1), int(combined.group(2) or 1))
    columns = [column.strip() for column in line.split("\t")]
    if is_hunspell:
        written = re.split(r"(?<!\\)/", columns[0])[0].replace("\\/", "/")
        return None if written.startswith("*") else _one_word(written, 1)
    written = columns[0].split("==")[0].removesuffix("=")
    if len(columns) == 1:
        return _one_word(written, 1)
    if len(columns) == 2 and columns[1].isascii() and columns[1].lstrip("-").isdigit():
        count = int(columns[1]) if len(columns[1]) <= 10 else -1
        if not 0 <= count < COUNT_LIMIT:
            raise DictionaryProblem(
                f"{file}: line {number}: the count {columns[1][:20]} is not 0 to {COUNT_LIMIT - 1}. Nothing "
                "was imported."
            )
        return _one_word(written, count)
    if len(columns) >= 3 and _LANGUAGE.fullmatch(columns[2]):
        return _one_word(columns[1], 1)
    raise DictionaryProblem(
        f"{file}: line {number}: {line[:60]!r} is neither a word, nor a word, a tab and a count, nor "
        "shortcut, word and language with tabs between. Nothing was imported."
    )


def _one_word(written: str, count: int) -> OwnWord | None:
    keys = split(written.strip())
    if len(keys) != 1 or not is_word(keys[0]) or len(written) > WORD_LIMIT:
        return None
    return OwnWord(written.strip(), max(count, 1))
