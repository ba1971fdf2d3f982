"""Text cut into words, marks, emoji, numbers and addresses of every script."""

from __future__ import annotations

import time
import unicodedata

import pytest
from fedstill_proto.text.tokens import ADDRESS, EMOJI, MARK, NUMBER, WORD, TokenKind, tokenize, visible
from fedstill_proto.text.vocabulary import key_of, normal, split, split_prefix
from hypothesis import given, settings
from hypothesis import strategies as st


def pieces(text: str, *kinds: TokenKind) -> list[str]:
    return [token.text for token in tokenize(text) if token.kind in (kinds or (WORD,))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("We can't go to-morrow, o'er there", ["We", "can't", "go", "to-morrow", "o'er", "there"]),
        ("'Tis rock 'n' roll, 'em all", ["'Tis", "rock", "'n", "roll", "'em", "all"]),
        ("say 'round' 'cause' so 'cause 'n' x", ["say", "round", "cause", "so", "'cause", "'n", "x"]),
        ("lol:D love <3 ok:-P fine;) note:Paris =) ^_^", ["lol", "love", "ok", "fine", "note", "Paris"]),
        ("'t'would be 'cause'", ["'t'would", "be", "cause"]),
        ("back in the '90s", ["back", "in", "the", "'90s"]),
        ("'s avonds in 't Gooi", ["'s", "avonds", "in", "'t", "Gooi"]),
        ("e.g. the U.S. at 5 p.m.", ["e.g.", "the", "U.S.", "at", "p.m."]),
        ("z.B. d.h. end.Then", ["z.B.", "d.h.", "end", "Then"]),
        ("col·lecció l’été Hawai‘i", ["col·lecció", "l’été", "Hawai‘i"]),
        ('צה"ל ג׳ירפה', ['צה"ל', "ג׳ירפה"]),
        ("می‌خواهم کتاب‌ها", ["می\u200cخواهم", "کتاب\u200cها"]),
        ("क्षत्रिय क्‍ष हूँ", ["क्षत्रिय", "क्\u200dष", "हूँ"]),
        ("日本語をテスト", ["日", "本", "語", "を", "テスト"]),
        ("我爱你", ["我", "爱", "你"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("ສະບາຍ", ["ສະ", "ບາ", "ຍ"]),
        ("ខ្មែរ", ["ខ្មែ", "រ"]),
        ("한국어를 배워요", ["한국어를", "배워요"]),
        ("snake_case x_1 _this_", ["snake_case", "x_1", "this"]),
        ("m² 3.5kg 4th user12", ["m²", "3.5kg", "4th", "user12"]),
        ("ინგლისური Ελλάς Ըստ", ["ინგლისური", "Ελλάς", "Ըստ"]),
        ("ሰላም፡ነው", ["ሰላም", "ነው"]),
        ("བོད་ཡིག", ["བོད", "ཡིག"]),
        ("and/or he-- -x- 'y'", ["and", "or", "he", "x", "y"]),
        ("#hello #tb", ["hello", "tb"]),
        ("a\x00b\x07c", ["a", "b", "c"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert pieces(text) == words


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("see https://example.org/a?b=c#d.", ["https://example.org/a?b=c#d"]),
        ("(www.example.org/x), ok", ["www.example.org/x"]),
        ("mail anna.b+c@example.co.uk!", ["anna.b+c@example.co.uk"]),
        ("ask @anna_b, @ben", ["@anna_b", "@ben"]),
        ("@anna:matrix.org hi", ["@anna:matrix.org"]),
        ("on example.com now", ["example.com"]),
        ("docs.python.org/3/ is", ["docs.python.org/3/"]),
        ("edit /etc/fstab and ~/notes.txt", ["/etc/fstab", "~/notes.txt"]),
        ("run ./build.sh ../x/y", ["./build.sh", "../x/y"]),
        ("C:\\Users\\anna\\x.doc here", ["C:\\Users\\anna\\x.doc"]),
        ("\\\\server\\share here", ["\\\\server\\share"]),
        ("open report.pdf or src/main.py", ["report.pdf", "src/main.py"]),
        ("an <unknown> word", ["<unknown>"]),
        ("nothing. Here 3.5 e.g. end.Then so.it", []),
        ("пошли на пример@почта.рф ещё", ["пример@почта.рф"]),
    ],
)
def test_addresses(text: str, addresses: list[str]) -> None:
    assert pieces(text, ADDRESS) == addresses


@pytest.mark.parametrize(
    ("text", "numbers", "key"),
    [
        ("10:30", ["10:30"], "<unknown>"),
        ("3.5", ["3.5"], "3.5"),
        ("1,000", ["1,000"], "<unknown>"),
        ("2026-11-29", ["2026-11-29"], "<unknown>"),
        ("12/24", ["12/24"], "<unknown>"),
        ("½", ["½"], "½"),
        ("١٢٣", ["١٢٣"], "١٢٣"),
        ("१२३४", ["१२३४"], "<unknown>"),
        ("42", ["42"], "42"),
        ("+49 170", ["49", "170"], "49"),
    ],
)
def test_numbers(text: str, numbers: list[str], key: str) -> None:
    assert pieces(text, NUMBER) == numbers
    assert split(text)[0] == key


@pytest.mark.parametrize(
    "emoji",
    [
        "😂",
        "👍🏽",
        "👨‍👩‍👧‍👦",
        "❤️",
        "❤️‍🔥",
        "🏳️‍🌈",
        "🇩🇪",
        "1️⃣",
        "#️⃣",
        "🏴󠁧󠁢󠁳󠁣󠁴󠁿",
        "👩🏽‍🚀",
        "☀︎",
        "🫶🏿",
        "🧑🏻‍🤝‍🧑🏿",
        "⚕️",
    ],
)
def test_a_sequence_of_emoji_is_one_token(emoji: str) -> None:
    assert pieces(f"a{emoji}b {emoji}{emoji}.", EMOJI) == [emoji] * 3
    assert split(emoji) == split(emoji + "\ufe0f") == [emoji.replace("\ufe0f", "").replace("\ufe0e", "")]


def test_kinds_and_places() -> None:
    text = "\ufeffÉte\u0301: 'so\u00adft' 😂 www.x.org 42!"
    assert [(token.text, token.kind, text[token.begin : token.end]) for token in tokenize(text)] == [
        ("Été", WORD, "Éte\u0301"),
        (":", MARK, ":"),
        ("'", MARK, "'"),
        ("soft", WORD, "so\u00adft"),
        ("'", MARK, "'"),
        ("😂", EMOJI, "😂"),
        ("www.x.org", ADDRESS, "www.x.org"),
        ("42", NUMBER, "42"),
        ("!", MARK, "!"),
    ]


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        ("Hello there. My friend", ["Hello", "My"]),
        ("Mr. Smith saw Dr. Who", ["Mr"]),
        ("J. Smith, e.g. here", ["J"]),
        ("one\ntwo three", ["one", "two"]),
        ("“Yes,” he said. “No”", ["Yes", "No"]),
        ("¿Qué? ¡Ah! no", ["Qué", "Ah", "no"]),
        ("ठीक है। अब", ["ठीक", "अब"]),
        ("好。不", ["好", "不"]),
        ("😂 ok 😂 then", ["ok"]),
        ("'s Avonds laat", ["'s", "Avonds"]),
        ("Really?! yes... no", ["Really", "yes", "no"]),
    ],
)
def test_sentence_starts(text: str, starts: list[str]) -> None:
    assert [token.text for token in tokenize(text) if token.starts_sentence and token.kind is WORD] == starts


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("İSTANBUL", "istanbul"),
        ("ISPARTA", "isparta"),
        ("ılık", "ılık"),
        ("STRAẞE", "straße"),
        ("STRASSE", "strasse"),
        ("ΟΔΟΣ", "οδος"),
        ("DON’T", "don't"),
        ("كتـــاب", "كتاب"),
        ("ինչպե՞ս", "ինչպես"),
        ("葛\U000e0100", "葛"),
        ("Ǆ", "ǆ"),
        ("ÅSE", "åse"),
    ],
)
def test_keys(text: str, key: str) -> None:
    assert normal(text) == key
    assert split(text) == [key]


@pytest.mark.parametrize(
    ("prefix", "begun"),
    [
        ("", ("", "")),
        (" ", ("", "")),
        ("he", ("", "he")),
        ('"(he', ('"(', "he")),
        ("#tb", ("#", "tb")),
        ("o'", ("", "o'")),
        ("to-", ("", "to-")),
        ("'t", ("", "'t")),
        ("two words", ("two ", "words")),
        ("(", ("(", "")),
        ("日本", ("日", "本")),
        ("10:3", ("", "10:3")),
        ("anna@", None),
        ("anna@ex", None),
        ("www.ex", None),
        (",", None),
        ("😂", None),
        ("10:30", None),
        ("x" * 81, None),
    ],
)
def test_a_prefix(prefix: str, begun: tuple[str, str] | None) -> None:
    assert split_prefix(prefix) == begun


_SIGNS = st.one_of(
    st.characters(),
    st.sampled_from(
        list("aZ09éß'’-–_.@/:#!?…\"“ \n\u200b\u200c\u200d\ufe0f\u20e3\u0301\u00ad👍🏽❤🇩🇪हूँ।سक日テสว")
    ),
    st.sampled_from(["www.", "http://", ".com", "'tis", "<unknown>", "e.g."]),
)
_TEXTS = st.lists(_SIGNS, max_size=40).map("".join)


@given(_TEXTS)
@settings(max_examples=400)
def test_tokens_stand_where_they_say_and_nothing_is_lost(text: str) -> None:
    tokens = tokenize(text)

    end = 0
    for token in tokens:
        assert end <= token.begin < token.end <= len(text)
        end = token.end
        assert visible(text[token.begin : token.end]) == token.text or token.text in visible(text)
        assert token.text == unicodedata.normalize("NFC", token.text)
    ends, begins = [0, *(token.end for token in tokens)], [*(token.begin for token in tokens), len(text)]
    lost = "".join(text[end:begin] for end, begin in zip(ends, begins, strict=True))
    assert not any(sign.isdecimal() for sign in visible(lost))
    assert not tokens or tokens[0].starts_sentence


@given(_TEXTS)
@settings(max_examples=400)
def test_keys_are_their_own_keys(text: str) -> None:
    for token in tokenize(text):
        key = key_of(token.text, token.kind)
        assert normal(key) == key
        assert not key or split(key) == [key]


@given(_TEXTS)
def test_any_prefix_is_taken_apart(text: str) -> None:
    begun = split_prefix(text)
    if begun is not None:
        before, letters = begun
        assert not letters or visible(text) == before + letters
        split(f"{before} {letters}")


@pytest.mark.parametrize(
    "part",
    ["a", "a.", "aa.", "a@", "@", "/", "/a", "a/", "-a", "'", "a'", ".com", "www.", "http://", "1.", "1:",
     "1,", "😂", "👨‍", "🏴󠁧", "\u0301", "\u200b", "\u200d", "ก", "ခ္", "\\", "C:\\", "x.y/", "a_", "!", "<",
     "1\ufe0f\u20e3"],
)  # fmt: skip
def test_long_texts_take_no_longer(part: str) -> None:
    text = part * (20_000 // len(part))
    before = time.process_time()
    tokenize(text)
    assert time.process_time() - before < 2  # of a square of its length it would take minutes
