"""A folder of writers' texts as a fleet of next sub-words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fedstill_proto.arrays import IntArray
from fedstill_proto.package.subwords import NEXT_TOKEN
from fedstill_server.tasks.subwords.next_task import NextTokenTask
from fedstill_server.tasks.subwords.rows import tokenizer_of

from fedstill_sim.data.columns.families import FamilyColumn
from fedstill_sim.data.fleet import DeviceRows, FleetData, FleetDataError
from fedstill_sim.tasks.subwords.fleet import tokenizer_files
from fedstill_sim.tasks.text.data import load_keyboard

GLOBAL_ROWS = 128
Rows = tuple[IntArray, IntArray]


def load_writers(
    folder: Path, *, devices: int | None, seed: int, families: Sequence[str], places: int = 0
) -> FleetData:
    """The users of a folder of texts, the last fifth of each held out; families are dealt out in turn.

    Args:
        folder: <user>.txt and public.txt, a text a line.
        devices: How many of the users; None is all.
        seed: Of what is drawn.
        families: Causal models of Hugging Face with one tokenizer.
        places: Sub-words of a row; 0 is what suits the families.

    Raises:
        FedstillError: Naming the file, and what does not fit.
    """
    read, usual = tokenizer_of(families), NextTokenTask()
    places = places or min(usual.places, read.most_places or usual.places)
    texts = load_keyboard(folder)
    texts = texts if devices is None else texts.of(devices)
    train = [read.next_rows(typist.train, places=places) for typist in texts.typists]
    test = [read.next_rows(typist.test, places=places) for typist in texts.typists]
    for typist, (x, _) in zip(texts.typists, train, strict=True):
        if not len(x):
            raise FleetDataError(
                f"{texts.name}: {typist.name} has fewer sub-words to learn from than a row of {places}"
            )
    parts = [*train, *test]
    x, y = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    owned = _numbered(parts)
    everyones = np.concatenate(owned[len(train) :])
    if not len(everyones):
        raise FleetDataError(
            f"{texts.name}: no device holds out a row of {places} sub-words; give longer texts"
        )
    tested = np.sort(np.random.default_rng([seed, 1]).permutation(everyones)[:GLOBAL_ROWS])
    public_x, public_y = read.next_rows(texts.public, places=places)
    if not len(public_x):
        raise FleetDataError(f"{texts.name}: the public texts have fewer sub-words than a row of {places}")
    shared = np.sort(np.random.default_rng([seed, 2]).permutation(len(public_x))[: usual.public_rows])
    return FleetData(
        name=texts.name,
        description=f"{texts.name}, {len(texts.typists)} devices, each with the texts of one writer, the "
        f"last fifth held out; {read.size:,} sub-words; public set: {len(shared)} rows of the public texts",
        classes=read.size,
        device_names=tuple(typist.name for typist in texts.typists),
        families=FamilyColumn.in_turn(families, devices=len(texts.typists)),
        x=x,
        y=y,
        train=DeviceRows.of(owned[: len(train)]),
        test=DeviceRows.of(owned[len(train) :]),
        public_x=public_x[shared],
        public_y=public_y[shared],
        global_x=x[tested],
        global_y=y[tested],
        files=tokenizer_files(read, places=places, answer=NEXT_TOKEN),
    )


def _numbered(parts: Sequence[Rows]) -> list[IntArray]:
    """The rows of each part in the table of all."""
    ends = np.cumsum([len(x) for x, _ in parts])
    return [np.arange(end - len(x), end) for (x, _), end in zip(parts, ends, strict=True)]
