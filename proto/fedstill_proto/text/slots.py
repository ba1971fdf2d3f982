"""Slots of an assistant's utterances: which parts of a text are a room, a thing, a number, a colour.

A package's slots.json says which slots its tagger (slots.onnx) finds:

    {"tokenizer": "slot-words", "buckets": 2048, "slots": [{"name": "area", "kind": "area"}, ...],
     "known_words": "..."}

known_words: 65,536 bits in base64, one for each hash of a word of public text; others are nobody's or a name.

The kind says what a value is; it follows from the name, and is "text" for names of an operator's own. Labels
of words are those of Ramshaw and Marcus (1995, arXiv:cmp-lg/9505040): 0 is none, 1 + 2 n begins slot n, and
2 + 2 n goes on with it. In tables of utterances, slots are marked as in Rasa's:

    turn on the [light](name) in the [living room](area)
"""

from __future__ import annotations

import base64
import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.text.colors import color_named
from fedstill_proto.text.quantities import Quantity, QuantityKind, find_quantities
from fedstill_proto.text.spoken_numbers import as_json_number, folded

TOKENIZER = "slot-words"
FILE_LIMIT_BYTES = 1 << 16
SLOT_LIMIT = 64
NAME_LIMIT = 40  # characters of a slot's name
NAMES_LIMIT_BYTES = 1 << 18  # of names.json
KNOWN_WORDS_BYTES = 1 << 13
HOME_NAMES_LIMIT = 1_000  # rooms, and things, of one home
HOME_NAME_LIMIT = 60  # characters
_ALIKE = 0.8  # of a name as it was said and one of the home's
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_MARKED = re.compile(r"\[([^\[\]]*)\]\(([^()\[\]]*)\)")


class SlotKind(StrEnum):
    """What the value of a slot is."""

    TEXT = "text"  # the text as it was said
    AREA = "area"  # a room: the home's name of it, where the device knows it
    NAME = "name"  # a thing, likewise
    NUMBER = "number"  # a number; the unit says whether it is a percentage, or kelvin
    TEMPERATURE = "temperature"  # degrees, in the unit that was said
    DURATION = "duration"  # seconds
    COLOR = "color"  # {"name": ..., "hex": "#rrggbb"}

    @classmethod
    def of_name(cls, name: str) -> SlotKind:
        """That of a slot by its name."""
        return _KINDS.get(name, cls.TEXT)


_KINDS = {
    **{each.value: each for each in SlotKind},
    **dict.fromkeys(
        ("brightness", "percentage", "position", "volume", "volume_level", "fan_speed"), SlotKind.NUMBER
    ),
    **dict.fromkeys(("floor", "room"), SlotKind.AREA),
    **dict.fromkeys(("thing", "device"), SlotKind.NAME),
    "colour": SlotKind.COLOR,
}
_QUANTITIES: Mapping[SlotKind, frozenset[QuantityKind]] = {
    SlotKind.NUMBER: frozenset({QuantityKind.NUMBER, QuantityKind.PERCENT, QuantityKind.KELVIN}),
    SlotKind.TEMPERATURE: frozenset({QuantityKind.TEMPERATURE, QuantityKind.NUMBER, QuantityKind.KELVIN}),
    SlotKind.DURATION: frozenset({QuantityKind.DURATION}),
}


@dataclass(frozen=True)
class SlotSpan:
    """Characters [begin, end) of a text that are a slot."""

    name: str
    begin: int
    end: int


@dataclass(frozen=True)
class SlotValue:
    """A slot of an utterance: what was said, characters [begin, end) of it, and what that means.

    value: a number, a text, or the name and hex code of a colour; None where what was said has none.
    unit: "percent", "celsius", "fahrenheit", "kelvin", "seconds" or "".
    """

    name: str
    text: str
    begin: int
    end: int
    value: int | float | str | Mapping[str, str] | None
    unit: str = ""


@dataclass(frozen=True)
class HomeNames:
    """What the rooms and things of a home are called; a device's own, which never leaves it.

    {"areas": ["Living room", "Sauna"], "things": ["Rosie", "Opa's lamp"]}
    """

    areas: tuple[str, ...] = ()
    things: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for where, names in (("areas", self.areas), ("things", self.things)):
            if len(names) > HOME_NAMES_LIMIT:
                raise InvalidValue(where, f"{len(names)} names; give {HOME_NAMES_LIMIT} at most")
            for place, name in enumerate(names):
                if (
                    not 1 <= len(name) <= HOME_NAME_LIMIT
                    or not name.isprintable()
                    or not folded(name).strip()
                ):
                    problem = f"{name!r:.80} is no name of 1 to {HOME_NAME_LIMIT} characters"
                    raise InvalidValue(f"{where}[{place}]", problem)

    def to_json(self) -> bytes:
        content = {"areas": list(self.areas), "things": list(self.things)}
        return json.dumps(content, ensure_ascii=False, indent=1).encode()

    @classmethod
    def of_lists(cls, areas: Sequence[str], things: Sequence[str]) -> HomeNames:
        """The names as people write them: trimmed, and in Unicode's form C; raises InvalidValue."""
        lists = [
            tuple(unicodedata.normalize("NFC", name).strip() for name in names) for names in (areas, things)
        ]
        return cls(*lists)

    @classmethod
    def from_json(cls, content: bytes) -> HomeNames:
        """Raises WireError, which names the field and the value."""
        read = _json_object(content, "names.json", {"areas", "things"}, needed=set())
        lists = {}
        for where in ("areas", "things"):
            names = read.get(where, [])
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise WireError(f"names.json: {where}", "is no list of names")
            lists[where] = names
        try:
            return cls.of_lists(**lists)
        except InvalidValue as error:
            raise WireError(f"names.json: {error.field}", error.problem) from None

    def of_kind(self, kind: SlotKind) -> tuple[str, ...]:
        """The names that a slot of a kind may be."""
        return {SlotKind.AREA: self.areas, SlotKind.NAME: self.things}.get(kind, ())


@dataclass(frozen=True)
class SlotSchema:
    """The slots that a tagger finds, in the order of its labels."""

    names: tuple[str, ...]
    buckets: int = 4096
    known_words: bytes = b""  # KNOWN_WORDS_BYTES, or none
    kinds: tuple[SlotKind, ...] = field(init=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.names) <= SLOT_LIMIT:
            raise InvalidValue("slots", f"{len(self.names)} slots; give 1 to {SLOT_LIMIT}")
        if len(set(self.names)) != len(self.names):
            raise InvalidValue("slots", "a name is there twice")
        for place, name in enumerate(self.names):
            check_slot_name(name, f"slots[{place}]")
        if type(self.buckets) is not int or not 2 <= self.buckets <= 1 << 16:
            raise InvalidValue("buckets", f"{self.buckets!r:.40} is not a whole number from 2 to {1 << 16}")
        if len(self.known_words) not in (0, KNOWN_WORDS_BYTES):
            raise InvalidValue("known_words", f"{len(self.known_words)} bytes; give {KNOWN_WORDS_BYTES}")
        object.__setattr__(self, "kinds", tuple(SlotKind.of_name(name) for name in self.names))

    @property
    def labels(self) -> int:
        """How many labels a word may have."""
        return 1 + 2 * len(self.names)

    def number(self, name: str) -> int:
        """The place of a slot; raises InvalidValue for one that there is not."""
        if name not in self.names:
            raise InvalidValue("slot", f"{name!r:.60} is none of {', '.join(self.names)}")
        return self.names.index(name)

    def to_json(self) -> bytes:
        """slots.json"""
        slots = [
            {"name": name, "kind": kind.value} for name, kind in zip(self.names, self.kinds, strict=True)
        ]
        known = base64.b64encode(self.known_words).decode()
        content = {"tokenizer": TOKENIZER, "buckets": self.buckets, "slots": slots, "known_words": known}
        return json.dumps(content, indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes) -> SlotSchema:
        """Read a slots.json; raises WireError."""
        where = "slots.json"
        fields = {"tokenizer", "buckets", "slots", "known_words"}
        read = _json_object(content, where, fields, needed=fields)
        if read["tokenizer"] != TOKENIZER:
            raise WireError(f"{where}: tokenizer", f"{read['tokenizer']!r:.40} is not {TOKENIZER!r}")
        slots = read["slots"]
        if not isinstance(slots, list) or not all(isinstance(each, dict) for each in slots):
            raise WireError(f"{where}: slots", "is no list of objects")
        for place, each in enumerate(slots):
            if each.keys() != {"name", "kind"} or not all(isinstance(value, str) for value in each.values()):
                raise WireError(f"{where}: slots[{place}]", f"{each!r:.80} is no object of name and kind")
        try:
            known = base64.b64decode(read["known_words"], validate=True)
        except (ValueError, TypeError):
            raise WireError(f"{where}: known_words", "is no text in base64") from None
        try:
            schema = cls(tuple(each["name"] for each in slots), read["buckets"], known)
        except InvalidValue as error:
            raise WireError(f"{where}: {error.field}", error.problem) from None
        for place, (each, kind) in enumerate(zip(slots, schema.kinds, strict=True)):
            if each["kind"] != kind:
                problem = f"{each['kind']!r:.40} of {each['name']!r}; it is {kind.value!r}"
                raise WireError(f"{where}: slots[{place}]: kind", problem)
        return schema


def check_slot_name(name: str, where: str) -> None:
    """Raise InvalidValue unless a slot may be called this."""
    if not (isinstance(name, str) and len(name) <= NAME_LIMIT and _NAME.fullmatch(name)):
        problem = f"{name!r:.60} is no name of a slot: lower case, digits and _, {NAME_LIMIT} at most"
        raise InvalidValue(where, problem)


def _json_object(content: bytes, where: str, fields: set[str], *, needed: set[str]) -> dict[str, Any]:
    most = NAMES_LIMIT_BYTES if where == "names.json" else FILE_LIMIT_BYTES
    if len(content) > most:
        raise WireError(where, f"{len(content)} bytes, more than {most}")
    try:
        read = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise WireError(where, f"is no JSON: {str(error)[:100]}") from None
    if not isinstance(read, dict) or not needed <= read.keys() <= fields:
        raise WireError(where, f"is no object of {', '.join(sorted(fields))}")
    return read


# Marked texts


def unmarked(text: str) -> tuple[str, tuple[SlotSpan, ...]]:
    """A text without its marks, and the slots that they were; raises InvalidValue for a wrong mark."""
    parts, spans, done, length = [], [], 0, 0
    for mark in _MARKED.finditer(text):
        said, name = mark.group(1), mark.group(2)
        check_slot_name(name, "slots")
        if not said or said != said.strip():
            raise InvalidValue("slots", f"[{said}]({name}) marks nothing, or spaces beside what it marks")
        parts += [text[done : mark.start()], said]
        length += mark.start() - done
        spans.append(SlotSpan(name, length, length + len(said)))
        length += len(said)
        done = mark.end()
    whole = "".join([*parts, text[done:]])
    if "](" in whole:
        raise InvalidValue("slots", f"{text!r:.60} has a mark that is no [text](slot)")
    return whole, tuple(spans)


def marked(text: str, spans: Iterable[SlotSpan]) -> str:
    """The text with its slots marked."""
    parts, done = [], 0
    for span in sorted(spans, key=lambda each: each.begin):
        parts += [text[done : span.begin], f"[{text[span.begin : span.end]}]({span.name})"]
        done = span.end
    return "".join([*parts, text[done:]])


# Values


def slot_value(
    text: str,
    span: SlotSpan,
    *,
    home: HomeNames | None = None,
    quantities: Sequence[Quantity] | None = None,
) -> SlotValue:
    """What a slot means.

    Args:
        text: The utterance.
        span: Where the slot is.
        home: What rooms and things are called here.
        quantities: Those of the text, where they are known already.
    """
    said = text[span.begin : span.end]
    kind = SlotKind.of_name(span.name)
    if kind in _QUANTITIES:
        found = find_quantities(text) if quantities is None else quantities
        inside = [each for each in found if each.begin < span.end and span.begin < each.end]
        fitting = [each for each in inside if each.kind in _QUANTITIES[kind]] or inside
        if not fitting:
            return SlotValue(span.name, said, span.begin, span.end, None)
        first = fitting[0]
        return SlotValue(span.name, said, span.begin, span.end, as_json_number(first.value), first.unit)
    if kind is SlotKind.COLOR:
        color = color_named(said)
        value = None if color is None else {"name": color.name, "hex": color.hex}
        return SlotValue(span.name, said, span.begin, span.end, value)
    names = () if home is None else home.of_kind(kind)
    return SlotValue(span.name, said, span.begin, span.end, closest_name(said, names) or said)


def closest_name(said: str, names: Sequence[str]) -> str | None:
    """The one of a home's names that was said, though written otherwise; None where none is alike."""
    wanted, best, found = folded(said), _ALIKE, None
    matcher = difflib.SequenceMatcher(None, autojunk=False)
    matcher.set_seq2(wanted)  # of which the matcher keeps what it knows
    for name in names:
        written = folded(name)
        if written == wanted:
            return name
        matcher.set_seq1(written)
        # Bounds first: they are cheap, and nearly all names are unlike.
        if min(matcher.real_quick_ratio(), matcher.quick_ratio()) < best:
            continue
        alike = matcher.ratio()
        if alike > best or (found is None and alike == best):
            best, found = alike, name
    return found
