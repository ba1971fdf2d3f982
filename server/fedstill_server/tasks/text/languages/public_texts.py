"""Public texts of one or more languages, as an operator has them.

    public.txt                      a text a line, in one language
    public/*.txt                    files of one language, whose names are no codes
    public/de.txt, public/en.txt    a file a language
    public/de/*.txt, public/en/*.txt    a folder a language

Everything is checked before anything is made: that it is UTF-8 text, that names are codes of languages, that
each language has words enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.vocabulary import TEXT_LIMIT, is_word, split

from fedstill_server.data.errors import ExamplesError
from fedstill_server.tasks.text.languages.codes import is_language_code, language_code
from fedstill_server.tasks.text.languages.encodings import WrongEncoding, twice_encoded, utf8_text

FILE_LIMIT_BYTES = 256 << 20
LEAST_WORDS, USUAL_WORDS = (
    1_000,
    50_000,
)  # of a language: from which on it is taken; that make a usable student
_MANY_COPIES, _MOST_COPIES = 0.5, 0.9  # of the lines
_FEW_LANGUAGES = 16

Notice = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class LanguageTexts:
    """The texts of a language.

    Attributes:
        language: Its code; "" where nobody says, and it could not be told.
        texts: One a line, none blank.
        words: How many there are, marks aside.
    """

    language: str
    texts: tuple[str, ...]
    words: int


def read_public_texts(
    path: Path,
    *,
    language: str = "",
    detect: Callable[[Sequence[str]], str] = lambda texts: "",
    least_words: int = 0,
    on_notice: Notice = lambda notice: None,
) -> tuple[LanguageTexts, ...]:
    """The texts of a file or folder by language, in the order of their codes.

    Args:
        path: A file, or a folder in one of the forms above.
        language: What all of it is in; only where files and folders do not say.
        detect: Tells the language of texts of which nobody says it; "" where it cannot.
        least_words: That a language has.
        on_notice: Told what an operator should know.

    Raises:
        ExamplesError: Naming file, place and what to do.
    """
    by_language = _files(path)
    if language:
        if list(by_language) != [""]:
            named = ", ".join(by_language)
            raise ExamplesError(
                f"--language {language}: the names in {path} say it already ({named}); leave it out"
            )
        by_language = {_code(language, "--language"): by_language[""]}
    found = []
    for code, files in sorted(by_language.items()):
        texts = [text for file in files for text in read_lines(file, on_notice=on_notice)]
        where = path if len(by_language) == 1 else files[0].parent if len(files) > 1 else files[0]
        if not texts:
            raise ExamplesError(f"{where}: holds no text; give a text a line")
        texts = _without_copies(texts, where, on_notice)
        found.append(_counted(code or detect(texts), texts, where, least_words, on_notice))
    return tuple(found)


def read_lines(file: Path, *, on_notice: Notice = lambda notice: None) -> list[str]:
    """The lines of a file that are not blank; raises ExamplesError."""
    try:
        size = file.stat().st_size
        if size > FILE_LIMIT_BYTES:
            raise ExamplesError(
                f"{file}: {size} bytes; {FILE_LIMIT_BYTES} at most; split it into several files"
            )
        text = utf8_text(file.read_bytes())
    except OSError as error:
        raise ExamplesError(f"{file}: cannot be read: {error.strerror}") from None
    except WrongEncoding as error:
        raise ExamplesError(f"{file}: {error}") from None
    lines = [line.strip() for line in text.splitlines()]
    for number, line in enumerate(lines, 1):
        if len(line) > TEXT_LIMIT:
            raise ExamplesError(
                f"{file}: line {number} has {len(line)} characters; {TEXT_LIMIT} at most; give a text "
                "a line, such as a message or a sentence"
            )
    if example := twice_encoded(text):
        on_notice(
            f"{file}: letters such as {example!r:.40} look like UTF-8 that was read as Latin-1 and written "
            "again; they are learned as they are"
        )
    return [line for line in lines if line]


def _files(path: Path) -> dict[str, list[Path]]:
    """The files of each language; of the language "" where no name says one."""
    if not path.is_dir():
        return {"": [path]}
    try:
        inside = sorted(one for one in path.iterdir() if not one.name.startswith("."))
    except OSError as error:
        raise ExamplesError(f"{path}: cannot be read: {error.strerror}") from None
    folders = [one for one in inside if one.is_dir()]
    plain = [one for one in inside if one.suffix == ".txt" and one.is_file()]
    if not folders and not plain:
        raise ExamplesError(
            f"{path}: holds no .txt file; give a file with a text a line, a folder of .txt files, or a "
            "folder with a folder for each language (en/, de/)"
        )
    if not folders and not any(is_language_code(file.stem) for file in plain):
        return {"": plain}
    found: dict[str, list[Path]] = {}
    for one in (*folders, *plain):
        name = one.name if one in folders else one.stem
        code = _code(name, str(one), beside=[each.name for each in (*folders, *plain) if each != one])
        files = (
            sorted(each for each in one.glob("*.txt") if not each.name.startswith("."))
            if one in folders
            else [one]
        )
        if not files:
            raise ExamplesError(f"{one}: holds no .txt file; give texts of {code}, or remove the folder")
        found.setdefault(code, []).extend(files)
    return found


def _code(name: str, where: str, *, beside: Sequence[str] = ()) -> str:
    try:
        return language_code(name)
    except InvalidValue as error:
        others = f", as the others in its folder have one ({', '.join(beside[:3])})" if beside else ""
        raise ExamplesError(f"{where}: {error.problem}{others}") from None


def _without_copies(texts: list[str], where: Path, on_notice: Notice) -> list[str]:
    """Each text once where nearly all are copies; else as they are, for people do say the same again."""
    once = list(dict.fromkeys(texts))
    copies = 1 - len(once) / len(texts)
    if copies <= _MANY_COPIES:
        return texts
    taken = "counted as often as they are there" if copies <= _MOST_COPIES else "each is learned once"
    lines = f"{len(texts) - len(once):,} of {len(texts):,} lines ({copies:.0%})"
    on_notice(f"{where}: {lines} are copies of others; {taken}")
    return texts if copies <= _MOST_COPIES else once


def _counted(
    language: str, texts: Sequence[str], where: Path, least_words: int, on_notice: Notice
) -> LanguageTexts:
    words = sum(is_word(token) for text in texts for token in split(text))
    if words < least_words:
        of = f" of {language}" if language else ""
        raise ExamplesError(
            f"{where}: {words} words{of}; a language needs {least_words} or more, and {USUAL_WORDS} make a "
            "usable student"
        )
    if least_words and words < USUAL_WORDS // 5:
        on_notice(
            f"{where}: {words} words are few; most suggestions will come from general frequencies of words, "
            f"and {USUAL_WORDS} words make a usable student"
        )
    return LanguageTexts(language=language, texts=tuple(texts), words=words)


def languages_in_words(languages: Iterable[LanguageTexts]) -> str:
    """Such as "de 51,204 words, en 50,001 words"."""
    shown = [f"{one.language or 'of no known language'} {one.words:,} words" for one in languages]
    more = len(shown) - _FEW_LANGUAGES
    return ", ".join(shown[:_FEW_LANGUAGES]) + (f" and {more} more" if more > 0 else "")
