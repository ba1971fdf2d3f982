"""Phones whose keyboards learn together: each device's own texts, and public sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedstill_client.store import PrivateStore


@dataclass(frozen=True)
class Phones:
    """A task of fleet.py: `texts` are what was typed on each phone."""

    public: Sequence[str]
    texts: Sequence[Sequence[str]]
    family: str = "gru"
    options: dict[str, object] = field(
        default_factory=dict
    )  # more of fedstill-server prepare; True is a flag

    @property
    def names(self) -> Sequence[str]:
        return [f"phone-{number}" for number in range(len(self.texts))]

    @property
    def families(self) -> Sequence[str]:
        return [self.family] * len(self.texts)

    def prepare_options(self, folder: Path) -> dict[str, object]:
        public = folder / "sentences.txt"
        public.write_text("\n".join(self.public) + "\n", encoding="utf-8")
        return {"--public": public, **self.options}

    def observe(self, device: int, store: PrivateStore) -> None:
        for text in self.texts[device]:
            store.observe_text(text)
