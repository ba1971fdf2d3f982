"""How well a student does on examples of the device's own: mean cross-entropy and right answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from fedstill_proto.soft_labels import FloatArray, IntArray

from fedstill_client.forward import Forward
from fedstill_client.learning.outcome import Judgement

# At a time: logits stay small, and whoever waits for the judge to stop does not wait long.
_ANSWERS_AT_ONCE, _VALUES_AT_ONCE = 1024, 1 << 20


class Judge:
    """Judges students on x [n, *shape] with labels [n, *label_shape]."""

    def __init__(self, forward: Forward, x: FloatArray, labels: IntArray) -> None:
        self._forward, self._x, self._labels = forward, x, labels
        answers = min(_ANSWERS_AT_ONCE, _VALUES_AT_ONCE // forward.manifest.classes)
        self._rows = max(1, answers // math.prod(labels.shape[1:]))

    def judge(self, student: Mapping[str, FloatArray], stop: Callable[[], bool]) -> Judgement | None:
        """The judgement of a student [*shape]; none where `stop` says so in the middle."""
        stacked = {name: array[None] for name, array in student.items()}
        loss, correct = 0.0, 0
        for start in range(0, len(self._x), self._rows):
            if stop():
                return None
            part = slice(start, start + self._rows)
            logits = self._forward.shared(stacked, self._x[part])[0].astype(np.float64)  # [n, ..., K]
            labels = self._labels[part]
            loss += float(_cross_entropy(logits, labels).sum())
            correct += int((logits.argmax(axis=-1) == labels).sum())
        answers = self._labels.size
        return Judgement(loss / max(answers, 1), correct, answers)


def _cross_entropy(logits: npt.NDArray[np.float64], labels: IntArray) -> npt.NDArray[np.float64]:
    """-log softmax(logits)[label], [n, ...]"""
    with np.errstate(invalid="ignore", over="ignore"):  # a student that diverged has a loss of nan
        largest = logits.max(axis=-1, keepdims=True)
        total = np.log(np.exp(logits - largest).sum(axis=-1)) + largest[..., 0]
    return np.asarray(total - np.take_along_axis(logits, labels[..., None], axis=-1)[..., 0])
