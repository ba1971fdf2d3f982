"""The list of what a student must never answer, suggest or write, and its JSON.

    constraints.json   {"format": "fedstill-constraints-1", "binding": true,
                        "words": ["damn", "kill yourself"],       words and phrases, whole
                        "sequences": ["casino"],                  letters in a row, within words, too
                        "classes": ["weapon", 7],                 by name or number
                        "topics": [{"name": "gambling", "words": [...], "classes": [...]}],
                        "allowed": ["schon"],                     words that stay, though read as others
                        "lifted": ["words: darn", "topics: gambling"]}

A union suppresses what any of its lists does: `allowed` words stay only where every list lets them. A list
that is binding holds for all packages after the one that carries it, until the publisher lifts an entry by
name; `dropped` says what a later list leaves out without that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.text.tokens import NOTHING_SAID
from fedstill_proto.text.vocabulary import is_word, normal, split

FORMAT = "fedstill-constraints-1"
CONSTRAINTS_NAME = "constraints.json"
FILE_LIMIT_BYTES = 2 << 20
WORDS_LIMIT, SEQUENCES_LIMIT, CLASSES_LIMIT, TOPICS_LIMIT = 20_000, 1000, 10_000, 200
ENTRY_LETTERS, PHRASE_WORDS, LEAST_SEQUENCE = 100, 6, 2
_ENTRY_LISTS = ("words", "sequences", "classes")
_KEYS = ("format", "binding", *_ENTRY_LISTS, "topics", "allowed", "lifted")

ClassLabel = str | int


@dataclass(frozen=True, kw_only=True)
class SuppressedTopic:
    """A named list of words and classes that belong together."""

    name: str
    words: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()
    classes: tuple[ClassLabel, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < len(self.name.strip()) <= ENTRY_LETTERS:
            raise InvalidValue("topics.name", f"{self.name!r:.60} is not 1 to {ENTRY_LETTERS} characters")
        _check_entries(self.words, self.sequences, self.classes, where=f"topics[{self.name:.40}].")


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """What a student must never answer, suggest or write.

    Attributes:
        words: Words and phrases of up to PHRASE_WORDS words; also found without case, accents and hyphens.
        sequences: Letters in a row that appear nowhere, within words and across them.
        classes: Classes that are never answered, by name or number.
        topics: More of all of them, under names.
        allowed: Words that stay though a list's entry can be read in them.
        binding: Whether later packages must carry it, too.
        lifted: What the publisher takes back of earlier lists: "words: damn", "classes: 7", "topics: x".
    """

    words: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()
    classes: tuple[ClassLabel, ...] = ()
    topics: tuple[SuppressedTopic, ...] = ()
    allowed: tuple[str, ...] = ()
    binding: bool = True
    lifted: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        _check_entries(self.words, self.sequences, self.classes)
        if len(self.topics) > TOPICS_LIMIT:
            raise InvalidValue("topics", f"{len(self.topics)}; {TOPICS_LIMIT} at most")
        names = [topic.name for topic in self.topics]
        if len(set(names)) != len(names):
            raise InvalidValue("topics", f"{', '.join(names):.80} name one twice")
        for limit, what, count in (
            (WORDS_LIMIT, "words", len(self.all_words) + len(self.allowed)),
            (SEQUENCES_LIMIT, "sequences", len(self.all_sequences)),
            (CLASSES_LIMIT, "classes", len(self.all_classes)),
            (WORDS_LIMIT, "lifted", len(self.lifted)),
        ):
            if count > limit:
                raise InvalidValue(what, f"{count}, those of topics included; {limit} at most")
        for word in self.allowed:
            _check_words(word, "allowed")
            if len(split(word)) != 1:
                raise InvalidValue("allowed", f"{word!r:.60} is several words; name each by itself")
        for text in self.lifted:
            kind, colon, entry = text.partition(": ")
            if not colon or kind not in (*_ENTRY_LISTS, "topics", "allowed") or not entry.strip():
                raise InvalidValue("lifted", f"{text!r:.60} is not like 'words: damn' or 'topics: gambling'")
            if len(text) > 2 * ENTRY_LETTERS:
                raise InvalidValue("lifted", f"{text!r:.60}... is longer than any entry")

    @property
    def all_words(self) -> tuple[str, ...]:
        """Words and phrases, those of topics included."""
        return (*self.words, *(word for topic in self.topics for word in topic.words))

    @property
    def all_sequences(self) -> tuple[str, ...]:
        """Sequences, those of topics included."""
        return (*self.sequences, *(one for topic in self.topics for one in topic.sequences))

    @property
    def all_classes(self) -> tuple[ClassLabel, ...]:
        """Classes, those of topics included."""
        return (*self.classes, *(one for topic in self.topics for one in topic.classes))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is suppressed, and nothing lifted."""
        return not (self.all_words or self.all_sequences or self.all_classes or self.lifted)

    @property
    def concerns_text(self) -> bool:
        """Whether there are words or sequences."""
        return bool(self.all_words or self.all_sequences)

    def with_named_classes(self, names: Sequence[str]) -> Constraints:
        """With numbers of classes as their names, which mean the same in other students, where there are."""

        def named(classes: Iterable[ClassLabel]) -> tuple[ClassLabel, ...]:
            return tuple(
                names[each] if isinstance(each, int) and each < len(names) else each for each in classes
            )

        topics = tuple(replace(topic, classes=named(topic.classes)) for topic in self.topics)
        return replace(self, classes=named(self.classes), topics=topics)

    def to_json(self) -> bytes:
        """constraints.json"""
        content: dict[str, Any] = {"format": FORMAT, "binding": self.binding}
        content |= {name: list(getattr(self, name)) for name in (*_ENTRY_LISTS, "allowed", "lifted")}
        content["topics"] = [
            {"name": topic.name} | {name: list(getattr(topic, name)) for name in _ENTRY_LISTS}
            for topic in self.topics
        ]
        return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes, *, where: str = CONSTRAINTS_NAME) -> Constraints:
        """Read a constraints.json strictly; raises WireError, naming the field."""
        if len(content) > FILE_LIMIT_BYTES:
            raise WireError(where, f"{len(content)} bytes, more than {FILE_LIMIT_BYTES}")
        try:
            read = json.loads(content, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise WireError(where, f"is no JSON: {str(error)[:200]}") from None
        given = _object(read, _KEYS, where)
        if given.get("format") != FORMAT:
            raise WireError(f"{where}: format", f"{given.get('format')!r:.40} is not {FORMAT!r}")
        binding, topics = given.get("binding", True), given.get("topics", [])
        if not isinstance(binding, bool):
            raise WireError(f"{where}: binding", f"{binding!r:.40} is neither true nor false")
        if not isinstance(topics, list) or len(topics) > TOPICS_LIMIT:
            raise WireError(f"{where}: topics", f"is no list of {TOPICS_LIMIT} topics at most")
        try:
            return cls(
                **_entries(given, where),
                topics=tuple(
                    _topic(topic, f"{where}: topics[{place}]") for place, topic in enumerate(topics)
                ),
                allowed=_texts(given, "allowed", where),
                binding=binding,
                lifted=_texts(given, "lifted", where),
            )
        except InvalidValue as error:
            raise WireError(f"{where}: {error.field}", error.problem) from None


def read_constraints(path: Path) -> Constraints:
    """A file that a person wrote: a constraints.json, or (.txt) a word or phrase a line; raises WireError."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise WireError(str(path), f"cannot be read: {error.strerror}") from None
    if path.suffix.lower() != ".txt" or len(content) > FILE_LIMIT_BYTES:
        return Constraints.from_json(content, where=str(path))
    try:
        lines = [line.strip() for line in content.decode("utf-8-sig").splitlines()]
        return Constraints(words=tuple(line for line in lines if line and not line.startswith("#")))
    except UnicodeDecodeError as error:
        raise WireError(str(path), f"is no UTF-8: {error}") from None
    except InvalidValue as error:
        raise WireError(f"{path}: {error.field}", error.problem) from None


def entry_lists(constraints: Constraints) -> Iterator[tuple[str, ClassLabel]]:
    """Each entry, with the kind of its list; those of topics among them."""
    for kind in _ENTRY_LISTS:
        for entry in getattr(constraints, f"all_{kind}"):
            yield kind, entry


def _check_entries(
    words: Sequence[str], sequences: Sequence[str], classes: Sequence[ClassLabel], *, where: str = ""
) -> None:
    for word in words:
        _check_words(word, f"{where}words")
        if len(word) > PHRASE_WORDS and len(split(word)) > PHRASE_WORDS:
            raise InvalidValue(f"{where}words", f"{word!r:.60} is more than {PHRASE_WORDS} words")
    for sequence in sequences:
        _check_words(sequence, f"{where}sequences")
        if len(sequence.strip()) < LEAST_SEQUENCE:
            raise InvalidValue(f"{where}sequences", f"{sequence!r} is in too many words; give 2 letters")
    for label in classes:
        if isinstance(label, bool) or not isinstance(label, str | int):
            raise InvalidValue(f"{where}classes", f"{label!r:.60} is neither a name nor a number")
        if isinstance(label, int) and not 0 <= label < 1 << 31:
            raise InvalidValue(f"{where}classes", f"{label} is no number of a class")
        if isinstance(label, str) and not 0 < len(label.strip()) <= ENTRY_LETTERS:
            raise InvalidValue(f"{where}classes", f"{label!r:.60} is no name of a class")


def _check_words(text: str, where: str) -> None:
    """Raise InvalidValue unless a text is words with spaces between, and nothing else."""
    if not isinstance(text, str) or not 0 < len(text.strip()) <= ENTRY_LETTERS:
        raise InvalidValue(where, f"{text!r:.60} is not 1 to {ENTRY_LETTERS} characters")
    if text.isascii() and text.replace(" ", "").isalpha():
        return
    keys = split(text)
    whole = "".join(normal(text).split())
    if not keys or NOTHING_SAID in keys or not all(map(is_word, keys)) or "".join(keys) != whole:
        raise InvalidValue(
            where, f"{text!r:.60} holds signs that are in no word; give words of letters, with spaces between"
        )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a key appears twice among {', '.join(key for key, _ in pairs)[:80]}")
    return found


def _object(value: Any, keys: Sequence[str], where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise WireError(where, "is no object")
    unknown = sorted(set(value) - set(keys))
    if unknown:
        raise WireError(where, f"{unknown[0]!r:.40} is none of {', '.join(keys)}")
    return value


def _texts(given: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    value = given.get(name, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise WireError(f"{where}: {name}", "is no list of texts")
    return tuple(value)


def _entries(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    classes = given.get("classes", [])
    if not isinstance(classes, list):
        raise WireError(f"{where}: classes", "is no list of names and numbers")
    words, sequences = (_texts(given, name, where) for name in ("words", "sequences"))
    return {"words": words, "sequences": sequences, "classes": tuple(classes)}


def _topic(value: Any, where: str) -> SuppressedTopic:
    given = _object(value, ("name", *_ENTRY_LISTS), where)
    if not isinstance(given.get("name"), str):
        raise WireError(f"{where}: name", "is missing, or no text")
    return SuppressedTopic(name=given["name"], **_entries(given, where))


NO_CONSTRAINTS = Constraints(binding=False)
"""Suppresses nothing; a union with it changes nothing."""
