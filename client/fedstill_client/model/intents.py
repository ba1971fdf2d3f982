"""What an assistant's student makes of an utterance."""

from __future__ import annotations

import math

import numpy as np
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import FedstillError, InvalidValue
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.text.intents import IntentSchema, Understanding


def intent_schema(package: StudentPackage) -> IntentSchema | None:
    """The intents of a student of utterances whose package brings them; raises WireError."""
    if package.intents is None:
        return None
    manifest = package.manifest
    return IntentSchema.from_json(
        package.intents, classes=manifest.classes, places=math.prod(manifest.input_shape)
    )


def encode_utterances(schema: IntentSchema, texts: list[str]) -> FloatArray:
    """Examples [texts, places]; raises InvalidValue for a text without a word."""
    x = schema.rows(texts)
    silent = np.flatnonzero(~x.any(axis=1))
    if len(silent):
        raise InvalidValue("text", f"{texts[silent[0]]!r:.60} holds no word")
    return x


def understood_by(package: StudentPackage, text: str) -> Understanding:
    """What the package's own student makes of an utterance; raises FedstillError."""
    from fedstill_client.model.answering_student import (
        AnsweringStudent,  # whoever only checks a package runs none
    )

    schema = intent_schema(package)
    if schema is None:
        raise FedstillError(f"the student {package.manifest.family!r} knows no intents: no intents.json")
    x = encode_utterances(schema, [text])
    return schema.understood(AnsweringStudent(package).probabilities(x, temperature=schema.temperature)[0])
