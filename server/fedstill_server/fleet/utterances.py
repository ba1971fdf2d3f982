"""An assistant's fleet, from tables of utterances: what its teacher learns, and what devices get.

Of public.csv (text,label) those without a label are labelled by the sentence model, which learns the others
first. Then the fleet's own teacher learns all of them, and its students learn from that; devices get a part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.intents import FILE_LIMIT_BYTES, IntentSheet
from fedstill_proto.messages import Parameters
from fedstill_proto.utterances import read_utterances

from fedstill_server.assistant.teacher import TeacherPlan, TrainedTeacher
from fedstill_server.config import FleetConfig
from fedstill_server.fleet.errors import FleetError
from fedstill_server.networks import logits_of
from fedstill_server.public_set import DataError, Examples
from fedstill_server.teacher import build_family

INTENTS_FILE = "intents.json"
TEACHER_FOLDER = "sentence-teacher"


@dataclass(frozen=True)
class FleetUtterances:
    """Rows of n-grams' numbers, and what classes are called."""

    teaching: Examples
    test: Examples | None
    sheet: IntentSheet


def read_fleet_utterances(
    public: Path, test: Path | None, *, cache: Path, plan: TeacherPlan
) -> FleetUtterances:
    """Of tables of utterances; raises FleetError, UtterancesError, and EncoderError with what to install.

    cache: a folder that keeps the sentence model's teacher, which learns as the plan says.
    """
    said = read_utterances(public, labels_needed=False)
    tested = [] if test is None else read_utterances(test)
    names = tuple(sorted({label for _, label in said if label}))
    for _, label in tested:
        if label not in names:
            raise FleetError(f"{test}: label {label!r:.40} is none of those in {public}")
    try:
        sheet = IntentSheet(names)
    except InvalidValue as error:
        raise FleetError(f"{public}: {error}") from None
    labels = _all_labels(said, sheet, cache=cache, plan=plan)
    return FleetUtterances(
        Examples(sheet.rows([text for text, _ in said]), labels),
        _examples(tested, sheet) if tested else None,
        sheet,
    )


def published_sheet(
    folder: Path, config: FleetConfig, family: str, parameters: Parameters, test: Examples | None
) -> bytes | None:
    """The intents.json of a family's package; None for another fleet.

    Temperature and threshold are fitted to the fleet's test set; without one, every answer counts as sure.
    """
    if not config.hears_utterances or not (folder / INTENTS_FILE).is_file():
        return None
    try:
        content = (folder / INTENTS_FILE).read_bytes()[: FILE_LIMIT_BYTES + 1]
        sheet = IntentSheet.from_json(content, classes=config.classes, places=config.input_shape[0])
    except OSError as error:
        raise DataError(f"{folder / INTENTS_FILE}: cannot be read: {error.strerror}") from None
    except WireError as error:
        raise DataError(f"{folder / INTENTS_FILE}: {error}") from None
    if test is None or test.y is None:
        return content
    from fedstill_server.assistant.confidence import fitted_confidence  # scipy takes its time to import

    fitted = fitted_confidence(logits_of(build_family(config, family, parameters), test.x), test.y)
    return IntentSheet(sheet.names, fitted.temperature, fitted.threshold, sheet.hashing).to_json()


def _all_labels(
    said: Sequence[tuple[str, str]], sheet: IntentSheet, *, cache: Path, plan: TeacherPlan
) -> np.ndarray:
    """The given labels, and the sentence model's where there are none: int64 [texts]."""
    labels = np.array([sheet.number(label) if label else -1 for _, label in said], np.int64)
    unknown = np.flatnonzero(labels < 0).tolist()
    if unknown:
        known = np.flatnonzero(labels >= 0).tolist()
        teacher = TrainedTeacher(
            [said[row][0] for row in known],
            labels[known].tolist(),
            classes=len(sheet.names),
            plan=plan,
            cache=cache,
        )
        labels[unknown] = teacher.logits([said[row][0] for row in unknown]).argmax(-1)
    return labels


def _examples(said: Sequence[tuple[str, str]], sheet: IntentSheet) -> Examples:
    labels = np.array([sheet.number(label) for _, label in said], np.int64)
    return Examples(sheet.rows([text for text, _ in said]), labels)
