"""Bytes as UTF-8 text, and of other bytes what they seem to be: another encoding, or no text at all.

The guess is for the person who has to convert the file, and nothing is read by it.
"""

from __future__ import annotations

import codecs
import itertools
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from fedstill_proto.errors import FedstillError

_LOOKED_AT = 1 << 16  # bytes
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_FORMATS = (
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"PAR1", "a Parquet table"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"{\\rtf", "an RTF document"),
    (b"\xd0\xcf\x11\xe0", "an old office document"),
)
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_OF_SCRIPT, _MOST_CAPITALS = 0.8, 0.5  # of the letters beyond ASCII
_FEW_CONTROLS = 0.002  # of the bytes, as terminals leave them in logs
_SHORTEST, _HIGH_BYTES, _LOW_BYTES = 16, 0.85, 0.7  # bytes; shares of the two most frequent bytes
_EAST_ASIAN = ("gb18030", "shift_jis", "euc_jp", "euc_kr", "big5")
_SINGLE_BYTES = (
    "cp1252",
    "iso8859-15",
    "cp1250",
    "iso8859-2",
    "cp1251",
    "koi8-r",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
    "cp437",
)
_NAMES = {
    "cp1252": "Latin-1 (windows-1252)",
    "iso8859-15": "Latin-9 (iso-8859-15)",
    "cp1250": "windows-1250",
    "iso8859-2": "Latin-2 (iso-8859-2)",
    "cp1251": "windows-1251",
    "koi8-r": "KOI8-R",
    "cp1253": "windows-1253",
    "cp1254": "windows-1254",
    "cp1255": "windows-1255",
    "cp1256": "windows-1256",
    "cp437": "IBM code page 437",
    "gb18030": "GB18030",
    "shift_jis": "Shift JIS",
    "euc_jp": "EUC-JP",
    "euc_kr": "EUC-KR",
    "big5": "Big5",
}
# Letters of European languages beyond ASCII, whose frequency tells tables of single bytes apart.
_WESTERN = frozenset("àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿßœÀÁÂÄÅÆÇÈÉÊËÎÏÑÓÔÖØÚÜ«»¿¡„“”‘’–—€£§°·…")
_CENTRAL = frozenset("ąćčďđęěłľĺńňőŕřśšşťţůűźżžáéíóöúüýäôĄĆČŁŚŠŻŽ„“”‘’–—§°…")
_TURKISH = frozenset("ğışİĞŞçöüÇÖÜâîû“”‘’–—…")
_LATIN = {  # letters, and how much less likely an encoding is beforehand
    "cp1252": (_WESTERN, 0.0),
    "cp1250": (_CENTRAL, -0.005),
    "iso8859-15": (_WESTERN, -0.01),
    "iso8859-2": (_CENTRAL, -0.01),
    "cp1254": (_TURKISH, -0.005),
    "cp437": (_WESTERN, -0.03),
}


class WrongEncoding(FedstillError):
    """Bytes that are not UTF-8 text; the message says where, what they seem to be and what to do."""


@dataclass(frozen=True)
class _Guess:
    encoding: str
    score: float


def utf8_text(content: bytes) -> str:
    """The text, without a byte order mark; raises WrongEncoding, which names a byte and the encoding."""
    for mark, name in _MARKS:
        if content.startswith(mark):
            raise WrongEncoding(_other(name, content, f"byte 0 begins its byte order mark {_hex(mark)}", 0))
    for mark, name in _FORMATS:
        if content.startswith(mark) and not _plain(content):
            raise WrongEncoding(
                f"is {name}, no text: it begins with the bytes {_hex(mark)}; give plain UTF-8 text"
            )
    if (wide := _sixteen_bits(content)) is not None:
        place = 0 if wide.endswith("BE") else 1
        raise WrongEncoding(
            _other(wide, content, f"byte {place} is {_hex(content[place : place + 1])}", place)
        )
    head = content[:_LOOKED_AT]
    controls = _CONTROLS.findall(head)
    if b"\x00" in controls or len(controls) > _FEW_CONTROLS * len(head) + 1:
        found = _CONTROLS.search(content)
        assert found is not None
        raise WrongEncoding(
            f"is no text: byte {found.start()} is {_hex(found[0])}, which none holds; give plain UTF-8 text"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place, wrong = error.start, content[error.start : error.start + 1]
        where = f"byte {place} is {_hex(wrong)}"
        if error.reason == "unexpected end of data":
            raise WrongEncoding(
                f"is cut off: {where}, the beginning of a letter whose end is missing"
            ) from None
        guess = _guessed(content, place)
        if guess is None:
            raise WrongEncoding(
                f"is not UTF-8: {where}, and no known encoding fits; convert it to UTF-8"
            ) from None
        raise WrongEncoding(_other(guess, content, where, place)) from None
    zero = text.find("\x00")
    if zero >= 0:
        raise WrongEncoding(f"is no text: character {zero} is 00, which no text holds; give plain UTF-8 text")
    return text


def twice_encoded(text: str) -> str:
    """An example of UTF-8 that was read as Latin-1 and written again, such as "fÃ¼r"; "" if there is none."""
    found = re.findall(r"\w*[ÂÃâ][\x80-\xbf€™œžŸ‚„…†‡ˆ‰Š‹Œ‘’“”•–—˜š›]\w*", text[:_LOOKED_AT])
    return found[0] if len(found) > len(text[:_LOOKED_AT]) / 2000 else ""


def _other(name: str, content: bytes, where: str, place: int) -> str:
    codec = next((codec for codec, said in _NAMES.items() if said == name), name)
    start = max(0, place - 12) if codec in _NAMES else 0
    shown = content[start : place + 12].decode(codec, "ignore").split("\n")[-1 if place else 0].strip()[:24]
    example = f", as in {shown!r}" if shown.isprintable() and shown else ""
    asked = {"cp1252": "WINDOWS-1252", "iso8859-15": "ISO-8859-15", "iso8859-2": "ISO-8859-2"}.get(
        codec, codec.upper()
    )
    command = f"iconv -f {asked.replace('_', '-')} -t UTF-8"
    return f"is not UTF-8: {where}; it seems to be {name}{example}; convert it: {command}"


def _hex(content: bytes) -> str:
    return content.hex(" ").upper()


def _plain(content: bytes) -> bool:
    """Whether bytes that begin like some format are text all the same, such as "MZ" or "BZh"."""
    try:
        content[:512].decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data" and not _CONTROLS.search(content[:512])
    return not _CONTROLS.search(content[:512]) and not content.startswith((b"%PDF-", b"{\\rtf"))


def _sixteen_bits(content: bytes) -> str | None:
    """UTF-16 without a byte order mark: every second byte is one of two, such as 00 and 04."""
    head = content[:_LOOKED_AT]
    if len(head) < _SHORTEST:
        return None
    even, odd = (Counter(head[first::2]) for first in (0, 1))
    for high, low, name in ((odd, even, "UTF-16LE"), (even, odd, "UTF-16BE")):
        shares = [sum(count for _, count in one.most_common(2)) / one.total() for one in (high, low)]
        if (
            shares[0] > _HIGH_BYTES
            and shares[1] < _LOW_BYTES
            and any(byte < 32 for byte, _ in high.most_common(2))
        ):
            return name
    return None


def _guessed(content: bytes, place: int) -> str | None:
    """The name of the encoding in which the bytes around `place` read most like words."""
    part = content[max(0, place - _LOOKED_AT // 2) : place + _LOOKED_AT // 2]
    guesses = [
        _Guess(codec, score) for codec in (*_SINGLE_BYTES, *_EAST_ASIAN) if (score := _score(part, codec)) > 0
    ]
    if not guesses:
        return None
    return _NAMES[max(guesses, key=lambda guess: guess.score).encoding]


def _score(part: bytes, codec: str) -> float:
    """How much the letters beyond ASCII look like those of words, 0 to 1; 0 where it does not decode."""
    cut = part
    if codec in _EAST_ASIAN:  # of which the first and the last letter may be cut through
        begin = next((n for n, byte in enumerate(part[:64]) if byte < 0x80), 0)
        end = next((len(part) - n for n, byte in enumerate(reversed(part[-64:])) if byte < 0x40), len(part))
        cut = part[begin : end or len(part)]
    try:
        text = cut.decode(codec)
    except UnicodeDecodeError:
        return 0.0
    beyond = [letter for letter in text if ord(letter) > 0x7F]
    if not beyond:
        return 0.0
    if codec in _EAST_ASIAN:
        return sum(_is_east_asian(letter, codec) for letter in beyond) / len(beyond) * 0.96
    if codec in _LATIN:
        usual, bonus = _LATIN[codec]
        known = sum(letter in usual for letter in beyond) / len(beyond)
        inside = _lower_inside(text)
        return known * (0.7 + 0.25 * inside) + bonus
    script = {
        "cp1251": "CYRILLIC",
        "koi8-r": "CYRILLIC",
        "cp1253": "GREEK",
        "cp1255": "HEBREW",
        "cp1256": "ARABIC",
    }[codec]
    of_script = sum(unicodedata.name(letter, "").startswith(script) for letter in beyond) / len(beyond)
    if of_script < _OF_SCRIPT or not _runs(text):
        return 0.0
    # Hebrew has no capitals; its bytes are letters in tables of Cyrillic and Greek, all small or all capital.
    capitals = sum(letter.isupper() for letter in beyond) / len(beyond)
    odd = script in ("CYRILLIC", "GREEK") and (capitals == 0 or capitals > _MOST_CAPITALS)
    return of_script * (0.5 + 0.5 * _lower_inside(text)) - (capitals + 0.1 if odd else 0)


def _lower_inside(text: str) -> float:
    """The share of letters beyond ASCII that do not switch from lower case to upper case inside a word."""
    good = total = 0
    for before, letter in zip(" " + text, text, strict=False):
        if ord(letter) > 0x7F and letter.isalpha():
            total += 1
            good += not (letter.isupper() and before.islower())
    return good / total if total else 0.0


def _runs(text: str) -> bool:
    """Whether most letters beyond ASCII stand beside another, as in a script that is not Latin."""
    pairs = sum(ord(a) > 0x7F and ord(b) > 0x7F for a, b in itertools.pairwise(text))
    return pairs > sum(ord(letter) > 0x7F for letter in text) / 2


def _is_east_asian(letter: str, codec: str) -> float:
    code = ord(letter)
    if codec == "euc_kr":
        return float(0xAC00 <= code <= 0xD7A3) or 0.3 * (0x3000 <= code <= 0x303F or 0xFF00 <= code <= 0xFFEF)
    if codec in ("shift_jis", "euc_jp"):
        kana = 0x3041 <= code <= 0x30FF or 0x3000 <= code <= 0x303F
        return 1.0 if kana else 0.6 * (0x4E00 <= code <= 0x9FFF)
    return 0.9 * (0x4E00 <= code <= 0x9FFF) or 0.8 * (0x3000 <= code <= 0x303F or 0xFF00 <= code <= 0xFFEF)
