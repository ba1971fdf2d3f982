"""The assistant as a fleet: devices' utterances as rows of n-grams' numbers, one label each.

The public set are utterances that someone labelled: a part of those that the first students have learned
(see start.py), the same for every seed. In an own folder it is public.csv; if not all of it is labelled,
all of it without a label. Everyone's test set is what all devices hold out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.text.ngrams import NgramHashing

from fedstill_sim.data.columns.families import FamilyColumn
from fedstill_sim.data.fleet import DeviceRows, FleetData, FleetDataError
from fedstill_sim.tasks.utterances.data import AssistantData, Utterance, load_assistant, load_utterances

# Rounds repeat what is done with the public set: fewer utterances than are learned before them.
PUBLIC_ROWS = 1000
EVERYONES_SEED = 0
DEFAULT_DEVICES = 20


def drawn_assistant(*, devices: int, dirichlet: float | None, seed: int) -> AssistantData:
    """The utterances of a run without a folder of one's own; seed and dirichlet are the devices'."""
    return load_assistant(devices=devices, dirichlet=dirichlet, seed=seed, everyones_seed=EVERYONES_SEED)


def load_assistant_fleet(
    folder: Path | None = None,
    *,
    devices: int | None = None,
    dirichlet: float | None = None,
    seed: int = 0,
    families: Sequence[str] = ("ngrams",),
) -> FleetData:
    """Drawn from Home Assistant's sentences, or a folder's utterances; families are dealt out in turn."""
    if folder is None:
        count = DEFAULT_DEVICES if devices is None else devices
        data = drawn_assistant(devices=count, dirichlet=dirichlet, seed=seed)
    else:
        data = load_utterances(folder, seed=seed)
    parts = [speaker.train for speaker in data.speakers] + [speaker.test for speaker in data.speakers]
    ends = np.cumsum([len(part) for part in parts])
    rows = [np.arange(end - len(part), end) for part, end in zip(parts, ends, strict=True)]
    hashing = NgramHashing()
    x, y = _examples([said for part in parts for said in part], hashing)
    public_x, public_y = _public(data, hashing)
    train, test = rows[: len(data.speakers)], rows[len(data.speakers) :]
    everyones = np.concatenate(test)
    return FleetData(
        name=data.name,
        description=f"{data.description}; public set: {len(public_x)} utterances",
        classes=len(data.intents),
        device_names=tuple(speaker.name for speaker in data.speakers),
        families=FamilyColumn.in_turn(families, devices=len(data.speakers)),
        x=x,
        y=y,
        train=DeviceRows.of(train),
        test=DeviceRows.of(test),
        public_x=public_x,
        public_y=public_y,
        global_x=x[everyones],
        global_y=y[everyones],
    )


def _public(data: AssistantData, hashing: NgramHashing) -> tuple[FloatArray, IntArray | None]:
    labelled = [*data.labelled, *data.calibration]
    if data.test:  # drawn: one language after another, so of each as many
        return _examples(data.labelled[:: max(1, len(data.labelled) // PUBLIC_ROWS)], hashing)
    if labelled and not data.public:
        return _examples(data.labelled, hashing)
    texts = [each.text for each in labelled] + list(data.public)
    if not texts:
        raise FleetDataError(f"{data.name}: no public utterance")
    return np.asarray(hashing.encode_all(texts), np.float32), None


def _examples(said: Sequence[Utterance], hashing: NgramHashing) -> tuple[FloatArray, IntArray]:
    """x [n, places] and y [n]."""
    x = np.asarray(hashing.encode_all(each.text for each in said), np.float32)
    return x, np.array([each.intent for each in said], np.int64)
