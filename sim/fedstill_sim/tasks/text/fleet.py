"""The keyboard as a fleet: devices' texts as rows of words, and beginnings of public texts as the public set.

A row of the public set is START and the first words of a text, so that what a teacher says of whole texts
holds for it, too. The word list is made of the public texts alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fedstill_proto.arrays import IntArray
from fedstill_proto.text.token_rows import WordRows, word_rows
from fedstill_proto.text.vocabulary import START, build_word_list

from fedstill_sim.data.columns.families import FamilyColumn
from fedstill_sim.data.fleet import DeviceRows, FleetData, FleetDataError
from fedstill_sim.tasks.text.data import VOCABULARY_FILE, load_keyboard

WORDS, PLACES = 10_000, 16  # of the list, at most; of a row
PUBLIC_ROWS, GLOBAL_ROWS = 256, 128
DEFAULT_DEVICES = 100


def load_keyboard_fleet(
    folder: Path | None = None,
    *,
    devices: int | None = None,
    seed: int = 0,
    families: Sequence[str] = ("gru-80-224",),
) -> FleetData:
    """The speakers of plays, or the users of a folder of texts; families are dealt out in turn."""
    data = load_keyboard(folder)
    data = data.of(min(DEFAULT_DEVICES, len(data.typists)) if devices is None else devices)
    words = build_word_list(data.public, size=WORDS)
    public = [numbers for text in data.public if (numbers := words.encode(text))]
    train = [word_rows(map(words.encode, typist.train), places=PLACES) for typist in data.typists]
    test = [word_rows(map(words.encode, typist.test), places=PLACES) for typist in data.typists]
    for typist, rows in zip(data.typists, train, strict=True):
        if not len(rows.x):
            raise FleetDataError(
                f"{data.name}: {typist.name} has fewer words to learn from than a row of {PLACES}"
            )
    parts = [*train, *test]
    x, y = (np.concatenate([getattr(part, name) for part in parts]) for name in ("x", "y"))
    owned = _numbered(parts)
    everyones = np.concatenate(owned[len(train) :])
    if not len(everyones):
        raise FleetDataError(f"{data.name}: no device holds out a row of {PLACES} words; give longer texts")
    drawn = np.sort(np.random.default_rng([seed, 1]).permutation(everyones)[:GLOBAL_ROWS])
    public_x, public_y = public_rows(public, chosen_texts(public, seed=seed))
    return FleetData(
        name="keyboard" if folder is None else data.name,
        description=f"{data.name}, {len(data.typists)} devices, each with the texts of one writer, the last "
        f"fifth held out; {len(words):,} words; public set: beginnings of {len(public_x)} public texts",
        classes=len(words),
        device_names=tuple(typist.name for typist in data.typists),
        families=FamilyColumn.in_turn(families, devices=len(data.typists)),
        x=x,
        y=y,
        train=DeviceRows.of(owned[: len(train)]),
        test=DeviceRows.of(owned[len(train) :]),
        public_x=public_x,
        public_y=public_y,
        global_x=x[drawn],
        global_y=y[drawn],
        files={VOCABULARY_FILE: words.to_json()},
    )


def chosen_texts(public: Sequence[Sequence[int]], *, seed: int) -> IntArray:
    """The numbers of the public texts, as long as a row at least, that make the public set; in order."""
    long = np.array([number for number, text in enumerate(public) if len(text) >= PLACES], np.int64)
    if not len(long):
        raise FleetDataError(f"the public texts: none has {PLACES} words or more; give longer ones")
    return np.sort(np.random.default_rng([seed, 2]).permutation(long)[:PUBLIC_ROWS])


def public_rows(public: Sequence[Sequence[int]], chosen: IntArray) -> tuple[IntArray, IntArray]:
    """What is seen and what comes next at the beginnings of the chosen texts: [n, PLACES] each."""
    said = np.array([[START, *public[number][:PLACES]] for number in chosen], np.int64)
    return said[:, :-1].copy(), said[:, 1:].copy()


def _numbered(parts: Sequence[WordRows]) -> list[IntArray]:
    """The rows of each part in the table of all."""
    ends = np.cumsum([len(part.x) for part in parts])
    return [np.arange(end - len(part.x), end) for part, end in zip(parts, ends, strict=True)]
