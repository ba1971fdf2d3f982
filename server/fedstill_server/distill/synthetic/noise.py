"""Uniform noise: the baseline that examples made with more care must beat."""

from __future__ import annotations

import torch
from fedstill_proto.soft_labels import FloatArray

from fedstill_server.distill.synthetic.interface import Canvas


def noise_examples(canvas: Canvas) -> FloatArray:
    """[count, *shape]."""
    x: FloatArray = canvas.of_unit(torch.rand(canvas.count, canvas.width, generator=canvas.random())).numpy()
    return x
