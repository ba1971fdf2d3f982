"""A fleet's tagger of slots: learned where its public table has marked some, and kept beside its intents.

    turn on the [light](name) in the [living room](area)

Lines with a label and no mark are utterances without slots; lines with neither say nothing of slots.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.package.artifact import SLOTS_FILE, SLOTS_GRAPH_FILE
from fedstill_proto.text.slots import FILE_LIMIT_BYTES, SlotSchema
from fedstill_proto.text.utterances import read_slotted_utterances

from fedstill_server.data.errors import ExamplesError
from fedstill_server.tasks.interface import PackageFiles, Progress, untold

_MOST_LINES = 30_000  # that a tagger learns, drawn of more
_MOST_GRAPH_BYTES = 16 << 20


def made_slot_files(public: Path, *, seed: int, on_progress: Progress = untold) -> dict[str, bytes]:
    """slots.json and slots.onnx of a public table; neither where no slot is marked.

    Raises:
        UtterancesError: The table cannot be read, or a mark is wrong: names file, line and value.
        ExamplesError: More slots are marked than a tagger may have.
    """
    rows = read_slotted_utterances(public, labels_needed=False)
    table = [(text, spans) for _, text, spans, label in rows if spans or label]
    if not any(spans for _, spans in table):
        return {}
    # torch takes a second to import.
    from fedstill_server.tasks.utterances.slots.export import tagger_graph
    from fedstill_server.tasks.utterances.slots.invented import MarkedText
    from fedstill_server.tasks.utterances.slots.training import SlotPlan, learned_tagger

    if len(table) > _MOST_LINES:
        chosen = np.random.default_rng([seed, 46]).permutation(len(table))[:_MOST_LINES]
        table = [table[int(row)] for row in chosen]
    plan = SlotPlan(seed=seed)
    try:
        learned = learned_tagger(
            [MarkedText(text, spans) for text, spans in table],
            plan=plan,
            on_epoch=lambda epoch, loss: on_progress("the tagger of slots learns", epoch, plan.passes),
        )
    except InvalidValue as error:
        raise ExamplesError(f"{public}: {error}") from None
    return {SLOTS_FILE: learned.schema.to_json(), SLOTS_GRAPH_FILE: tagger_graph(learned)}


def with_slot_files(files: PackageFiles, folder: Path) -> PackageFiles:
    """A package's files with the tagger of its fleet, where it has one; raises ExamplesError."""
    if not (folder / SLOTS_FILE).is_file():
        return files
    slots = _read(folder / SLOTS_FILE, FILE_LIMIT_BYTES)
    try:
        SlotSchema.from_json(slots)
    except WireError as error:
        raise ExamplesError(f"{folder / SLOTS_FILE}: {error}") from None
    return replace(files, slots=slots, slots_graph=_read(folder / SLOTS_GRAPH_FILE, _MOST_GRAPH_BYTES))


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise ExamplesError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > most:
        raise ExamplesError(f"{path}: more than {most} bytes")
    return content
