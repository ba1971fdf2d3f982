"""Tables of utterances as what an assistant's fleet learns before its first round.

Where some of public.csv (text,label) have no label, the sentence model learns the others and says what it
thinks of all: teacher and students learn from that (see pipeline.py), and its likeliest intent stands
where a label is missing. Where all have one, the fleet's own teacher learns them, and the students learn from
that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.intents import IntentSchema
from fedstill_proto.text.utterances import read_utterances

from fedstill_server.data.errors import ExamplesError
from fedstill_server.data.examples import Examples
from fedstill_server.tasks.interface import Progress, untold
from fedstill_server.tasks.utterances.pipeline import Assistant, AssistantPlan, make_assistant


@dataclass(frozen=True)
class FleetUtterances:
    """Rows of n-grams' numbers, and what classes are called."""

    teaching: Examples
    test: Examples | None
    schema: IntentSchema
    made: Assistant | None = None  # by the sentence model, where it was needed


def read_fleet_utterances(
    public: Path,
    test: Path | None,
    *,
    cache: Path,
    plan: AssistantPlan,
    on_progress: Progress = untold,
) -> FleetUtterances:
    """The examples of tables of utterances.

    Raises ExamplesError, UtterancesError, and EncoderError with what to install.

    cache: a folder that keeps what is made by the plan, where the sentence model is needed.
    """
    said = read_utterances(public, labels_needed=False)
    tested = [] if test is None else read_utterances(test)
    names = tuple(sorted({label for _, label in said if label}))
    for _, label in tested:
        if label not in names:
            raise ExamplesError(f"{test}: label {label!r:.40} is none of those in {public}")
    try:
        schema = IntentSchema(names)
    except InvalidValue as error:
        raise ExamplesError(f"{public}: {error}") from None
    labels = np.array([schema.number(label) if label else -1 for _, label in said], np.int64)
    made = None
    if (labels < 0).any():
        order = np.argsort(labels < 0, kind="stable")  # those with a label first
        texts, known = [said[row][0] for row in order], labels[labels >= 0].tolist()
        made = make_assistant(texts, known, plan, cache, classes=len(names), on_progress=on_progress)
        unknown = order[len(known) :]
        labels[unknown] = made.answers[len(known) :].argmax(-1)
    return FleetUtterances(
        Examples(schema.rows([text for text, _ in said]), labels),
        _examples(tested, schema) if tested else None,
        schema,
        made,
    )


def _examples(said: Sequence[tuple[str, str]], schema: IntentSchema) -> Examples:
    labels = np.array([schema.number(label) for _, label in said], np.int64)
    return Examples(schema.rows([text for text, _ in said]), labels)
