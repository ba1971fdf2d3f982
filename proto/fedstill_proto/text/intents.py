"""What an assistant's package says of its intents: their names, and when an answer is to be trusted.

    intents.json    {"tokenizer": "ngrams", "buckets": 8192, "places": 128, "intents": ["HassTurnOff", ...],
                     "temperature": 1.4, "threshold": 0.6}

The confidence of an intent is softmax(logits / temperature), with the temperature that fits utterances which
no student has learned. An answer below `threshold` is none: the assistant says that it is unsure.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

import numpy as np

from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.text.ngrams import NgramHashing

TOKENIZER = "ngrams"
FILE_LIMIT_BYTES = 1 << 20
INTENT_LIMIT = 4096
NAME_LIMIT = 100  # characters
_FIELDS = {"tokenizer", "buckets", "places", "intents", "temperature", "threshold"}


@dataclass(frozen=True)
class ScoredIntent:
    """An intent, and how sure the student is of it, from 0 to 1."""

    name: str
    confidence: float


@dataclass(frozen=True)
class Understanding:
    """The likeliest intents of an utterance, and whether the first is sure enough to act on."""

    intents: tuple[ScoredIntent, ...]
    sure: bool

    @property
    def intent(self) -> str | None:
        """The first, where it is sure."""
        return self.intents[0].name if self.sure else None


@dataclass(frozen=True)
class IntentSchema:
    """The intents of a student of utterances, in the order of its classes."""

    names: tuple[str, ...]
    temperature: float = 1.0
    threshold: float = 0.0
    hashing: NgramHashing = field(default_factory=NgramHashing)

    def __post_init__(self) -> None:
        if not 2 <= len(self.names) <= INTENT_LIMIT:
            raise InvalidValue("intents", f"{len(self.names)} intents; give 2 to {INTENT_LIMIT}")
        for place, name in enumerate(self.names):
            if not 1 <= len(name) <= NAME_LIMIT or not name.isprintable():
                raise InvalidValue(
                    f"intents[{place}]", f"{name!r:.60} is no name of 1 to {NAME_LIMIT} characters"
                )
        if len(set(self.names)) != len(self.names):
            raise InvalidValue("intents", "a name is there twice")
        if not (math.isfinite(self.temperature) and 0.01 <= self.temperature <= 100):
            raise InvalidValue("temperature", f"{self.temperature}; give 0.01 to 100")
        if not 0 <= self.threshold <= 1:
            raise InvalidValue("threshold", f"{self.threshold}; give 0 to 1")

    def number(self, name: str) -> int:
        """The class of an intent; raises InvalidValue for one that there is not."""
        try:
            return self.names.index(name)
        except ValueError:
            raise InvalidValue(
                "intent", f"{name!r:.60} is none of the {len(self.names)} that the student tells apart"
            ) from None

    def rows(self, texts: list[str]) -> FloatArray:
        """Examples [texts, places] as the student takes them; raises InvalidValue."""
        return np.asarray(self.hashing.encode_all(texts), np.float32)

    def understood(self, probabilities: FloatArray, k: int = 3, *, known: bool = True) -> Understanding:
        """The k likeliest of an utterance, from its probabilities [classes].

        The first is sure from the threshold on, if the utterance is of a `known` kind.
        """
        order = np.argsort(-probabilities, kind="stable")[:k]
        scored = tuple(ScoredIntent(self.names[at], float(probabilities[at])) for at in order)
        return Understanding(scored, known and scored[0].confidence >= self.threshold)

    def to_json(self) -> bytes:
        """intents.json"""
        content = {
            "tokenizer": TOKENIZER,
            "buckets": self.hashing.buckets,
            "places": self.hashing.places,
            "intents": list(self.names),
            "temperature": self.temperature,
            "threshold": self.threshold,
        }
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
        if not isinstance(read, dict) or read.keys() != _FIELDS:
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
        if read["places"] != places:
            raise WireError(f"{where}: places", f"{read['places']!r:.40}; the student takes {places}")
        try:
            hashing = NgramHashing(read["buckets"], read["places"])
            return cls(tuple(names), read["temperature"], read["threshold"], hashing)
        except InvalidValue as error:
            raise WireError(f"{where}: {error.field}", error.problem) from None
