"""Tables of texts whose class is the colour in them, and a tiny model that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.server.hub_models import WORDS, save_model

LABELS = {"red": "warm", "blue": "cold"}


def tiny_model(folder: Path, *, words: Sequence[str] = WORDS, **fields: object) -> Path:
    """A BERT of one layer whose rows have up to eight sub-words."""
    sizes = {"layers": 1, "hidden_size": 8, "num_attention_heads": 1, "intermediate_size": 8}
    return save_model(folder, words=words, max_position_embeddings=8, **(sizes | fields))  # type: ignore[arg-type]


def colours_table(file: Path, rows: int, *, seed: int = 0, separator: str = ",") -> Path:
    """Texts such as "the red cat runs", and labels."""
    random = np.random.default_rng(seed)
    lines = [separator.join(("text", "label"))]
    for _ in range(rows):
        colour, animal, does = (
            str(random.choice(words)) for words in (tuple(LABELS), ("cat", "dog", "fox"), ("runs", "sleeps"))
        )
        lines.append(separator.join((f"the {colour} {animal} {does}", LABELS[colour])))
    file.write_text("\n".join(lines) + "\n")
    return file
