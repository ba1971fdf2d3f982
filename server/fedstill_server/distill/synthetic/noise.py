"""Noise: the baseline that examples made with more care must beat.

Each value is uniform, or, with a contrast above 0, the logistic function of contrast times a normal number:
the larger it is, the nearer to either end.
"""

from __future__ import annotations

import torch
from fedstill_proto.arrays import FloatArray

from fedstill_server.distill.synthetic.interface import Canvas


def noise_examples(canvas: Canvas, *, contrast: float = 0.0) -> FloatArray:
    """Examples [count, *shape] of noise."""
    size, random = (canvas.count, canvas.width), canvas.random()
    if contrast:
        values = torch.sigmoid(contrast * torch.randn(size, generator=random))
    else:
        values = torch.rand(size, generator=random)
    x: FloatArray = canvas.of_unit(values).numpy()
    return x
