"""Utterances as an assistant's student takes them, and the intents that it predicts.

An owner's answer leans towards what the owner means often, by the label prior and by what the student learned
here. So it leans of a sentence that means nothing, too, and its confidence alone would make it sure. Who else
has to know the utterance: an answer is sure where its confidence reaches the package's threshold, and

    the fleet's student alone reaches it with the same intent, or
    the owner said something like it that meant the same: cosine of the two sets of n-grams >= 0.6.

"don't start rosie" is like "start rosie", which its owner taught; yet it asks for nothing. So what is like
something said has to ask for something as much as that did: the fleet's student gives "nothing is asked"
half a logit more at most. And where the owner said that something more like it asks for nothing, nothing is.

What the owner said in just these words means what the owner said that it means, from the first time on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.errors import FedstillError, InvalidValue
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.text.intents import IntentSchema, Understanding
from fedstill_proto.text.ngrams import NOTHING

from fedstill_client.model.intent_schema import intent_schema

if TYPE_CHECKING:
    from fedstill_client.model.answering_student import Answerer

ALIKE = 0.6  # cosine; chosen on the homes of seed 1
_LESS_ASKED = 0.5  # logits of "nothing is asked", more than of what was said


@dataclass(frozen=True, eq=False)
class Said:
    """What the owner said, x [n, places], and meant by it, labels [n]."""

    x: FloatArray
    labels: IntArray

    def meaning(self, x: FloatArray) -> int | None:
        """What the owner meant the last time by just these n-grams x [places]; None: never said."""
        if self.x.shape[1:] != x.shape:
            return None
        same = np.flatnonzero((self.x == x).all(axis=1))
        return int(self.labels[same[-1]]) if len(same) else None

    def alike(self, x: FloatArray, intent: int, *, nothing: int | None = None) -> FloatArray:
        """What the owner said [m, places] that is like an utterance x [places], and meant this.

        Empty, too, where something that is more like it asked for nothing.
        """
        none = self.x[:0]
        if not len(self.x) or self.x.shape[1:] != x.shape:
            return none
        shared = (np.isin(self.x, x) & (self.x != NOTHING)).sum(axis=1)
        lengths = (self.x != NOTHING).sum(axis=1) * (x != NOTHING).sum()
        cosine = shared / np.sqrt(np.maximum(lengths, 1))
        meant = self.labels == intent
        found = meant & (cosine >= ALIKE)
        if nothing is not None and cosine[self.labels == nothing].max(initial=0.0) > cosine[meant].max(
            initial=0.0
        ):
            return none
        return np.asarray(self.x[found])


def encode_utterances(schema: IntentSchema, texts: list[str]) -> FloatArray:
    """Utterances as examples [texts, places]; raises InvalidValue for a text without a word."""
    x = schema.rows(texts)
    silent = np.flatnonzero(~x.any(axis=1))
    if len(silent):
        raise InvalidValue("text", f"{texts[silent[0]]!r:.60} holds no word")
    return x


def understand(
    schema: IntentSchema,
    text: str,
    k: int,
    *,
    answering: Answerer,
    fleets: Answerer,
    said: Said | None,
) -> Understanding:
    """What a text means to the student that answers; raises InvalidValue.

    Args:
        schema: The intents.
        text: The utterance.
        k: How many intents at most.
        answering: The student that answers.
        fleets: The fleet's student.
        said: What the owner said; None where the answer is for everyone.
    """
    x = encode_utterances(schema, [text])
    answer = answering.probabilities(x)[0]
    told = None if said is None else said.meaning(x[0])
    suppressed = answering.student.suppression.names(schema.names)
    if told is not None and schema.names[told] not in suppressed:
        return _without(schema.understood(_at_least(schema.threshold, told, answer), k), suppressed)
    known = True
    if answer.max() >= np.float32(schema.threshold) and answering is not fleets:
        intent = int(answer.argmax())
        everyones = fleets.probabilities(x)[0]
        known = everyones.argmax() == intent and bool(everyones[intent] >= schema.threshold)
        if not known and said is not None:
            alike = said.alike(x[0], intent, nothing=schema.nothing)
            known = len(alike) > 0 and _asks_as_much(everyones, alike, fleets, schema.nothing)
    return _without(schema.understood(answer, k, known=known), suppressed)


def _without(understood: Understanding, suppressed: frozenset[str]) -> Understanding:
    """The same without the intents that the package suppresses, which have no probability."""
    if not suppressed:
        return understood
    kept = tuple(each for each in understood.intents if each.name not in suppressed)
    return replace(understood, intents=kept, sure=understood.sure and bool(kept))


def _asks_as_much(answer: FloatArray, alike: FloatArray, fleets: Answerer, nothing: int | None) -> bool:
    """Whether what is answered so asks for something as much as one of those like it [m, places]."""
    if nothing is None:
        return True
    said = fleets.probabilities(alike)[:, nothing].max()
    return bool(_logit(answer[nothing]) <= _logit(said) + _LESS_ASKED)


def _logit(share: np.floating[Any]) -> float:
    bounded = min(max(float(share), 1e-7), 1 - 1e-7)
    return math.log(bounded / (1 - bounded))


def _at_least(confidence: float, intent: int, answer: FloatArray) -> FloatArray:
    """The answer [classes] with one intent the likeliest, and no less likely than that."""
    others = np.delete(answer, intent)
    least = max(confidence, float(answer[intent]), float(np.nextafter(np.float32(0.5), np.float32(1))))
    scaled = answer * np.float32((1 - least) / max(float(others.sum()), 1e-12))
    scaled[intent] = least
    return scaled


def predict_intents(package: StudentPackage, text: str) -> Understanding:
    """The intents that a package's own student predicts for an utterance; raises FedstillError."""
    # Whoever only checks a package runs none.
    from fedstill_client.model.answering_student import AnsweringStudent
    from fedstill_client.model.slots import SlotFinder

    schema = intent_schema(package)
    if schema is None:
        raise FedstillError(f"the student {package.manifest.family!r} knows no intents: no intents.json")
    x = encode_utterances(schema, [text])
    student = AnsweringStudent(package)
    answer = student.probabilities(x, temperature=schema.temperature)[0]
    understood = _without(schema.understood(answer), student.suppression.names(schema.names))
    finder = SlotFinder.of_package(package)
    return replace(understood, slots=() if finder is None else finder.slots(text))
