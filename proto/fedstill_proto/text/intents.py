"""What an assistant's package says of its intents: their names, and when an answer is to be trusted.

    intents.json    {"tokenizer": "ngrams", "buckets": 8192, "places": 128, "intents": ["HassTurnOff", ...],
                     "temperature": 1.4, "threshold": 0.6}

The confidence of an intent is softmax(logits / temperature), with the temperature that fits utterances which
no student has learned. An answer below `threshold` is none: the assistant says that it is unsure.

Packages made since have two fields more. `out_of_scope` names the one of `intents` that is none: what is
said and asks for nothing ("don't turn on the light", "how tall is a giraffe"). It is never shown as an
intent; where it is the likeliest, the assistant is unsure. `features` is the version of the n-grams (see
ngrams.py), 1 where it is missing.
"""

from __future__ import annotations

import difflib
import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.text.ngrams import NgramHashing
from fedstill_proto.text.slots import SlotValue

TOKENIZER = "ngrams"
FILE_LIMIT_BYTES = 1 << 20
INTENT_LIMIT = 4096
NAME_LIMIT = 100  # characters
_NEAR = 0.6  # of difflib's ratio
OUT_OF_SCOPE = "OUT_OF_SCOPE"
"""The class of utterances that ask for nothing."""
_FIELDS = {"tokenizer", "buckets", "places", "intents", "temperature", "threshold"}
_LATER_FIELDS = {"out_of_scope", "features"}
_NAMES_OF_NOTHING = {"oos", "ood", "out_of_scope", "out of scope", "out-of-scope", "none", "no_intent"}


def is_out_of_scope(label: str) -> bool:
    """Whether a label of a table says that nothing is asked: oos, none, out_of_scope and the like."""
    return label.casefold() in _NAMES_OF_NOTHING


@dataclass(frozen=True)
class ScoredIntent:
    """An intent, and how sure the student is of it, from 0 to 1."""

    name: str
    confidence: float


@dataclass(frozen=True)
class Understanding:
    """The likeliest intents of an utterance, and whether the first is sure enough to act on.

    slots: the parts of the text that are a room, a thing or a number, where the package has a tagger of them.
    """

    intents: tuple[ScoredIntent, ...]
    sure: bool
    slots: tuple[SlotValue, ...] = ()

    @property
    def intent(self) -> str | None:
        """The first, where it is sure."""
        return self.intents[0].name if self.sure else None


@dataclass(frozen=True)
class IntentSchema:
    """The intents of a student of utterances, in the order of its classes.

    Attributes:
        names: Of all classes.
        temperature: What logits are divided by.
        threshold: The confidence from which on an answer is sure.
        hashing: How texts become rows.
        out_of_scope: The class that stands for what asks for nothing; None where the student has none.
    """

    names: tuple[str, ...]
    temperature: float = 1.0
    threshold: float = 0.0
    hashing: NgramHashing = field(default_factory=NgramHashing)
    out_of_scope: str | None = None

    def __post_init__(self) -> None:
        if not 2 <= len(self.intents) <= INTENT_LIMIT:
            raise InvalidValue("intents", f"{len(self.intents)} intents; give 2 to {INTENT_LIMIT}")
        for place, name in enumerate(self.names):
            if not 1 <= len(name) <= NAME_LIMIT or not name.isprintable():
                raise InvalidValue(
                    f"intents[{place}]", f"{name!r:.60} is no name of 1 to {NAME_LIMIT} characters"
                )
        if len(set(self.names)) != len(self.names):
            raise InvalidValue("intents", "a name is there twice")
        if self.out_of_scope is not None and self.out_of_scope not in self.names:
            raise InvalidValue("out_of_scope", f"{self.out_of_scope!r:.60} is none of the intents")
        if not (math.isfinite(self.temperature) and 0.01 <= self.temperature <= 100):
            raise InvalidValue("temperature", f"{self.temperature}; give 0.01 to 100")
        if not 0 <= self.threshold <= 1:
            raise InvalidValue("threshold", f"{self.threshold}; give 0 to 1")

    @property
    def intents(self) -> tuple[str, ...]:
        """The intents that people may mean."""
        return tuple(name for name in self.names if name != self.out_of_scope)

    @property
    def nothing(self) -> int | None:
        """The class of what asks for nothing."""
        return None if self.out_of_scope is None else self.names.index(self.out_of_scope)

    def number(self, name: str) -> int:
        """The class of an intent, or of "oos", "none" and the like; raises InvalidValue for no such one."""
        if name in self.names:
            return self.names.index(name)
        if self.nothing is not None and is_out_of_scope(name):
            return self.nothing
        known = f"{name!r:.60} is none of the {len(self.intents)} that the student tells apart"
        near = self.nearest(name)
        raise InvalidValue("intent", f"{known}; the nearest is {near!r}" if near else known)

    def nearest(self, name: str) -> str | None:
        """The intent whose name is written most like this; None where none is."""
        folded = {each.casefold(): each for each in reversed(self.intents)}
        found = difflib.get_close_matches(name[:NAME_LIMIT].casefold(), folded, n=1, cutoff=_NEAR)
        return folded[found[0]] if found else None

    def rows(self, texts: list[str]) -> FloatArray:
        """Examples [texts, places] as the student takes them; raises InvalidValue."""
        return np.asarray(self.hashing.encode_all(texts), np.float32)

    def understood(self, probabilities: FloatArray, k: int = 3, *, known: bool = True) -> Understanding:
        """The k likeliest of an utterance, from its probabilities [classes].

        The first is sure from the threshold on, if the utterance asks for something, of a `known` kind.
        """
        order = np.argsort(-probabilities, kind="stable")
        asks = order[0] != self.nothing
        least = min(self.threshold, float(np.float32(self.threshold)))  # probabilities may be float32
        shown = [at for at in order if at != self.nothing][:k]
        scored = tuple(ScoredIntent(self.names[at], float(probabilities[at])) for at in shown)
        return Understanding(scored, bool(known and asks and scored[0].confidence >= least))

    def to_json(self) -> bytes:
        """intents.json"""
        content: dict[str, Any] = {
            "tokenizer": TOKENIZER,
            "buckets": self.hashing.buckets,
            "places": self.hashing.places,
            "intents": list(self.names),
            "temperature": self.temperature,
            "threshold": self.threshold,
        }
        if self.hashing.version > 1:
            content["features"] = self.hashing.version
        if self.out_of_scope is not None:
            content["out_of_scope"] = self.out_of_scope
        return json.dumps(content, ensure_ascii=False, indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes, *, classes: int, places: int) -> IntentSchema:
        """Read the intents.json of a student of so many classes, which takes `places`; raises WireError."""
        where = "intents.json"
        if len(content) > FILE_LIMIT_BYTES:
            raise WireError(where, f"{len(content)} bytes, more than {FILE_LIMIT_BYTES}")
        try:
            read = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise WireError(where, f"is no JSON: {str(error)[:100]}") from None
        if not isinstance(read, dict) or read.keys() - _LATER_FIELDS != _FIELDS:
            raise WireError(where, f"is no object of {', '.join(sorted(_FIELDS))}")
        if read["tokenizer"] != TOKENIZER:
            raise WireError(f"{where}: tokenizer", f"{read['tokenizer']!r:.40} is not {TOKENIZER!r}")
        names = read["intents"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise WireError(f"{where}: intents", "is no list of names")
        if len(names) != classes:
            raise WireError(f"{where}: intents", f"{len(names)}; the student has {classes} classes")
        for name in ("temperature", "threshold"):
            if type(read[name]) not in (int, float):
                raise WireError(f"{where}: {name}", f"{read[name]!r:.40} is no number")
        nothing = read.get("out_of_scope")
        if nothing is not None and not isinstance(nothing, str):
            raise WireError(f"{where}: out_of_scope", f"{nothing!r:.40} is no name")
        if read["places"] != places:
            raise WireError(f"{where}: places", f"{read['places']!r:.40}; the student takes {places}")
        try:
            hashing = NgramHashing(read["buckets"], read["places"], read.get("features", 1))
            return cls(tuple(names), read["temperature"], read["threshold"], hashing, nothing)
        except InvalidValue as error:
            raise WireError(f"{where}: {error.field}", error.problem) from None
