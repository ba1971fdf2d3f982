"""Numbers with what they count: percent, degrees, kelvin, and how long: "an hour and a half", "halbe Stunde".

English, German, French, Spanish and Dutch, on top of `spoken_numbers`. A duration is one or more parts, the
larger unit first, with "and" or a comma between them:

    part    number unit ("5 minutes", "anderthalb Stunden", "une heure")
            fraction [of] [a] unit ("half an hour", "trois quarts d'heure", "media hora")
            a unit that is a fraction ("Viertelstunde", "kwartier")
            number unit and a fraction ("an hour and a half", "una hora y media")
            hours and a bare number of minutes ("1h30", "deux heures trente")
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from fedstill_proto.text.spoken_numbers import SpokenNumber, find_numbers, folded

_SECOND, _MINUTE, _HOUR, _DAY, _WEEK = 1, 60, 3600, 86_400, 604_800
_MOST_PARTS = 8


class QuantityKind(StrEnum):
    """What a number counts."""

    NUMBER = "number"
    PERCENT = "percent"
    TEMPERATURE = "temperature"
    KELVIN = "kelvin"
    DURATION = "duration"


@dataclass(frozen=True)
class Quantity:
    """A quantity in a text: characters [begin, end), its exact value, and the unit of that.

    The value of a duration is in seconds. Units: "percent", "celsius", "fahrenheit", "kelvin", "seconds", and
    "" for a number by itself and degrees of no named scale.
    """

    begin: int
    end: int
    kind: QuantityKind
    value: Fraction
    unit: str = ""


def _units(words: str, seconds: int) -> dict[str, int]:
    return dict.fromkeys(words.split(), seconds)


_UNITS = {
    **_units("s sec secs second seconds sek sekunde sekunden seconde secondes segundo segundos seg", _SECOND),
    **_units("seconden secondje", _SECOND),
    **_units("m min mins minute minutes minuten minuto minutos minuut minuutje minuutjes", _MINUTE),
    **_units(
        "h hr hrs hour hours std stunde stunden heure heures hora horas uur uren uurtje uurtjes u", _HOUR
    ),
    **_units("day days tag tage tagen jour jours journee dia dias dag dagen", _DAY),
    **_units("week weeks woche wochen semaine semaines semana semanas weken", _WEEK),
}
_ABBREVIATED = {"s", "m", "u"}  # only right behind digits, or a space behind them
_PART_UNITS = {
    "viertelstunde": Fraction(_HOUR, 4), "dreiviertelstunde": Fraction(3 * _HOUR, 4),
    "halbestunde": Fraction(_HOUR, 2), "halbstunde": Fraction(_HOUR, 2),
    "kwartier": Fraction(_HOUR, 4), "kwartiertje": Fraction(_HOUR, 4), "kwartieren": Fraction(_HOUR, 4),
    "halfuur": Fraction(_HOUR, 2), "halfuurtje": Fraction(_HOUR, 2), "demiheure": Fraction(_HOUR, 2),
}  # fmt: skip
_FRACTIONS = {
    **dict.fromkeys(
        ("half", "halb", "halbe", "halben", "halbes", "halve", "demi", "demie", "medio", "media"),
        Fraction(1, 2),
    ),
    **dict.fromkeys(("quarter", "viertel", "quart", "cuarto", "kwart"), Fraction(1, 4)),
}
_JOINERS = {"and", "und", "et", "y", "e", "en"}
_BETWEEN = {"a", "an", "of", "d", "de", "een", "una", "un"}  # a fraction and its unit
_ARTICLES = {"a", "an", "ein", "eine", "einer", "einen", "un", "une", "una", "een"}
_DEGREES = {"degree", "degrees", "grad", "degre", "degres", "grado", "grados", "graad", "graden", "deg"}
_SCALES = {
    **dict.fromkeys(("celsius", "c", "centigrade", "centigrados"), "celsius"),
    **dict.fromkeys(("fahrenheit", "f"), "fahrenheit"),
}
_KELVIN = {"kelvin", "k", "kelvins"}
_WORD = re.compile(r"[^\W\d_][^\W\d_\u0300-\u036f]*(?:[\u0300-\u036f]+[^\W\d_]*)*|°")


@dataclass(frozen=True)
class _Piece:
    """A number or a word of the text."""

    begin: int
    end: int
    word: str  # folded; "" for a number
    number: SpokenNumber | None = None


def find_quantities(text: str) -> list[Quantity]:
    """The quantities of a text, in order; none overlaps another. Raises InvalidValue for a long text."""
    numbers = find_numbers(text, articles=True)
    pieces = _pieces(text, numbers)
    found, at = [], 0
    while at < len(pieces):
        read = _duration(text, pieces, at) or _measured(text, pieces, at)
        if read is None:
            at += 1
        else:
            found.append(read[0])
            at = read[1]
    return found


def _pieces(text: str, numbers: list[SpokenNumber]) -> list[_Piece]:
    """Numbers and the words between them."""
    pieces, done = [], 0
    for number in [*numbers, None]:
        until = len(text) if number is None else number.begin
        pieces += [
            _Piece(each.start(), each.end(), folded(each.group()))
            for each in _WORD.finditer(text, done, until)
        ]
        if number is not None:
            pieces.append(_Piece(number.begin, number.end, "", number))
            done = number.end
    return pieces


def _near(text: str, pieces: list[_Piece], at: int, *, signs: str = " \u00a0\u202f-'’") -> bool:
    """Whether piece `at` follows the one before it, with nothing but a few signs between them."""
    if not 0 < at < len(pieces):
        return False
    gap = text[pieces[at - 1].end : pieces[at].begin]
    return len(gap) <= 3 and all(sign in signs for sign in gap)


def _is_article(text: str, piece: _Piece) -> bool:
    return folded(text[piece.begin : piece.end]) in _ARTICLES


def _measured(text: str, pieces: list[_Piece], at: int) -> tuple[Quantity, int] | None:
    """A percentage, degrees, kelvin, or a number by itself."""
    number = pieces[at].number
    if number is None:
        return None
    begin, value = number.begin, number.value
    if number.percent:
        return Quantity(begin, number.end, QuantityKind.PERCENT, value, "percent"), at + 1
    unit = pieces[at + 1].word if _near(text, pieces, at + 1) else ""
    if unit in _DEGREES or unit == "°":
        scale = _SCALES.get(pieces[at + 2].word, "") if _near(text, pieces, at + 2) else ""
        behind = at + 3 if scale else at + 2
        return Quantity(begin, pieces[behind - 1].end, QuantityKind.TEMPERATURE, value, scale), behind
    if unit in _SCALES and text[number.end - 1].isdecimal():
        return Quantity(begin, pieces[at + 1].end, QuantityKind.TEMPERATURE, value, _SCALES[unit]), at + 2
    if unit in _KELVIN:
        return Quantity(begin, pieces[at + 1].end, QuantityKind.KELVIN, value, "kelvin"), at + 2
    if _is_article(text, pieces[at]):
        return None
    return Quantity(begin, number.end, QuantityKind.NUMBER, value), at + 1


def _duration(text: str, pieces: list[_Piece], at: int) -> tuple[Quantity, int] | None:
    part = _part(text, pieces, at)
    if part is None:
        return None
    total, unit, behind = part
    for _ in range(_MOST_PARTS):
        joined = behind
        if (
            behind < len(pieces)
            and pieces[behind].word in _JOINERS
            and _near(text, pieces, behind, signs=" ,")
        ):
            joined = behind + 1
        near = _near(text, pieces, joined, signs=" ,-\u00a0")
        more = _part(text, pieces, joined) if near else None
        if more is not None and more[1] < unit:
            total, unit, behind = total + more[0], more[1], more[2]
            continue
        fraction = _fraction(text, pieces, joined) if near and joined > behind else None
        if fraction is not None:
            total, behind = total + fraction[0] * unit, fraction[1]
        elif near and joined == behind and unit == _HOUR and _is_minutes(text, pieces, joined):
            total, behind = total + pieces[joined].number.value * _MINUTE, joined + 1  # type: ignore[union-attr]
        break
    quantity = Quantity(pieces[at].begin, pieces[behind - 1].end, QuantityKind.DURATION, total, "seconds")
    return quantity, behind


def _is_minutes(text: str, pieces: list[_Piece], at: int) -> bool:
    """Whether a bare number behind hours is one of minutes ("1h30")."""
    number = pieces[at].number
    if number is None or number.percent or _is_article(text, pieces[at]):
        return False
    return number.value.denominator == 1 and 0 < number.value < 60


def _part(text: str, pieces: list[_Piece], at: int) -> tuple[Fraction, Fraction, int] | None:
    """One part of a duration from piece `at` on: its seconds, those of its unit, and the place behind it."""
    if at >= len(pieces):
        return None
    first = pieces[at]
    value: Fraction | None = None
    if first.number is not None or _is_article(text, first):
        value, place = Fraction(1) if first.number is None else first.number.value, at + 1
        if value < 0 or (first.number is not None and first.number.percent):
            return None
        if _is_article(text, first) and place < len(pieces) and pieces[place].word in _FRACTIONS:
            value, place = _FRACTIONS[pieces[place].word], place + 1
    elif first.word in _FRACTIONS:
        value, place = _FRACTIONS[first.word], at + 1
    else:
        place = at
    if place == len(pieces) or (value is not None and not _near(text, pieces, place)):
        return None
    whole = _PART_UNITS.get(pieces[place].word)
    if whole is not None:
        return (value if value is not None else Fraction(1)) * whole, Fraction(_MINUTE), place + 1
    if value is None:
        return None
    if value < 1:
        place = _over_articles(text, pieces, place)
    elif value.denominator == 1 and pieces[place].word in ("demi", "demie"):
        return None
    return _with_unit(text, pieces, place, value)


def _over_articles(text: str, pieces: list[_Piece], place: int) -> int:
    """The place behind "of an", "d'", "de" between a fraction and its unit."""
    for _ in range(2):
        if place >= len(pieces) - 1:
            break
        joins = pieces[place].word in _BETWEEN or _is_article(text, pieces[place])
        if not (joins and _near(text, pieces, place) and _near(text, pieces, place + 1)):
            break
        place += 1
    return place


def _with_unit(
    text: str, pieces: list[_Piece], place: int, value: Fraction
) -> tuple[Fraction, Fraction, int] | None:
    unit = _UNITS.get(pieces[place].word)
    if unit is None or not _near(text, pieces, place):
        return None
    if pieces[place].word in _ABBREVIATED and not text[pieces[place - 1].end - 1].isdecimal():
        return None
    return value * unit, Fraction(unit), place + 1


def _fraction(text: str, pieces: list[_Piece], at: int) -> tuple[Fraction, int] | None:
    """ "a half", "demie", "media" behind "and"; a number below 1, or a word of a fraction."""
    if at >= len(pieces):
        return None
    number = pieces[at].number
    if number is not None and 0 < number.value < 1 and not number.percent:
        return number.value, at + 1
    place = at + 1 if _is_article(text, pieces[at]) else at
    if place < len(pieces) and pieces[place].word in _FRACTIONS:
        return _FRACTIONS[pieces[place].word], place + 1
    return None
