"""Tables of utterances as what an assistant's fleet learns before its first round.

Where some of public.csv (text,label) have no label, the sentence model learns the others and says what it
thinks of all: teacher and students learn from that (see pipeline.py), and its likeliest intent stands
where a label is missing. Where all have one, the fleet's own teacher learns them, and the students learn from
that.

Beside them stands a class of what asks for nothing: lines whose label is "oos", "none" or the like, and
sentences made for the table (scope/). Labelled utterances are learned in polite forms, too.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.intents import OUT_OF_SCOPE, IntentSchema, is_out_of_scope
from fedstill_proto.text.utterances import rare_labels, read_numbered_utterances

from fedstill_server.data.errors import ExamplesError
from fedstill_server.data.examples import Examples
from fedstill_server.randomness import derived_seed
from fedstill_server.tasks.interface import Progress, untold
from fedstill_server.tasks.utterances.pipeline import Assistant, AssistantPlan, make_assistant
from fedstill_server.tasks.utterances.scope.negatives import Negatives, polite_wishes

log = logging.getLogger(__name__)

NEGATIVES, POLITE = 0.7, 0.4  # of the labelled utterances, how many sentences are made
_FEWEST, _MOST = 60, 4000  # sentences that ask for nothing
_HELD_OUT = 500  # of those that confidence is fitted to
_NAMED = 5  # rare labels in a notice

Said = Sequence[tuple[str, str]]
"""Texts and labels."""


@dataclass(frozen=True)
class Unasked:
    """What is made for a table of utterances.

    Attributes:
        polite: Utterances in polite forms, and their labels.
        learned: Sentences that ask for nothing, for students to learn.
        held_out: The same of other templates, which nobody learns.
    """

    polite: tuple[tuple[str, str], ...]
    learned: tuple[str, ...]
    held_out: tuple[str, ...]


def unasked_for(said: Said, *, seed: int, tested: Said = ()) -> Unasked:
    """What is made for labelled utterances; `tested` are what is held out of them."""
    asking = [(text, label) for text, label in said if label != OUT_OF_SCOPE]
    count = min(_MOST, max(_FEWEST, int(NEGATIVES * len(asking))))
    texts = [text for text, _ in asking]
    others = [text for text, label in tested if label != OUT_OF_SCOPE] or texts
    drawn = Negatives(texts).draw(count, seed=derived_seed(seed, 0, "negatives"))
    known = set(drawn)
    held_out = Negatives(others, held_out=True).draw(
        _HELD_OUT, seed=derived_seed(seed, 0, "held-out negatives")
    )
    return Unasked(
        tuple(polite_wishes(asking, int(POLITE * len(asking)), seed=derived_seed(seed, 0, "polite"))),
        tuple(drawn),
        tuple(text for text in held_out if text not in known),
    )


@dataclass(frozen=True)
class FleetUtterances:
    """Rows of n-grams' numbers, and what classes are called; `unasked` [m, places] asks for nothing, and is
    learned by nobody.
    """

    teaching: Examples
    test: Examples | None
    schema: IntentSchema
    unasked: FloatArray
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
    said = _read(public, labels_needed=False, notice=True)
    tested = [] if test is None else _read(test, labels_needed=True)
    intents = sorted({label for _, label in said if label} - {OUT_OF_SCOPE})
    try:
        schema = IntentSchema((*intents, OUT_OF_SCOPE), out_of_scope=OUT_OF_SCOPE)
    except InvalidValue as error:
        raise ExamplesError(f"{public}: {error}") from None
    for _, label in tested:
        if label not in schema.names:
            near = schema.nearest(label)
            nearest = f"; the nearest is {near!r}" if near else ""
            raise ExamplesError(f"{test}: label {label!r:.40} is none of those in {public}{nearest}")
    seed = plan.distilling.seed
    more = unasked_for([each for each in said if each[1]], seed=seed, tested=tested)
    said += [*more.polite, *((text, OUT_OF_SCOPE) for text in more.learned)]
    labels = np.array([schema.number(label) if label else -1 for _, label in said], np.int64)
    made = None
    if (labels < 0).any():
        order = np.argsort(labels < 0, kind="stable")  # those with a label first
        texts, known = [said[row][0] for row in order], labels[labels >= 0].tolist()
        made = make_assistant(texts, known, plan, cache, classes=len(schema.names), on_progress=on_progress)
        unknown = order[len(known) :]
        labels[unknown] = made.answers[len(known) :].argmax(-1)
    return FleetUtterances(
        Examples(schema.rows([text for text, _ in said]), labels),
        _examples(tested, schema) if tested else None,
        schema,
        schema.rows(list(more.held_out)),
        made,
    )


def _read(file: Path, *, labels_needed: bool, notice: bool = False) -> list[tuple[str, str]]:
    """Texts and labels, with one label for all that ask for nothing."""
    rows = read_numbered_utterances(file, labels_needed=labels_needed)
    said = [(text, OUT_OF_SCOPE if is_out_of_scope(label) else label) for _, text, label in rows]
    rare = rare_labels([label for _, label in said]) if notice else {}
    if rare:
        named = [f"{label!r:.40} (line {rows[at][0]})" for label, at in list(rare.items())[:_NAMED]]
        others = f" and {len(rare) - _NAMED} more" if len(rare) > _NAMED else ""
        log.warning(
            "%s: intents of a single utterance: %s%s; give more of each, or mend the label",
            file,
            ", ".join(named),
            others,
        )
    return said


def _examples(said: Sequence[tuple[str, str]], schema: IntentSchema) -> Examples:
    labels = np.array([schema.number(label) for _, label in said], np.int64)
    return Examples(schema.rows([text for text, _ in said]), labels)
