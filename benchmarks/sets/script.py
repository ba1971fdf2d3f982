"""Characters of an invented script, in the manner of Omniglot: many classes, few examples of each.

A character is two to four strokes, each a cubic curve between random points. Somebody who writes it moves
each point a little and turns, scales and shifts the whole.
"""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray

SIDE = 16  # pixels
_POINTS = 16  # of a stroke that are inked
_STROKES = 4
_PEN = 0.045  # the ink's spread, as a share of the side


def strokes(*, classes: int, each: int, seed: int = 14) -> tuple[FloatArray, IntArray]:
    """Write every character a few times: x float32 [classes * each, 256] from 0 to 1, y int64.

    Args:
        classes: How many characters the script has.
        each: How many times each is written.
        seed: Decides the script and the hands.
    """
    generator = np.random.default_rng(seed)
    script = generator.uniform(0.12, 0.88, (classes, _STROKES, 4, 2))
    drawn = np.arange(_STROKES) < generator.integers(2, _STROKES, classes, endpoint=True)[:, None]
    y = np.repeat(np.arange(classes, dtype=np.int64), each)
    written = script[y] + generator.normal(0, 0.035, (len(y), _STROKES, 4, 2)) - 0.5
    angle, size = generator.normal(0, 0.15, len(y)), np.exp(generator.normal(0, 0.1, (len(y), 2)))
    turn = np.stack([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
    written = np.einsum("nspc,ncd->nspd", written * size[:, None, None], turn) + 0.5
    written += generator.normal(0, 0.04, (len(y), 1, 1, 2))
    along = np.linspace(0, 1, _POINTS)
    weights = np.stack([(1 - along) ** 3, 3 * along * (1 - along) ** 2, 3 * along**2 * (1 - along), along**3])
    inked = np.einsum("nspc,pt->nstc", written, weights)
    pixels = (np.arange(SIDE) + 0.5) / SIDE
    ink = np.exp(-((inked[..., None] - pixels) ** 2) / (2 * _PEN**2)).astype(np.float32)
    ink[..., 0, :] *= drawn[y][:, :, None, None]
    ink = ink.reshape(len(y), -1, 2, SIDE)
    image = np.einsum("npi,npj->nij", ink[:, :, 0], ink[:, :, 1], optimize=True)
    return np.minimum(image, 1.0).reshape(len(y), -1).astype(np.float32), y
