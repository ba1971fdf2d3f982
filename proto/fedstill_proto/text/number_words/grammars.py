"""Number words as data, by language, and the whole numbers that they make up.

A word is read as it is written together, without accents: "quatrevingtdix", "einundzwanzig", "treintaydos".
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from fractions import Fraction

_WORD_LIMIT = 80  # letters of a number that is written together


@dataclass(frozen=True)
class NumberGrammar:
    """What a language's numbers are made of; written together, without spaces."""

    below_hundred: dict[str, int]
    hundreds: dict[str, int]  # 100, or what the whole word says ("doscientos")
    thousand: tuple[str, ...]
    million: tuple[str, ...]
    joiners: tuple[str, ...]
    point: frozenset[str]
    articles: frozenset[str]
    fractions: dict[str, Fraction]  # behind a number and a joiner, or behind an article
    fixed: dict[str, Fraction]  # whole words with a fraction in them
    percent: frozenset[str]
    atoms: frozenset[str]  # words that a number may be made of
    common: frozenset[str]  # words by which the language is told


def _pairs(words: str, begin: int = 0, step: int = 1) -> dict[str, int]:
    """Words with their numbers; words of one number have a stroke between them."""
    return {
        word: begin + step * place for place, group in enumerate(words.split()) for word in group.split("|")
    }


def _tens_first(tens: dict[str, int], units: dict[str, int], *joiners: str) -> dict[str, int]:
    return {
        ten + joiner + unit: value + low
        for ten, value in tens.items()
        for unit, low in units.items()
        if low
        for joiner in joiners
    }


def _units_first(units: dict[str, int], tens: dict[str, int], joiner: str) -> dict[str, int]:
    return {
        unit + joiner + ten: value + low
        for ten, value in tens.items()
        for unit, low in units.items()
        if 0 < low < 10 and not (unit.startswith("ein") and unit != "ein")
    }


_HALF, _QUARTER, _THIRD = Fraction(1, 2), Fraction(1, 4), Fraction(1, 3)


def _grammar(
    below: dict[str, int],
    *,
    hundreds: dict[str, int],
    fractions: dict[str, Fraction],
    fixed: dict[str, Fraction],
    words: dict[str, str],
) -> NumberGrammar:
    """A language's; `words` has a line of words for each other field, and "atoms" for parts of numbers."""
    parts = {name: line.split() for name, line in words.items()}
    scales = [*hundreds, *parts["thousand"], *parts["million"]]
    atoms = [*below, *scales, *parts["joiners"], *parts["articles"], *parts.get("atoms", ())]
    return NumberGrammar(
        below_hundred=below,
        hundreds=hundreds,
        thousand=tuple(parts["thousand"]),
        million=tuple(parts["million"]),
        joiners=tuple(parts["joiners"]),
        point=frozenset(parts["point"]),
        articles=frozenset(parts["articles"]),
        fractions=fractions,
        fixed=fixed,
        percent=frozenset(parts["percent"]),
        atoms=frozenset(atoms),
        common=frozenset(parts["common"]),
    )


def _english() -> NumberGrammar:
    units = _pairs("zero one two three four five six seven eight nine")
    teens = _pairs(
        "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen", begin=10
    )
    tens = _pairs("twenty thirty forty|fourty fifty sixty seventy eighty ninety", 20, 10)
    return _grammar(
        {**units, **teens, **tens, **_tens_first(tens, units, "")},
        hundreds={"hundred": 100, "hundreds": 100},
        fractions={
            "half": _HALF,
            "halves": _HALF,
            "quarter": _QUARTER,
            "quarters": _QUARTER,
            "third": _THIRD,
            "thirds": _THIRD,
        },
        fixed={"half": _HALF},
        words={
            "thousand": "thousand thousands",
            "million": "millions million",
            "joiners": "and",
            "point": "point",
            "articles": "a an",
            "percent": "percent percents pct",
            "common": "the to in is of at on off turn set what please and my a for",
        },
    )


def _german() -> NumberGrammar:
    units = _pairs(
        "null ein|eins|eine|einen|einer|einem|eines zwei|zwo drei vier funf|fuenf|fumf sechs sieben acht neun"
    )
    teens = _pairs(
        "zehn elf zwolf|zwoelf dreizehn vierzehn funfzehn|fuenfzehn sechzehn siebzehn achtzehn neunzehn",
        begin=10,
    )
    tens = _pairs(
        "zwanzig dreissig|dreizig vierzig funfzig|fuenfzig|fuffzig sechzig siebzig achtzig neunzig", 20, 10
    )
    below = {**units, **teens, **tens, **_units_first(units, tens, "und")}
    halves = {f"{unit}einhalb": value + _HALF for unit, value in units.items() if value}
    return _grammar(
        below,
        hundreds={"hundert": 100, "hunderte": 100},
        fractions={
            "halb": _HALF,
            "halbe": _HALF,
            "halben": _HALF,
            "halbes": _HALF,
            "viertel": _QUARTER,
            "drittel": _THIRD,
        },
        fixed={
            **halves,
            "halb": _HALF,
            "halbe": _HALF,
            "halben": _HALF,
            "halbes": _HALF,
            "anderthalb": Fraction(3, 2),
            "anderthalbe": Fraction(3, 2),
            "dreiviertel": Fraction(3, 4),
            "dreiviertels": Fraction(3, 4),
        },
        words={
            "thousand": "tausend",
            "million": "millionen million",
            "joiners": "und",
            "point": "komma punkt",
            "articles": "ein eine einen einer einem eines",
            "percent": "prozent",
            "common": "der die das den dem auf im ist mach stell schalte bitte und wie ein im um für aus an",
        },
    )


def _french() -> NumberGrammar:
    units = _pairs("zero un|une deux trois quatre cinq six sept huit neuf")
    teens = _pairs("dix onze douze treize quatorze quinze seize dixsept dixhuit dixneuf", begin=10)
    tens = _pairs("vingt trente quarante cinquante soixante septante huitante|octante nonante", 20, 10)
    tens |= {"huitante": 80, "octante": 80, "nonante": 90}
    low = {**units, **teens}
    eighties = {"quatrevingt": 80, "quatrevingts": 80}
    below = {**low, **tens, **eighties, **_tens_first(tens, units, "", "et")}
    below |= _tens_first({"soixante": 60}, teens, "", "et") | _tens_first(eighties, low, "", "et")
    return _grammar(
        below,
        hundreds={"cents": 100, "cent": 100},
        fractions={
            "demi": _HALF,
            "demie": _HALF,
            "demis": _HALF,
            "demies": _HALF,
            "quart": _QUARTER,
            "quarts": _QUARTER,
            "tiers": _THIRD,
        },
        fixed={"demi": _HALF, "demie": _HALF},
        words={
            "thousand": "milles mille",
            "million": "millions million",
            "joiners": "et",
            "point": "virgule point",
            "articles": "un une",
            "percent": "pourcent pourcents",
            "atoms": "vingts",
            "common": "le la les du des dans est à a mets regle allume eteins pour sur un une de et",
        },
    )


def _spanish() -> NumberGrammar:
    units = _pairs("cero uno|un|una dos tres cuatro cinco seis siete ocho nueve")
    teens = _pairs(
        "diez once doce trece catorce quince dieciseis|diezyseis diecisiete|diezysiete "
        "dieciocho|diezyocho diecinueve|diezynueve",
        begin=10,
    )
    tens = _pairs("veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa", 20, 10)
    below = {**units, **teens, **tens, **_tens_first(tens, units, "y", "i", "")}
    below |= _tens_first({"veinti": 20}, units, "")
    feminine = (
        "doscientas trescientas cuatrocientas quinientas seiscientas setecientas ochocientas novecientas"
    )
    hundreds = _pairs(feminine, 200, 100)
    hundreds |= {word.removesuffix("as") + "os": value for word, value in hundreds.items()}
    return _grammar(
        below,
        hundreds={**hundreds, "ciento": 100, "cien": 100},
        fractions={"medio": _HALF, "media": _HALF, "cuarto": _QUARTER, "cuartos": _QUARTER},
        fixed={},
        words={
            "thousand": "mil",
            "million": "millones millon",
            "joiners": "y",
            "point": "coma punto",
            "articles": "un una",
            "percent": "porciento",
            "common": "el la los las del al en es pon enciende apaga por para de y que un una",
        },
    )


def _dutch() -> NumberGrammar:
    units = _pairs("nul een|ene twee drie vier vijf zes zeven acht negen")
    teens = _pairs("tien elf twaalf dertien veertien vijftien zestien zeventien achttien negentien", begin=10)
    tens = _pairs("twintig dertig veertig vijftig zestig zeventig tachtig negentig", 20, 10)
    halves = {f"{unit}enhalf": value + _HALF for unit, value in units.items() if value}
    halves |= {f"{unit}enhalve": value + _HALF for unit, value in units.items() if value}
    return _grammar(
        {**units, **teens, **tens, **_units_first(units, tens, "en")},
        hundreds={"honderd": 100},
        fractions={"half": _HALF, "halve": _HALF, "kwart": _QUARTER, "derde": _THIRD},
        fixed={
            **halves,
            "half": _HALF,
            "halve": _HALF,
            "anderhalf": Fraction(3, 2),
            "anderhalve": Fraction(3, 2),
            "driekwart": Fraction(3, 4),
        },
        words={
            "thousand": "duizend",
            "million": "miljoenen miljoen",
            "joiners": "en",
            "point": "komma punt",
            "articles": "een",
            "percent": "procent",
            "common": "de het op in is van zet doe aan uit hoe een naar voor met en",
        },
    )


GRAMMARS = {
    "en": _english(), "de": _german(), "fr": _french(), "es": _spanish(), "nl": _dutch(),
}  # fmt: skip
# Number words that are common words of another language.
ELSEWHERE = {"once": "en", "elf": "en", "dos": "fr"}
MINUS = {"minus", "moins", "menos", "min"}
PERCENT_PAIRS = {("per", "cent"), ("pour", "cent"), ("por", "ciento"), ("pro", "cent"), ("per", "cento")}
FRACTION_SIGNS = {"¼": _QUARTER, "½": _HALF, "¾": Fraction(3, 4), "⅓": _THIRD, "⅔": 2 * _THIRD}
SCALES = {
    word: value
    for grammar in GRAMMARS.values()
    for words, value in ((grammar.thousand, 1000), (grammar.million, 1_000_000))
    for word in words
}


def _value_below_thousand(grammar: NumberGrammar, word: str, *, most_hundreds: int = 9) -> int | None:
    """Of a word that is written together; most_hundreds: "twenty-five hundred" has 25."""
    known = grammar.below_hundred.get(word)
    if known is not None:
        return known
    for name, value in grammar.hundreds.items():
        before, found, behind = word.partition(name)
        if not found:
            continue
        many = _count(grammar, before, value)
        low = _rest(grammar, behind)
        if many is not None and low is not None and many <= most_hundreds and low < 100:
            return many * value + low
    return None


def _count(grammar: NumberGrammar, before: str, value: int) -> int | None:
    """How many hundreds: what stands before the word, which says all by itself in Spanish."""
    if not before or before in grammar.articles or before == "a":
        return 1
    many = grammar.below_hundred.get(before)
    return many if many and value == 100 else None


def _rest(grammar: NumberGrammar, behind: str) -> int | None:
    if not behind:
        return 0
    for joiner in ("", *grammar.joiners):
        if behind.startswith(joiner):
            value = grammar.below_hundred.get(behind[len(joiner) :])
            if value:
                return value
    return None


@functools.lru_cache(maxsize=4096)
def whole_number(language: str, word: str) -> int | None:
    """The whole number of a word that is written together, up to 999,999,999; None where it is none."""
    if len(word) > _WORD_LIMIT:
        return None
    return _scaled(GRAMMARS[language], word, ((6, "million"), (3, "thousand")))


def _scaled(grammar: NumberGrammar, word: str, scales: tuple[tuple[int, str], ...]) -> int | None:
    if not scales:
        return _value_below_thousand(grammar, word, most_hundreds=99)
    (power, kind), smaller = scales[0], scales[1:]
    for name in grammar.million if kind == "million" else grammar.thousand:
        before, found, behind = word.partition(name)
        if not found:
            continue
        many = 1 if not before or before in grammar.articles else _value_below_thousand(grammar, before)
        if not many:
            continue
        for joiner in ("", *grammar.joiners):
            low = _scaled(grammar, behind[len(joiner) :], smaller) if behind.startswith(joiner) else None
            if not behind or (low and low < 10**power):
                return int(many * 10**power + (low or 0))
    return _scaled(grammar, word, smaller)
