"""Numbers in words and digits as Unicode spells them in five languages, and what people say besides."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.spoken_numbers import (
    LANGUAGES,
    as_json_number,
    find_numbers,
    with_numbers_normalized,
)
from unicode_rbnf import RbnfEngine


@pytest.mark.parametrize("language", LANGUAGES)
def test_numbers_are_read_as_unicode_spells_it(language: str) -> None:
    speller = RbnfEngine.for_language(language)
    for number in [
        *range(1200),
        *range(1200, 10_000, 3),
        12_345,
        100_000,
        234_567,
        999_999,
        1_000_000,
        2_345_678,
    ]:
        text = speller.format_number(number).text
        languages = (language,) if number % 10 else LANGUAGES
        found = [
            (each.begin, each.end, each.value)
            for each in find_numbers(text, languages=languages, articles=True)
        ]
        assert found == [(0, len(text), number)], text


SAID = [
    ("set the kitchen light to fifty percent", "fifty percent", 50, True),
    ("set it to 50%", "50%", 50, True),
    ("set it to 50 %", "50 %", 50, True),
    ("fifty per cent please", "fifty per cent", 50, True),
    ("a hundred percent", "a hundred percent", 100, True),
    ("one hundred and five", "one hundred and five", 105, False),
    ("one and a half", "one and a half", Fraction(3, 2), False),
    ("twenty-one point five degrees", "twenty-one point five", Fraction(43, 2), False),
    ("half brightness", "half", Fraction(1, 2), False),
    ("three quarters", "three quarters", Fraction(3, 4), False),
    ("it is minus five outside", "minus five", -5, False),
    ("auf fünfundzwanzig stellen", "fünfundzwanzig", 25, False),
    ("AUF FÜNFZIG PROZENT", "FÜNFZIG PROZENT", 50, True),
    ("auf fu\u0308nf grad", "fu\u0308nf", 5, False),
    ("auf fuenfzig", "fuenfzig", 50, False),
    ("anderthalb Stunden", "anderthalb", Fraction(3, 2), False),
    ("zweieinhalb Minuten", "zweieinhalb", Fraction(5, 2), False),
    ("drei Komma fünf", "drei Komma fünf", Fraction(7, 2), False),
    ("dreißig prozent", "dreißig prozent", 30, True),
    ("ein prozent", "ein prozent", 1, True),
    ("quatre-vingt-dix pour cent", "quatre-vingt-dix pour cent", 90, True),
    ("règle à quatre vingt dix neuf", "quatre vingt dix neuf", 99, False),
    ("cent pour cent", "cent pour cent", 100, True),
    ("deux et demi", "deux et demi", Fraction(5, 2), False),
    ("vingt et un degrés", "vingt et un", 21, False),
    ("septante et un", "septante et un", 71, False),
    ("trois virgule vingt-cinq", "trois virgule vingt-cinq", Fraction(13, 4), False),
    ("pon la luz al veintidós por ciento", "veintidós por ciento", 22, True),
    ("treinta y cinco", "treinta y cinco", 35, False),
    ("dos y medio", "dos y medio", Fraction(5, 2), False),
    ("a las once", "once", 11, False),
    ("cien por ciento", "cien por ciento", 100, True),
    ("zet op tweeëntwintig graden", "tweeëntwintig", 22, False),
    ("tweeentwintig", "tweeentwintig", 22, False),
    ("een half procent", "een half procent", Fraction(1, 2), True),
    ("twee en een half uur", "twee en een half", Fraction(5, 2), False),
    ("op veertigprocent", "veertigprocent", 40, True),
    ("auf fünfzigprozent", "fünfzigprozent", 50, True),
    ("driekwart", "driekwart", Fraction(3, 4), False),
    ("één lamp", "één", 1, False),
    ("3,5 graden", "3,5", Fraction(7, 2), False),
    ("3.5", "3.5", Fraction(7, 2), False),
    ("1½ uur", "1½", Fraction(3, 2), False),
    ("1.500 euro", "1.500", 1500, False),
    ("1,500,000", "1,500,000", 1_500_000, False),
    ("2,5 Millionen", "2,5 Millionen", 2_500_000, False),
    ("-5 degrees", "-5", -5, False),
    ("２５％", "２５％", 25, True),
    ("😀 fifty", "fifty", 50, False),
]


@pytest.mark.parametrize(("text", "part", "value", "percent"), SAID)
def test_a_number_is_found_with_its_place_and_value(
    text: str, part: str, value: Fraction, percent: bool
) -> None:
    (found,) = find_numbers(text)
    assert (text[found.begin : found.end], found.value, found.percent) == (part, value, percent)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "turn on a light",
        "mach ein licht an",
        "allume une lampe",
        "enciende una lámpara",
        "doe een lamp aan",
        "turn it on once please",
        "is the media player on",
        "h264 and mp3",
        "version 1.2.3",
        "192.168.1.1",
        "9" * 40,
        "on ce",
        "the weight of the stones",
        "🙂 ﾞ ͅ",
    ],
)
def test_what_is_no_number_is_none(text: str) -> None:
    assert find_numbers(text) == []


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("set it to 50%", "set it to 50 percent"),
        ("set it to fifty percent", "set it to 50 percent"),
        ("auf fünfzig Prozent", "auf 50 percent"),
        ("à cinquante pour cent", "à 50 percent"),
        ("al cincuenta por ciento", "al 50 percent"),
        ("op vijftig procent", "op 50 percent"),
        ("twenty one point five degrees", "21.5 degrees"),
        ("20°C", "20°C"),
        ("50%bright", "50 percent bright"),
        ("two lights in one room", "2 lights in 1 room"),
        ("nothing here", "nothing here"),
    ],
)
def test_numbers_are_written_alike(text: str, normalized: str) -> None:
    assert with_numbers_normalized(text) == normalized
    assert with_numbers_normalized(normalized) == normalized


@pytest.mark.parametrize(
    "text",
    ["einundzwanzig " * 71, "ein" * 333, "1," * 500, "1 " * 500, "tausend" * 142, "-" * 1000, "½" * 1000],
)
def test_no_text_takes_long(text: str) -> None:
    began = time.process_time()
    find_numbers(text)
    assert time.process_time() - began < 0.5


def test_a_text_that_is_too_long_and_an_unknown_language_are_refused() -> None:
    with pytest.raises(InvalidValue, match="1001 characters"):
        find_numbers("1" * 1001)
    with pytest.raises(InvalidValue, match="'it' is none of"):
        find_numbers("uno", languages=("it",))


def test_a_number_in_json_is_whole_where_it_can_be() -> None:
    assert [as_json_number(Fraction(each)) for each in ("50", "7/2", "1/3")] == [50, 3.5, 0.3333]
