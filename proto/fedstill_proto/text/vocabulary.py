"""How text becomes the numbers of words, and back: the same on the server and on every device.

Text is cut by tokens.py into words of every script, emoji, marks, numbers and addresses. What a list holds
is their **keys**: words in lower case and form C, with plain apostrophes and hyphens; emoji without variation
selectors ("❤️" is "❤"), as words of their own; marks of all scripts as one of . , ; : ! ? ("।" is ".", "؟" is
"?"), and each once where it stands several times. Other marks, and where lines break, are dropped. An
address, and a number of four digits and more, are no words: they are the token "<unknown>" in what is read,
and nobody learns them. (Capitals are learned apart, see casing.py.)

Lower case is Unicode's, for a list serves several languages: "I" is "i" in Turkish, too, and "ı" is another
letter; "İ" is "i"; "ß" stays, as "ẞ" becomes it, and "SS" is "ss"; a sigma at the end of a word is "ς".
Arabic's lengthening stroke and Armenian's marks within words are left out.

A word that the list has not falls back to pieces (Wu et al., 2016, arXiv 1609.08144, the longest first): the
longest word that it begins with, then the longest pieces "+..." that go on. A word with a letter that the
list has not, or one that is too long, is the one token UNKNOWN.

    vocabulary.json    {"tokenizer": "words-uax29", "entries": ["<unknown>", "<start>", ".", ..., "+ing"]}

A word's number is its place among the entries. Lists of the tokenizer "words", which knew fewer scripts, are
still read; those of their words that no text is cut into any more are never suggested.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import regex

from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.text.tokens import (
    ADDRESS,
    EMOJI,
    MARK,
    NOTHING_SAID,
    NUMBER,
    WORD,
    TokenKind,
    spans,
    visible,
)

TOKENIZER = "words-uax29"
EARLIER_TOKENIZER = "words"
UNKNOWN, START = 0, 1
"""Numbers of the word that nothing says, and of the token before a text begins."""
SPECIAL = (NOTHING_SAID, "<start>")
MARKS = (".", ",", ";", ":", "!", "?")
CONTINUES = "+"  # before a piece that goes on with a word; no word begins with it

TEXT_LIMIT = 100_000  # characters in one text
WORD_LIMIT = 80  # letters of a word
DIGITS_LIMIT = 3  # of a number that is a word
ENTRY_LIMIT = 65_536
FILE_LIMIT_BYTES = 4 << 20
_LETTERS_KEPT, _PIECES_SHARE, _LONGEST_PIECE = 256, 25, 5  # one entry in so many is a piece, at most

_MARK_KEYS = {
    sign: key
    for key, signs in {
        ".": ".。｡．।॥۔։።။៕༎᙮᠃܀‽…",
        ",": ",،、､，՝፣၊᠂",
        ";": ";؛；፤",
        ":": ":：፥៖",
        "!": "!！‼⁉",
        "?": "?？؟፧⁇⁈",
    }.items()
    for sign in signs
}
_SAME = str.maketrans(
    {
        **dict.fromkeys("’‘ʼ＇", "'"),
        **dict.fromkeys("‐‑", "-"),
        **dict.fromkeys("\u0640՛՜՞\ufe0e\ufe0f"),
        "İ": "i",
    }
)
_WITHIN_WORDS = "'’‘＇-‐‑·_"
_OPENING = "'\"’‚„¿¡#*_"  # besides those that Unicode calls opening
_SELECTORS = regex.compile(r"[\uFE00-\uFE0D\U000E0100-\U000E01EF]")


def split(text: str) -> list[str]:
    """The keys of a text's words, emoji and marks; raises InvalidValue for a text that is too long."""
    if len(text) > TEXT_LIMIT:
        raise InvalidValue("text", f"{len(text)} characters; give {TEXT_LIMIT} at most at a time")
    return list(_keys(text))


def _keys(text: str) -> Iterator[str]:
    shown, last = visible(text), ""
    for kind, begin, end in spans(shown):
        key = key_of(shown[begin:end], kind)
        if key and (kind is not MARK or key != last):
            yield key
            last = key


def key_of(token: str, kind: TokenKind) -> str:
    """What a token (its text as tokens.py gives it) is in a list; "" for marks that are in none."""
    if kind is MARK:
        return _MARK_KEYS.get(token[0], "") if token == token[0] * len(token) else ""
    if kind is ADDRESS or (kind is NUMBER and sum(map(str.isdecimal, token)) > DIGITS_LIMIT):
        return NOTHING_SAID
    if kind is EMOJI:
        return token.replace("\ufe0f", "").replace("\ufe0e", "")
    return normal(token)


def split_prefix(prefix: str) -> tuple[str, str] | None:
    """What stands before a word that is being typed, and its letters so far.

    Signs that open something, and words with no space behind them, stand before it: '"(he' is '"(' and "he".

    Returns:
        The text before the word, and the letters as typed ("" where the word has yet to begin); None where
        no word is being typed: in an address, behind a closing mark, an emoji or a long number, and in what
        is too long to be a word.
    """
    if len(prefix) > TEXT_LIMIT:
        return None
    shown = visible(prefix)
    if not shown.strip():
        return "", ""
    tokens = list(spans(shown))
    if not tokens:
        return None  # a sign that is in no word, such as "$"
    kind, begin, end = tokens[-1]
    if end < len(shown):  # a space, and the word has yet to begin
        return (shown, "") if shown[end:].isspace() else None
    if kind is MARK and len(tokens) > 1 and shown[begin:] in _WITHIN_WORDS:
        kind, begin, end = tokens[-2]  # "o'" and "to-" are on their way to a word
        if kind is not WORD or end < len(shown) - 1:
            return (shown, "") if shown[-1] in _OPENING else None
    elif kind is MARK:
        is_opening = shown[-1] in _OPENING or unicodedata.category(shown[-1]) in ("Ps", "Pi")
        return (shown, "") if is_opening else None
    letters = shown[begin:]
    if kind not in (WORD, NUMBER) or len(letters) > WORD_LIMIT or key_of(letters, kind) == NOTHING_SAID:
        return None
    return shown[:begin], letters


def normal(text: str) -> str:
    """Lower case, in Unicode's form C, with plain apostrophes and hyphens and without what nobody sees."""
    if text.isascii():
        return text.lower()
    lower = visible(text).translate(_SAME).lower()
    # Lower case may leave form C.
    return unicodedata.normalize("NFC", _SELECTORS.sub("", lower))


def join(tokens: Iterable[str]) -> str:
    """Words with a space between, marks without one before them; what `split` takes apart again."""
    parts: list[str] = []
    for token in tokens:
        if parts and token not in MARKS:
            parts.append(" ")
        parts.append(token)
    return "".join(parts)


def is_word(token: str) -> bool:
    """Whether a token of `split` is a word or an emoji rather than a mark or what is no word."""
    return token not in MARKS and token != NOTHING_SAID


@dataclass(frozen=True)
class WordList:
    """The words of a student of text, by number."""

    entries: tuple[str, ...]
    tokenizer: str = TOKENIZER
    _numbers: dict[str, int] = field(init=False, repr=False, compare=False)
    _alone: tuple[tuple[int, str], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not len(SPECIAL) < len(self.entries) <= ENTRY_LIMIT:
            raise InvalidValue("entries", f"{len(self.entries)} entries; give 3 to {ENTRY_LIMIT}")
        if self.entries[: len(SPECIAL)] != SPECIAL:
            raise InvalidValue("entries", f"begin with {self.entries[:2]!r:.80}, not with {SPECIAL}")
        if self.tokenizer not in (TOKENIZER, EARLIER_TOKENIZER):
            raise InvalidValue("tokenizer", f"{self.tokenizer!r:.40} is not {TOKENIZER!r}")
        numbers: dict[str, int] = {}
        alone: list[tuple[int, str]] = []
        for number, entry in enumerate(self.entries):
            if number >= len(SPECIAL):
                is_read = _is_read(entry)
                if not is_read and not (self.tokenizer == EARLIER_TOKENIZER and _was_read(entry)):
                    raise InvalidValue(
                        f"entries[{number}]", f"{entry!r:.80} is no word, mark or piece in lower case"
                    )
                if is_read and entry not in MARKS and not entry.startswith(CONTINUES):
                    alone.append((number, entry))
            if numbers.setdefault(entry, number) != number:
                raise InvalidValue(f"entries[{number}]", f"{entry!r} is entry {numbers[entry]} already")
        object.__setattr__(self, "_numbers", numbers)
        object.__setattr__(self, "_alone", tuple(alone))

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
        return self._alone

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
        content = {"tokenizer": self.tokenizer, "entries": list(self.entries)}
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
        if read["tokenizer"] not in (TOKENIZER, EARLIER_TOKENIZER):
            raise WireError(f"{where}: tokenizer", f"{read['tokenizer']!r:.40} is not {TOKENIZER!r}")
        entries = read["entries"]
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise WireError(f"{where}: entries", "is no list of strings")
        if size is not None and len(entries) != size:
            raise WireError(f"{where}: entries", f"{len(entries)}; the student knows {size} words")
        try:
            return cls(tuple(entries), tokenizer=read["tokenizer"])
        except InvalidValue as error:
            raise WireError(f"{where}: {error.field}", error.problem) from None


def _is_read(entry: str) -> bool:
    """Whether texts are cut into this word, mark or piece."""
    token = entry.removeprefix(CONTINUES)
    if not token or len(token) > WORD_LIMIT or token == NOTHING_SAID:
        return False
    if entry.startswith(CONTINUES):
        # A piece may be any part of a word: its apostrophe or hyphen stands between letters.
        return split(f"x{token}x") == [f"x{token}x"]
    return split(token) == [token]


def _was_read(entry: str) -> bool:
    """Whether an earlier tokenizer may have cut texts into this word or piece: no space, no capital."""
    token = entry.removeprefix(CONTINUES)
    is_whole = 0 < len(token) <= WORD_LIMIT and token == unicodedata.normalize("NFC", token).lower()
    return is_whole and not any(
        sign.isspace() or unicodedata.category(sign) in ("Cc", "Cs") for sign in token
    )


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
    fallback = [letter for letter in frequent if letter not in MARKS and _is_read(letter)]
    fallback += [CONTINUES + letter for letter in frequent if _is_read(CONTINUES + letter)]
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
    return [end for end, _ in most if _is_read(CONTINUES + end)]
