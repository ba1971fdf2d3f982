"""Sizes that a family's name holds: mlp-64-32, cnn-4-8; of text gru-80-224, ssm-64-128, transformer-64-4-2.

Read without torch.
"""

from __future__ import annotations

import re

_CLASSIFIER = re.compile(r"(mlp|cnn)((?:-[1-9]\d{0,3})+)")
_TEXT = re.compile(r"(gru|ssm|transformer)((?:-[1-9]\d{0,3})+)")
_TEXT_SIZES = {"gru": (2,), "ssm": (2, 3), "transformer": (3,)}  # how many numbers a name has
_MOST_LAYERS = 16


def widths_of(family: str) -> tuple[str, tuple[int, ...]] | None:
    """("mlp", (64, 32)) of mlp-64-32; None for a name of another form."""
    match = _CLASSIFIER.fullmatch(family)
    if match is None:
        return None
    kind, widths = match[1], tuple(int(width) for width in match[2].split("-")[1:])
    holds = len(widths) == 2 if kind == "cnn" else len(widths) <= _MOST_LAYERS
    return (kind, widths) if holds else None


def text_sizes_of(family: str) -> tuple[str, tuple[int, ...]] | None:
    """What the name of a family of text holds; None for a name of another form.

    ("gru", (80, 224)) is of gru-80-224: the widths of a word and of the state. ("ssm", (64, 128)) is the
    width of a word and the channels of a block; a third number is how many blocks there are. ("transformer",
    (64, 4, 2)) is the width, the heads and the blocks.
    """
    match = _TEXT.fullmatch(family)
    if match is None:
        return None
    kind, sizes = match[1], tuple(int(size) for size in match[2].split("-")[1:])
    blocks = sizes[2] if len(sizes) == 3 else 1
    return (kind, sizes) if len(sizes) in _TEXT_SIZES[kind] and blocks <= _MOST_LAYERS else None


def text_widths_of(family: str) -> tuple[int, int] | None:
    """(80, 224) of gru-80-224, of a word and of the state; None for a name of another form."""
    sized = text_sizes_of(family)
    return (sized[1][0], sized[1][1]) if sized is not None and sized[0] == "gru" else None
