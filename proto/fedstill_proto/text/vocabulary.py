"""How text becomes the numbers of words, and back: the same on the server and on every device.

A word is a run of letters, digits or other signs that are no punctuation, with apostrophes and hyphens
inside it ("o'er", "to-morrow"), and with an apostrophe before it ("'tis"). The marks . , ; : ! ? are tokens
of their own; all other punctuation, and where lines break, is dropped. Text is in Unicode's form C and lower
case: a student of words knows no capitals (a keyboard gives a suggestion the capitals of what is typed).

A word that the list has not falls back to pieces (Wu et al., 2016, arXiv 1609.08144, the longest first): the
longest word that it begins with, then the longest pieces "+..." that go on. A word with a letter that the
list has not, or one that is too long, is the one token UNKNOWN.

    vocabulary.json    {"tokenizer": "words", "entries": ["<unknown>", "<start>", ".", ..., "the", "+ing"]}

A word's number is its place among the entries.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from fedstill_proto.errors import InvalidValue, WireError

TOKENIZER = "words"
UNKNOWN, START = 0, 1
"""Numbers of the word that nothing says, and of the token before a text begins."""
SPECIAL = ("<unknown>", "<start>")
MARKS = (".", ",", ";", ":", "!", "?")
CONTINUES = "+"  # before a piece that goes on with a word; no word begins with it

TEXT_LIMIT = 100_000  # characters in one text
WORD_LIMIT = 40  # letters of a word
ENTRY_LIMIT = 65_536
FILE_LIMIT_BYTES = 4 << 20
_LETTERS_KEPT, _PIECES_SHARE, _LONGEST_PIECE = 256, 25, 5  # one entry in so many is a piece, at most

_APART = "\\s" + re.escape("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»“”„‚‹›…–—―¡¿·•。、！？，；：（）「」\x7f")
_LETTER = f"[^{_APART}\x00-\x1f]"
_TOKEN = re.compile(f"(?:(?<!{_LETTER})')?{_LETTER}+(?:['-]{_LETTER}+)*|[.,;:!?]")
_SAME = str.maketrans("’‘ʼ‐‑…。！？", "'''--..!?")


def split(text: str) -> list[str]:
    """The words and marks of a text, in lower case; raises InvalidValue for a text that is too long."""
    if len(text) > TEXT_LIMIT:
        raise InvalidValue("text", f"{len(text)} characters; give {TEXT_LIMIT} at most at a time")
    return _TOKEN.findall(normal(text))


def normal(text: str) -> str:
    """Lower case, in Unicode's form C, with plain apostrophes and hyphens."""
    # Lower case may leave form C ("İ"), and what cannot be encoded is no text.
    whole = text.encode("utf-8", "ignore").decode()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", whole).lower()).translate(_SAME)


def join(tokens: Iterable[str]) -> str:
    """Words with a space between, marks without one before them; what `split` takes apart again."""
    parts: list[str] = []
    for token in tokens:
        if parts and token not in MARKS:
            parts.append(" ")
        parts.append(token)
    return "".join(parts)


def is_word(token: str) -> bool:
    """Whether a token of `split` is a word rather than a mark."""
    return token not in MARKS


@dataclass(frozen=True)
class WordList:
    """The words of a student of text, by number."""

    entries: tuple[str, ...]
    _numbers: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not len(SPECIAL) < len(self.entries) <= ENTRY_LIMIT:
            raise InvalidValue("entries", f"{len(self.entries)} entries; give 3 to {ENTRY_LIMIT}")
        if self.entries[: len(SPECIAL)] != SPECIAL:
            raise InvalidValue("entries", f"begin with {self.entries[:2]!r:.80}, not with {SPECIAL}")
        numbers: dict[str, int] = {}
        for number, entry in enumerate(self.entries):
            if number >= len(SPECIAL):
                _check_entry(number, entry)
            if numbers.setdefault(entry, number) != number:
                raise InvalidValue(f"entries[{number}]", f"{entry!r} is entry {numbers[entry]} already")
        object.__setattr__(self, "_numbers", numbers)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, word: str) -> bool:
        return word in self._numbers

    def number(self, word: str) -> int | None:
        """The number of a whole word or mark; None where it falls back to pieces."""
        return self._numbers.get(word)

    @property
    def words(self) -> tuple[tuple[int, str], ...]:
        """The numbers and words that may stand alone: no marks, no pieces, nothing special."""
        chosen = enumerate(self.entries[len(SPECIAL) :], len(SPECIAL))
        return tuple((n, e) for n, e in chosen if e not in MARKS and not e.startswith(CONTINUES))

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's words, marks and pieces; raises InvalidValue for one that is too long."""
        return [number for token in split(text) for number in self.numbers_of(token)]

    def numbers_of(self, token: str) -> list[int]:
        """The numbers of one word or mark: one where the list has it, else those of its pieces."""
        number = self._numbers.get(token)
        if number is not None:
            return [number]
        if len(token) > WORD_LIMIT:
            return [UNKNOWN]
        pieces: list[int] = []
        begin = 0
        while begin < len(token):
            lead = CONTINUES if begin else ""
            for end in range(len(token), begin, -1):
                piece = self._numbers.get(lead + token[begin:end])
                if piece is not None:
                    break
            else:
                return [UNKNOWN]
            pieces.append(piece)
            begin = end
        return pieces

    def decode(self, numbers: Iterable[int]) -> str:
        """The text that the numbers say; raises InvalidValue for a number that the list has not."""
        tokens: list[str] = []
        for place, number in enumerate(numbers):
            if not 0 <= number < len(self.entries):
                raise InvalidValue(f"numbers[{place}]", f"{number} is outside 0 to {len(self.entries) - 1}")
            entry = self.entries[number]
            if entry.startswith(CONTINUES) and tokens and is_word(tokens[-1]):
                tokens[-1] += entry[len(CONTINUES) :]
            elif number != START:
                tokens.append(entry.removeprefix(CONTINUES))
        return join(tokens)

    def to_json(self) -> bytes:
        """vocabulary.json"""
        content = {"tokenizer": TOKENIZER, "entries": list(self.entries)}
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, content: bytes, *, size: int | None = None) -> WordList:
        """Read a vocabulary.json, of `size` entries where that is given; raises WireError."""
        where = "vocabulary.json"
        if len(content) > FILE_LIMIT_BYTES:
            raise WireError(where, f"{len(content)} bytes, more than {FILE_LIMIT_BYTES}")
        try:
            read = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise WireError(where, f"is no JSON: {error}") from None
        if not isinstance(read, dict) or read.keys() != {"tokenizer", "entries"}:
            raise WireError(where, "is no object of tokenizer and entries")
        if read["tokenizer"] != TOKENIZER:
            raise WireError(f"{where}: tokenizer", f"{read['tokenizer']!r:.40} is not {TOKENIZER!r}")
        entries = read["entries"]
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise WireError(f"{where}: entries", "is no list of strings")
        if size is not None and len(entries) != size:
            raise WireError(f"{where}: entries", f"{len(entries)}; the student knows {size} words")
        try:
            return cls(tuple(entries))
        except InvalidValue as error:
            raise WireError(f"{where}: {error.field}", error.problem) from None


def _check_entry(number: int, entry: str) -> None:
    token = entry.removeprefix(CONTINUES)
    # A piece may be any part of a word: its apostrophe or hyphen stands between letters.
    whole = f"x{token}x" if entry.startswith(CONTINUES) else token
    if len(token) > WORD_LIMIT or not token or split(whole) != [whole]:
        raise InvalidValue(f"entries[{number}]", f"{entry!r:.80} is no word, mark or piece in lower case")


def build_word_list(texts: Iterable[str], *, size: int = 10_000, least: int = 2) -> WordList:
    """The word list of public texts: marks, letters, frequent pieces, and the most frequent words.

    least: how often a word is there at least. The same texts give the same list, in any order.
    """
    counts = Counter(token for text in texts for token in split(text) if is_word(token))
    letters: Counter[str] = Counter()
    for word, count in counts.items():
        for letter in word:
            letters[letter] += count
    frequent = [letter for letter, _ in _most(letters)][:_LETTERS_KEPT]
    fallback = [letter for letter in frequent if letter not in "'-"] + [
        CONTINUES + letter for letter in frequent
    ]
    kept = _most(counts)
    room = size - len(SPECIAL) - len(MARKS) - len(fallback)
    rare = [word for place, (word, count) in enumerate(kept) if place >= room or count < least]
    fallback += [CONTINUES + piece for piece in _pieces(rare)[: size // _PIECES_SHARE]]
    entries = dict.fromkeys([*SPECIAL, *MARKS, *fallback])
    if len(entries) > size:
        raise InvalidValue("size", f"{size}; the letters and pieces of these texts alone are {len(entries)}")
    for word, count in kept:
        if len(entries) == size or count < least:
            break
        if len(word) <= WORD_LIMIT:
            entries[word] = None
    return WordList(tuple(entries))


def _most(counts: Counter[str]) -> list[tuple[str, int]]:
    """Most frequent first, and then by the alphabet."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _pieces(rare: Iterable[str]) -> list[str]:
    """The most frequent ends of rare words, of 2 letters and more."""
    ends: Counter[str] = Counter()
    for word in rare:
        for length in range(2, min(_LONGEST_PIECE, len(word) - 1) + 1):
            ends[word[-length:]] += 1
    most = [(end, times) for end, times in _most(ends) if times > 1]
    return [end for end, _ in most if split(f"x{end}") == [f"x{end}"]]
