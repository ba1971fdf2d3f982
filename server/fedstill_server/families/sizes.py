"""Widths that a family's name holds: mlp-64-32, cnn-4-8, gru-80-224. Read without torch."""

from __future__ import annotations

import re

_CLASSIFIER = re.compile(r"(mlp|cnn)((?:-[1-9]\d{0,3})+)")
_TEXT = re.compile(r"gru-([1-9]\d{0,3})-([1-9]\d{0,3})")
_MOST_LAYERS = 16


def widths_of(family: str) -> tuple[str, tuple[int, ...]] | None:
    """("mlp", (64, 32)) of mlp-64-32; None for a name of another form."""
    match = _CLASSIFIER.fullmatch(family)
    if match is None:
        return None
    kind, widths = match[1], tuple(int(width) for width in match[2].split("-")[1:])
    holds = len(widths) == 2 if kind == "cnn" else len(widths) <= _MOST_LAYERS
    return (kind, widths) if holds else None


def text_widths_of(family: str) -> tuple[int, int] | None:
    """(80, 224) of gru-80-224, of a word and of the state; None for a name of another form."""
    match = _TEXT.fullmatch(family)
    return None if match is None else (int(match[1]), int(match[2]))
