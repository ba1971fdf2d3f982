"""Numbers as people say and write them: "fifty", "fünfundzwanzig", "quatre-vingt-dix", "50%", "3,5", "½".

English, German, French, Spanish and Dutch. A text is cut into words and runs of digits; up to sixteen
neighbouring words that may belong to a number are written together, without accents, and read by the grammar
that the five languages share:

    millions [joiner] thousands [joiner] hundreds [joiner] 0 to 99

where 0 to 99 is a table of each language, and "and", "und", "et", "y", "en" join. Digits may have groups of
three, one decimal sign, and a scale behind them ("2,5 Millionen"); words a decimal sign ("drei Komma fünf"),
halves and quarters ("one and a half", "anderthalb", "deux et demi", "driekwart"). Time is linear in the text.

An article ("a", "ein", "un", "een") is a number only where a percent sign, a scale, or a fraction follows.
Nobody says which language a text has: where a number word of one language is a common word of another
("once", "elf"), the other words of the text decide.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.number_words.grammars import (
    ELSEWHERE,
    FRACTION_SIGNS,
    GRAMMARS,
    MINUS,
    PERCENT_PAIRS,
    SCALES,
    NumberGrammar,
    whole_number,
)

LANGUAGES = ("en", "de", "fr", "es", "nl")
TEXT_LIMIT = 1_000  # characters of an utterance
PERCENT = "percent"
"""How `with_numbers_normalized` writes a percent sign, in every language."""

_MOST_WORDS = 16  # of a number
_ACCENTED_ONE = {"één", "éen", "eén"}  # Dutch for one, as against "een"
_DIGITS_LIMIT = 15  # of a number in digits; a longer one is a name
_LETTER = r"(?:[^\W\d_][\u0300-\u036f]*)"
_TOKEN = re.compile(rf"\d+|{_LETTER}+|[¼½¾⅓⅔%％]|(?<!\S)[−-](?=\d)")
_GAP = re.compile(r"[ \u00a0\u00ad\u2009\u202f-]{0,3}")
_GROUPED = re.compile(r"[1-9]\d{0,2}(?:([.,'’\u00a0\u202f])\d{3})(?:\1\d{3}){0,3}(?![.,]?\d)")
_RATIO = re.compile(r"(?:(\d{1,3}) )?(\d{1,2})/([1-9]\d?)(?![/\d])")
_DECIMAL = re.compile(r"\d+[.,]\d+(?![.,]?\d)")


@dataclass(frozen=True)
class SpokenNumber:
    """A number in a text: characters [begin, end), a percent sign or word among them, and its exact value."""

    begin: int
    end: int
    value: Fraction
    percent: bool = False


def find_numbers(
    text: str, *, languages: Sequence[str] = LANGUAGES, articles: bool = False
) -> list[SpokenNumber]:
    """The numbers of a text, in the order in which they stand; none overlaps another.

    Args:
        text: TEXT_LIMIT characters at most.
        languages: Those that its words may be of.
        articles: Whether "a", "ein", "un" and the like are 1 wherever they stand.

    Raises:
        InvalidValue: A text that is too long, or an unknown language.
    """
    if len(text) > TEXT_LIMIT:
        raise InvalidValue("text", f"{len(text)} characters; an utterance has {TEXT_LIMIT} at most")
    for language in languages:
        if language not in GRAMMARS:
            raise InvalidValue("languages", f"{language!r:.20} is none of {', '.join(LANGUAGES)}")
    tokens = [_Token(each.start(), each.end(), folded(each.group())) for each in _TOKEN.finditer(text)]
    heard = _heard(tokens, languages)
    reader = _Reader(text, tokens, heard, articles)
    found: list[SpokenNumber] = []
    at = 0
    while at < len(tokens):
        read = reader.number(at)
        if read is None:
            at += 1
            continue
        number, at = read
        found.append(number)
    return found


def with_numbers_normalized(text: str, *, languages: Sequence[str] = LANGUAGES) -> str:
    """The text with its numbers in digits: "fifty percent" and "50%" are both "50 percent"."""
    parts, done = [], 0
    for number in find_numbers(text, languages=languages):
        parts += [text[done : number.begin], in_digits(number.value), f" {PERCENT}" if number.percent else ""]
        done = number.end
        if text[done : done + 1].isalnum():
            parts.append(" ")
    return "".join([*parts, text[done:]])


def in_digits(value: Fraction) -> str:
    """A number in digits, with four decimals at most: 50, 3.5."""
    return str(as_json_number(value))


def as_json_number(value: Fraction) -> int | float:
    """A whole number, or one with four decimals at most."""
    return int(value) if value.denominator == 1 else round(float(value), 4)


def folded(word: str) -> str:
    """A word without capitals and accents: "Fünf" is "funf", "dreißig" is "dreissig"."""
    parted = unicodedata.normalize("NFKD", word.casefold())
    return "".join(sign for sign in parted if not unicodedata.combining(sign))


@dataclass(frozen=True)
class _Token:
    begin: int
    end: int
    word: str  # folded


def _heard(tokens: Sequence[_Token], languages: Sequence[str]) -> dict[str, int]:
    """The languages, likeliest first, with how many common words of each the text has."""
    words = {token.word for token in tokens}
    counts = {each: len(words & GRAMMARS[each].common) for each in languages}
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


@dataclass(frozen=True)
class _Reader:
    text: str
    tokens: list[_Token]
    languages: dict[str, int]
    articles: bool

    def number(self, at: int) -> tuple[SpokenNumber, int] | None:
        """The number that begins at a token, with its sign, and the place of the token behind it."""
        if not self._is_minus(at):
            return self._positive(at)
        read = self._positive(at + 1)
        if read is None:
            return None
        number, behind = read
        return replace(number, begin=self.tokens[at].begin, value=-number.value), behind

    def _is_minus(self, at: int) -> bool:
        """Whether a token is a minus before a number, rather than a hyphen between words."""
        minus = self.tokens[at].word in MINUS or self.text[self.tokens[at].begin] in "−-"
        return minus and at + 1 < len(self.tokens) and self._follows(at + 1)

    def _positive(self, at: int) -> tuple[SpokenNumber, int] | None:
        token = self.tokens[at]
        if self.text[token.begin].isdecimal():
            return self._of_digits(at)
        sign = FRACTION_SIGNS.get(self.text[token.begin])
        if sign is not None:
            return self._finished(at, at + 1, sign)
        best: tuple[SpokenNumber, int] | None = None
        for language in self.languages:
            read = self._of_words(at, language)
            if read is not None and (best is None or read[1] > best[1]):
                best = read
        return best

    def _of_digits(self, at: int) -> tuple[SpokenNumber, int] | None:
        begin = self.tokens[at].begin
        if self._is_inside_a_word(begin):
            return None
        ratio = _RATIO.match(self.text, begin)
        if ratio and self.text[begin - 1 : begin] != "/":
            whole, over, under = ratio.groups("0")
            return self._finished(
                at, self._behind(at, ratio.end()), int(whole) + Fraction(int(over), int(under))
            )
        for pattern in (_GROUPED, _DECIMAL):
            matched = pattern.match(self.text, begin)
            if matched:
                break
        end = matched.end() if matched else self.tokens[at].end
        digits = self.text[begin:end]
        if self._is_of_a_chain(begin, end):
            return None
        if len(digits) > _DIGITS_LIMIT:
            return None
        grouped = bool(matched) and pattern is _GROUPED
        plain = re.sub(r"\D", "", digits) if grouped else digits.replace(",", ".")
        value, behind = Fraction(plain), self._behind(at, end)
        if behind < len(self.tokens) and self._follows(behind):
            value, behind = self._with_tail(value, behind, whole=matched is None)
        return self._finished(at, behind, value)

    def _behind(self, at: int, end: int) -> int:
        """The place of the first token that begins at a character or behind it."""
        while at < len(self.tokens) and self.tokens[at].begin < end:
            at += 1
        return at

    def _with_tail(self, value: Fraction, behind: int, *, whole: bool) -> tuple[Fraction, int]:
        """What stands behind digits: a sign for a fraction, a scale, "and a half"."""
        sign = FRACTION_SIGNS.get(self.text[self.tokens[behind].begin])
        if sign is not None and whole:
            return value + sign, behind + 1
        scale = SCALES.get(self.tokens[behind].word)
        if scale is not None:
            return value * scale, behind + 1
        for language in self.languages:
            more = self._fraction_behind(behind, GRAMMARS[language])
            if more is not None:
                return value + more[0], more[1]
        return value, behind

    def _of_words(self, at: int, language: str) -> tuple[SpokenNumber, int] | None:
        grammar = GRAMMARS[language]
        first = self.tokens[at].word
        if self.languages.get(ELSEWHERE.get(first, language), 0) > self.languages[language]:
            return None
        fixed = grammar.fixed.get(first)
        if fixed is not None:
            return self._finished(at, at + 1, fixed)
        value, end = self._longest(at, language)
        if value is None:
            return self._joined_percent(at, language) or self._fraction_alone(at, grammar)
        accented = self.text[self.tokens[at].begin : self.tokens[at].end].lower() in _ACCENTED_ONE
        alone = end == at + 1 and first in grammar.articles and not accented
        point = self._decimals(end, language)
        if point is not None:
            return self._finished(at, point[1], value + point[0])
        parts = self._parts(end, grammar)
        if parts is not None:
            return self._finished(at, parts[1], value * parts[0])
        more = self._fraction_behind(end, grammar)
        if more is not None:
            return self._finished(at, more[1], value + more[0])
        finished = self._finished(at, end, Fraction(value))
        return None if alone and not self.articles and not finished[0].percent else finished

    def _joined_percent(self, at: int, language: str) -> tuple[SpokenNumber, int] | None:
        """ "veertigprocent", written together"""
        token = self.tokens[at]
        for percent in GRAMMARS[language].percent:
            value = whole_number(language, token.word.removesuffix(percent))
            if value is not None and token.word.endswith(percent):
                return SpokenNumber(token.begin, token.end, Fraction(value), True), at + 1
        return None

    def _longest(self, at: int, language: str) -> tuple[int | None, int]:
        """The value of the most words from `at` on that are a whole number, and the place behind them."""
        grammar = GRAMMARS[language]
        word, best, end = "", None, at
        for place in range(at, min(len(self.tokens), at + _MOST_WORDS)):
            token = self.tokens[place]
            if place > at and not self._follows(place):
                break
            if token.word not in grammar.atoms and whole_number(language, token.word) is None:
                break
            word += token.word
            value = whole_number(language, word)
            if value is not None and not self._begins_percent(place):
                best, end = value, place + 1
        return best, end

    def _begins_percent(self, place: int) -> bool:
        """Whether a word is the end of "pour cent": it is no hundred then."""
        return place > 0 and (self.tokens[place - 1].word, self.tokens[place].word) in PERCENT_PAIRS

    def _decimals(self, at: int, language: str) -> tuple[Fraction, int] | None:
        """ "point five", "Komma zwei fünf", "virgule vingt-cinq" """
        if at + 1 >= len(self.tokens) or self.tokens[at].word not in GRAMMARS[language].point:
            return None
        if not (self._follows(at) and self._follows(at + 1)):
            return None
        digits, place, below = "", at + 1, GRAMMARS[language].below_hundred
        while place < len(self.tokens) and len(digits) < 6 and self._follows(place):
            digit = below.get(self.tokens[place].word)
            if digit is None or digit > 9:
                break
            digits, place = digits + str(digit), place + 1
        if not digits:
            value, place = self._longest(at + 1, language)
            if value is None or value > 99:
                return None
            digits = str(value)
        return Fraction(int(digits), 10 ** len(digits)), place

    def _parts(self, at: int, grammar: NumberGrammar) -> tuple[Fraction, int] | None:
        """ "three quarters", "ein halb": a number of parts, where they are no halves of hours."""
        if at >= len(self.tokens) or not self._follows(at):
            return None
        part = grammar.fractions.get(self.tokens[at].word)
        return None if part is None else (part, at + 1)

    def _fraction_behind(self, at: int, grammar: NumberGrammar) -> tuple[Fraction, int] | None:
        """ "and a half", "et demi", "y medio", "en een half", "und ein halb" """
        if at >= len(self.tokens) or self.tokens[at].word not in grammar.joiners or not self._follows(at):
            return None
        place = at + 1
        times = Fraction(1)
        if place < len(self.tokens) and self.tokens[place].word in grammar.below_hundred | dict.fromkeys(
            grammar.articles, 1
        ):
            times = Fraction(grammar.below_hundred.get(self.tokens[place].word, 1))
            place += 1
        if place >= len(self.tokens) or not all(self._follows(each) for each in range(at + 1, place + 1)):
            return None
        part = grammar.fractions.get(self.tokens[place].word)
        return None if part is None else (times * part, place + 1)

    def _fraction_alone(self, at: int, grammar: NumberGrammar) -> tuple[SpokenNumber, int] | None:
        """ "a half", "a quarter" """
        if self.tokens[at].word not in grammar.articles or at + 1 >= len(self.tokens):
            return None
        part = grammar.fractions.get(self.tokens[at + 1].word) if self._follows(at + 1) else None
        return None if part is None else self._finished(at, at + 2, part)

    def _finished(self, at: int, end: int, value: Fraction | int) -> tuple[SpokenNumber, int]:
        """The number of tokens [at, end), and of the percent sign or word behind them."""
        percent = self._percent_words(end)
        last = end + percent
        return (
            SpokenNumber(self.tokens[at].begin, self._end_of(at, last), Fraction(value), percent > 0),
            last,
        )

    def _end_of(self, at: int, last: int) -> int:
        return self.tokens[max(at, last - 1)].end

    def _percent_words(self, at: int) -> int:
        """How many tokens from `at` on say percent."""
        if at >= len(self.tokens) or not self._follows(at):
            return 0
        word = self.tokens[at].word
        if word == "%" or any(word in GRAMMARS[each].percent for each in self.languages):
            return 1
        pair = at + 1 < len(self.tokens) and self._follows(at + 1)
        return 2 if pair and (word, self.tokens[at + 1].word) in PERCENT_PAIRS else 0

    def _follows(self, place: int) -> bool:
        """Whether nothing but a space or a hyphen is between a token and the one before it."""
        gap = self.text[self.tokens[place - 1].end : self.tokens[place].begin]
        return _GAP.fullmatch(gap) is not None

    def _is_of_a_chain(self, begin: int, end: int) -> bool:
        """Whether digits are a part of an address or a version ("1.2.3")."""
        before, behind = self.text[max(0, begin - 2) : begin], self.text[end : end + 2]
        goes_on = behind[:1] in (".", ",") and behind[1:].isdecimal()
        return goes_on or (before[:1].isdecimal() and before[1:] in (".", ","))

    def _is_inside_a_word(self, begin: int) -> bool:
        """Whether digits are a part of a name ("h264"), and not minutes behind an hour ("1h30")."""
        before = self.text[max(0, begin - 2) : begin]
        if len(before) == 2 and before[0].isdecimal() and before[1] in "hH":
            return False
        return before[-1:].isalpha() or before[-1:] == "_"
