"""Text as people write it, cut into words, marks, emoji, numbers and addresses, in every script.

Words end where Unicode says so (UAX 29, revision 45, "Unicode Text Segmentation", default word boundaries),
tailored for keyboards:

- apostrophes, hyphens, middle dots and underscores between letters stay in the word ("o'er", "to-morrow",
  "col·lecció"), and an apostrophe before it where letters are left out ("'tis", "'s avonds", "'90s"); any
  other sign before or behind a word is a mark, as quotation marks are;
- letters with dots between them are one word ("e.g.", "z.B.", "U.S."); no other full stop is in a word;
- scripts that put no space between words fall into what can be told without a dictionary: Han signs one by
  one, runs of Hiragana and of Katakana, and the clusters of Thai, Lao, Khmer and Burmese;
- a sequence of emoji that is drawn as one (skin tones, families, flags, keycaps) is one token (UTS 51);
- an address (of the web, of mail, of a file; @someone) is one token.

A token is in Unicode's form C and without signs that nobody sees: soft hyphens, spaces of no width, byte
order marks, marks of direction. The joiners U+200C and U+200D stay where they say something: between letters
of Arabic and of Indic scripts, and in emoji.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import regex


class TokenKind(Enum):
    """What a token is."""

    WORD = "word"
    MARK = "mark"
    EMOJI = "emoji"
    NUMBER = "number"
    ADDRESS = "address"


WORD, MARK, EMOJI, NUMBER, ADDRESS = TokenKind
NOTHING_SAID = "<unknown>"
"""What stands in a text for what is no word; an address, so that it is read again as what it is."""


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a text.

    Attributes:
        text: As written, in form C and without invisible signs.
        kind: What it is.
        begin: The character of the text that it begins with.
        end: The character behind its last one.
        starts_sentence: Whether it is the first word, number or address of a sentence or line (or a mark or
            an emoji before that).
    """

    text: str
    kind: TokenKind
    begin: int
    end: int
    starts_sentence: bool


# Letters and digits of scripts that write words apart, and what stands on them.
_L = (
    r"[[\p{WB=ALetter}\p{WB=Hebrew_Letter}\p{WB=Numeric}]"
    r"--[\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}\u115F\u1160\u3164\uFFA0]]"
)
_LX = f"[{_L}[[\\p{{WB=Extend}}\\p{{WB=ZWJ}}\u00b2\u00b3\u00b9\u2070-\u2079]--[\\p{{EMod}}]]]"
_APOSTROPHE, _HYPHEN = "'’‘＇", "\\-‐‑"
_UNIT = f"{_L}{_LX}*+"
_JOINER = (
    f"(?:[{_APOSTROPHE}·_{_HYPHEN}]"
    r"|(?<=\p{Nd})[.,:/](?=\p{Nd})"
    '|(?<=\\p{Hebrew})["״](?=\\p{Hebrew}))'
)
# Words that begin with an apostrophe, in English, German, Dutch and Afrikaans.
_ELIDED = (
    "tis|twas|twere|twill|twould|twasn|tisn|twon|til|till|em|cause|cuz|cos|coz|bout|round|neath|gainst|nother|"
    "ere|un|nuff|cept|fraid|scuse|pon|n|s|t|k|m|r|d|ll|re|ve|ie|ns|ne|nen|nem|ner|raus|rein|rum|rauf|runter"
)
_LEFT_OUT = f"(?i:{_ELIDED})(?!{_LX}|[{_APOSTROPHE}](?!{_L}))|(?i:n)[{_APOSTROPHE}]|\\p{{Nd}}0s"
_WORD = f"(?:[{_APOSTROPHE}](?={_LEFT_OUT}))?{_UNIT}(?:{_JOINER}{_UNIT})*+"
_ABBREVIATION = f"\\p{{L}}\\p{{M}}*+(?:\\.\\p{{L}}\\p{{M}}*+)++(?!{_LX})\\.?"
_CLUSTERS = "|".join(
    (
        r"[\p{Han}\u3005\u3007](?:[\uFE00-\uFE0F\U000E0100-\U000E01EF])?",
        r"[\p{Hiragana}\u309D\u309E]+[\u30FC\p{Hiragana}]*",
        r"[\p{Katakana}\u30FC\uFF66-\uFF9F]+",
        r"[\u0E40-\u0E44]?[\u0E01-\u0E2E][\u0E30-\u0E3A\u0E45\u0E47-\u0E4E]*",
        r"[\u0EC0-\u0EC4]?[\u0E81-\u0EAE\u0EDC-\u0EDF][\u0EB0-\u0EBD\u0EC8-\u0ECE]*",
        r"[\u1780-\u17B3](?:\u17D2[\u1780-\u17B3]|[\u17B4-\u17D1\u17D3\u17DD])*",
        r"[\u1000-\u102A\u103F](?:\u1039[\u1000-\u1021]|\p{M})*(?:[\u1000-\u1021]\u103A\p{M}*)*",
        r"[\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}&&\p{L}]\p{M}*",
    )
)
_PICTURE = r"[[\p{Extended_Pictographic}&&\p{Emoji}]--[©®™‼⁉ℹ〰〽㊗㊙Ⓜ]]"
_ONE_EMOJI = f"{_PICTURE}(?:[\\uFE0E\\uFE0F]?\\p{{EMod}}|[\\uFE0E\\uFE0F])?[\\U000E0020-\\U000E007F]*"
_EMOJI = f"{_ONE_EMOJI}(?:\u200d{_ONE_EMOJI})*|\\p{{RI}}\\p{{RI}}"
_TOP_DOMAINS = (  # those that are words of a language are taken for one, as in "so.it goes"
    "com|org|net|edu|gov|mil|int|info|biz|dev|app|cloud|online|shop|blog|xyz|wiki|site|tech|store|io|ai|co|tv|"
    "eu|uk|de|fr|nl|be|ch|at|li|lu|pl|cz|sk|hu|ro|bg|gr|tr|ru|ua|by|kz|se|dk|fi|pt|br|mx|ar|cl|pe|ve|jp|cn|tw|"
    "hk|kr|vn|th|ph|sg|my|nz|au|za|ng|ke|eg|il|ir|sa|ae|pk|ie|ee|lv|lt"
)
_FILE_ENDS = (
    "txt|pdf|docx?|xlsx?|pptx?|odt|ods|csv|json|xml|html?|css|js|ts|py|sh|cpp|hpp|jar|md|rst|log|"
    "conf|cfg|ini|ya?ml|toml|png|jpe?g|gif|svg|webp|bmp|mp3|mp4|ogg|wav|flac|avi|mkv|mov|zip|tar|gz|bz2|xz|tgz|"
    "7z|rar|deb|rpm|iso|img|exe|dll|apk|dmg|bin|bak|sql|db"
)
_NAME = r"[\p{L}\p{M}\p{N}_]"
_BEHIND = r"[^\s<>\"«»“”]{0,2000}[\p{L}\p{N}_/=&#%~+-]"
_ADDRESS = "|".join(
    (
        NOTHING_SAID,
        rf"[A-Za-z][A-Za-z0-9+.-]{{0,20}}://{_BEHIND}",
        rf"(?i:www)\.{_BEHIND}",
        r"[\p{L}\p{M}\p{N}._%+-]{1,64}+@[\p{L}\p{N}]+(?:[.-][\p{L}\p{N}]+){0,8}",
        rf"@{_NAME}+(?:[.-]{_NAME}+){{0,8}}(?::[\p{{L}}\p{{N}}]+(?:[.-][\p{{L}}\p{{N}}]+){{0,8}})?",
        rf"(?:[\p{{L}}\p{{N}}][\p{{L}}\p{{N}}-]{{0,62}}+\.){{1,6}}(?:{_TOP_DOMAINS})(?!{_NAME}|[.-]{_NAME}|@)"
        rf"(?:[:/?#]{_BEHIND})?",
        rf"(?:[\w.-]{{1,64}}/){{0,16}}[\w+-]{{1,64}}(?:\.[\w+-]{{1,64}}){{0,4}}\.(?:{_FILE_ENDS})(?!{_NAME}|\.{_NAME})",
        r"(?<![^\s(\[{\"'“”‘’«»„])(?:~|\.{1,2})?/(?:[\w+@~-]|\.(?=\w)){1,255}+"
        r"(?:/(?:[\w+@~-]|\.(?=\w)){1,255}+){0,64}/?",
        rf"[A-Za-z]:\\{_BEHIND}",
        rf"\\\\[\w]{_BEHIND}",
    )
)
# ":-)" and "<3" are marks that no list has, and neither "d" nor "3" behind one is a word.
_EMOTICON = r"[:;=]['’]?-?(?:[)(\]\[|*}{]+|[DPpOoSsXx03/\\](?!\w))|</?3(?!\w)|\^[_.-]?\^|>[._]<"
_PUNCTUATION = _EMOTICON + r"|\.++|!++|\?++|\p{P}"
_PLAIN = regex.compile(
    f"(?P<word>{_ABBREVIATION}|{_WORD}|{_CLUSTERS})|(?P<emoji>{_EMOJI})|(?P<number>\\p{{No}})"
    f"|(?P<mark>{_PUNCTUATION})",
    regex.V1,
)
_WITH_ADDRESSES = regex.compile(f"(?P<address>{_ADDRESS})|" + _PLAIN.pattern, regex.V1)
_KEYCAP = regex.compile(r"[0-9#*]\uFE0F?\u20E3", regex.V1)
_KINDS = {kind.value: kind for kind in TokenKind}
_MAY_HOLD_ADDRESSES = regex.compile(r"[@/\\<]|\w\.\w")
_NO_NUMBER = regex.compile(r"[^\p{Nd}\p{P}\p{M}]", regex.V1)

# Signs that say nothing, and joiners where nothing is joined.
_JOINED = "\\p{Script=Arabic}\\p{Script=Syriac}\\p{Script=Nko}\\p{Script=Mongolian}"
_INDIC = r"\p{Deva}\p{Beng}\p{Guru}\p{Gujr}\p{Orya}\p{Taml}\p{Telu}\p{Knda}\p{Mlym}\p{Sinh}\p{Khmr}\p{Mymr}"
_SUSPECT = regex.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0001\U000e0020-\U000e007f\ud800-\udfff]"
)
_INVISIBLE = regex.compile(
    "[\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0001"
    "\ud800-\udfff]"
    f"|\u200c(?!(?<=[{_JOINED}].)[{_JOINED}])(?!(?<=[[{_INDIC}]&&\\p{{M}}].))"
    f"|\u200d(?!(?<=[{_JOINED}].))(?!(?<=[[{_INDIC}]&&\\p{{M}}].))"
    "(?!(?<=[\\p{Extended_Pictographic}\\p{EMod}\\uFE0E\\uFE0F].)\\p{Extended_Pictographic})"
    "|(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0020-\U000e007f]+",
    regex.V1,
)
_CLUSTER = regex.compile(r"\X")

_ENDS = frozenset(".!?。｡．।॥۔؟！？։՜՞።፧။៕༎᙮᠃܀‼⁇⁈⁉‽…")
_STARTS_ANEW = regex.compile(r"[\n\r\u2028\u2029]")
# What a full stop does not end a sentence behind, besides single letters.
_SHORTENED = regex.compile(
    "mr|mrs|ms|mx|dr|prof|st|rev|gen|col|lt|sgt|capt|sr|jr|vs|fig|hr|fr|frl|dipl|ing|bzw|ca|evtl|ggf|inkl|nr|"
    "str|usw|vgl|zzgl|sog|mio|mrd|sra|srta|dra|ud|uds|pág|núm|mme|mlle|mgr|dhr|mevr|mw|drs|bv|bijv|blz|enz|etc|"
    "ул|стр|др",
    regex.IGNORECASE,
)


def visible(text: str) -> str:
    """The text in form C, without signs that nobody sees and what cannot be encoded."""
    if _SUSPECT.search(text):
        text = _INVISIBLE.sub("", text)
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def tokenize(text: str) -> list[Token]:
    """The tokens of a text in order; spaces and signs that are neither words nor marks are between them."""
    shown, places = _shown(text)
    tokens: list[Token] = []
    starts, previous, last_end = True, "", 0
    for kind, begin, end in spans(shown):
        piece = shown[begin:end]
        starts = starts or _STARTS_ANEW.search(shown, last_end, begin) is not None
        if places is None:
            tokens.append(Token(piece, kind, begin, end, starts))
        else:
            tokens.append(Token(piece, kind, places[begin][0], places[end - 1][1], starts))
        if kind is MARK:
            starts = starts or ends_sentence(piece, previous)
        elif kind is not EMOJI:
            starts = starts and len(piece) == 2 and piece[0] in "'’"  # "'s Avonds"
        previous, last_end = piece, end
    return tokens


def spans(shown: str) -> Iterator[tuple[TokenKind, int, int]]:
    """Kind, begin and end of each token of a text that is visible(text) already."""
    pattern = _WITH_ADDRESSES if _MAY_HOLD_ADDRESSES.search(shown) else _PLAIN
    begin = 0
    if "\u20e3" in shown:  # a digit with a keycap is no part of the word before it
        for keycap in _KEYCAP.finditer(shown):
            yield from _spans_within(pattern, shown, begin, keycap.start())
            yield EMOJI, keycap.start(), keycap.end()
            begin = keycap.end()
    yield from _spans_within(pattern, shown, begin, len(shown))


def _spans_within(
    pattern: regex.Pattern[str], shown: str, first: int, last: int
) -> Iterator[tuple[TokenKind, int, int]]:
    for match in pattern.finditer(shown, first, last):
        begin, end = match.span()
        kind = _KINDS[match.lastgroup or "mark"]
        if kind is WORD and not shown[begin].isalpha() and not _NO_NUMBER.search(shown, begin, end):
            kind = NUMBER
        yield kind, begin, end


def _shown(text: str) -> tuple[str, list[tuple[int, int]] | None]:
    """visible(text), and by its characters where each begins and ends in the text; None if it is the same."""
    shown = visible(text)
    if shown == text:
        return shown, None
    kept = [True] * len(text)
    for match in _INVISIBLE.finditer(text):
        kept[match.start() : match.end()] = [False] * (match.end() - match.start())
    at = [place for place, keep in enumerate(kept) if keep]
    remaining = "".join(text[place] for place in at)
    parts: list[str] = []
    places: list[tuple[int, int]] = []
    for match in _CLUSTER.finditer(remaining):  # form C joins no more than what is one sign to people
        composed = unicodedata.normalize("NFC", match.group())
        first, last = at[match.start()], at[match.end() - 1] + 1
        if len(composed) == match.end() - match.start():
            places += [(at[place], at[place] + 1) for place in range(match.start(), match.end())]
        else:
            places += [(first, last)] * len(composed)
        parts.append(composed)
    return "".join(parts), places


def ends_sentence(mark: str, previous: str) -> bool:
    """Whether a sentence ends with a mark behind the previous token (as written; "" for none)."""
    if mark[0] not in _ENDS:
        return False
    return mark != "." or not ((len(previous) == 1 and previous.isalpha()) or _SHORTENED.fullmatch(previous))
