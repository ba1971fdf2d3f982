"""Utterances as an assistant's student takes them, and the intents that it predicts."""

from __future__ import annotations

import math

import numpy as np
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import FedstillError, InvalidValue
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.text.intents import IntentSchema, Understanding


def intent_schema(package: StudentPackage) -> IntentSchema | None:
    """The intents of an assistant's student, in the order of its classes.

    Returns:
        The schema; None for a package of another kind of student.

    Raises:
        WireError: The package's intents.json is not one for its student.
    """
    if package.intents is None:
        return None
    manifest = package.manifest
    return IntentSchema.from_json(
        package.intents, classes=manifest.classes, places=math.prod(manifest.input_shape)
    )


def encode_utterances(schema: IntentSchema, texts: list[str]) -> FloatArray:
    """Utterances as examples [texts, places]; raises InvalidValue for a text without a word."""
    x = schema.rows(texts)
    silent = np.flatnonzero(~x.any(axis=1))
    if len(silent):
        raise InvalidValue("text", f"{texts[silent[0]]!r:.60} holds no word")
    return x


def predict_intents(package: StudentPackage, text: str) -> Understanding:
    """The intents that a package's own student predicts for an utterance; raises FedstillError."""
    # Whoever only checks a package runs none.
    from fedstill_client.model.answering_student import AnsweringStudent

    schema = intent_schema(package)
    if schema is None:
        raise FedstillError(f"the student {package.manifest.family!r} knows no intents: no intents.json")
    x = encode_utterances(schema, [text])
    return schema.understood(AnsweringStudent(package).probabilities(x, temperature=schema.temperature)[0])
