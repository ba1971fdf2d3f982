"""Homes whose people are understood: a device is one home's, and observes what was said and meant there."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from fedstill_client.store import PrivateStore
from fedstill_proto.text.ngrams import NgramHashing

Said = tuple[str, str]  # a text, and its intent


@dataclass(frozen=True)
class Homes:
    """A task of fleet.py: `said` are the utterances of each home, with intents that `public` names."""

    public: Sequence[Said]
    said: Sequence[Sequence[Said]]
    test: Sequence[Said]
    family: str = "ngrams-small"
    options: dict[str, object] = field(default_factory=dict)  # more of fedstill-server prepare

    @property
    def names(self) -> Sequence[str]:
        return [f"home-{number}" for number in range(len(self.said))]

    @property
    def families(self) -> Sequence[str]:
        return [self.family] * len(self.said)

    def prepare_options(self, folder: Path) -> dict[str, object]:
        files = {"--public": folder / "public.csv", "--test": folder / "test.csv"}
        for file, said in zip(files.values(), (self.public, self.test), strict=True):
            with file.open("w", newline="", encoding="utf-8") as opened:
                csv.writer(opened).writerows([("text", "label"), *said])
        return {**files, **self.options}

    def observe(self, device: int, store: PrivateStore) -> None:
        hashing, intents = NgramHashing(), sorted({intent for _, intent in self.public})
        for text, intent in self.said[device]:
            store.observe(np.asarray(hashing.encode(text), np.float32), intents.index(intent))
