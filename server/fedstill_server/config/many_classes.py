"""Soft labels of many classes: only the likeliest travel, unless somebody says otherwise.

Of 1,000 classes nearly all have next to no probability, and most bytes tell of those. So from more than 128
classes on the 4 likeliest travel, both ways, with the mass of the rest. What is told is learned by teacher,
starting students and devices alike, the rest spread evenly over the other classes: a loss over the named ones
and one bucket exerts no pull within the rest, and cost 24 points of global accuracy. docs/codec.md has what
was measured. Of very many classes, soft labels that are spread would fill a device's memory.
"""

from __future__ import annotations

from dataclasses import replace

from fedstill_proto.package.target import Target
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec

FEW_CLASSES = 128
KEPT = 4
_MOST_SPREAD = 4096


def usual_codec(codec: SoftLabelCodec, classes: int, target: Target) -> SoftLabelCodec:
    """How soft labels of so many classes travel where nobody says, of the codec that suits few."""
    if target.is_regression:
        return SoftLabelCodec(Encoding.GAUSSIAN)
    if not target.is_single:
        return replace(codec, delta=False)
    if classes <= FEW_CLASSES or codec.k:
        return codec
    if codec.encoding is Encoding.LEVELS:
        return replace(codec, k=KEPT)
    return SoftLabelCodec(Encoding.TOP_K, KEPT)


def spreads_rest(codec: SoftLabelCodec, classes: int) -> bool:
    """Whether everyone learns what travels in `codec` with the rest spread evenly over the other classes."""
    return FEW_CLASSES < classes <= _MOST_SPREAD and codec.kept(classes) > 0
