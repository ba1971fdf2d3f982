"""How well a student does on examples of the device's own: mean cross-entropy and right answers.

A student is scored as it would answer its owner: its logits divided by the package's temperature, with the
device's label prior (see model/label_prior.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray

from fedstill_client.agent_types import Score
from fedstill_client.model.forward import Forward

# At a time: logits stay small, and whoever waits for the evaluator to stop does not wait long.
_ANSWERS_AT_ONCE, _VALUES_AT_ONCE = 1024, 1 << 20


class Evaluator:
    """Scores students on the same examples of the device.

    Args:
        forward: The forward graph of the training artifact.
        x: The examples [n, *shape].
        labels: Their labels [n, *label_shape].
        log_prior: The device's log prior over the classes [K], of the examples that students learn; None
            where it does not count.
        temperature: The temperature that answers are divided by.
    """

    def __init__(
        self,
        forward: Forward,
        x: FloatArray,
        labels: IntArray,
        *,
        log_prior: FloatArray | None = None,
        temperature: float = 1.0,
    ) -> None:
        self._forward, self._x, self._labels = forward, x, labels
        self._log_prior, self._temperature = log_prior, np.float32(temperature)
        answers = min(_ANSWERS_AT_ONCE, _VALUES_AT_ONCE // forward.manifest.classes)
        self._rows = max(1, answers // math.prod(labels.shape[1:]))

    def score(self, student: Mapping[str, FloatArray], stop: Callable[[], bool]) -> Score | None:
        """Score a student.

        Args:
            student: Its parameters [*shape].
            stop: Asked before each chunk of examples.

        Returns:
            The score; None where `stop` said so in the middle.
        """
        stacked = {name: array[None] for name, array in student.items()}
        loss, correct = 0.0, 0
        for start in range(0, len(self._x), self._rows):
            if stop():
                return None
            part = slice(start, start + self._rows)
            logits = self._forward.shared(stacked, self._x[part])[0] / self._temperature  # [n, ..., K]
            answers = logits.astype(np.float64)
            if self._log_prior is not None:
                answers = answers + self._log_prior
            loss += float(_cross_entropy(answers, self._labels[part]).sum())
            correct += int((answers.argmax(axis=-1) == self._labels[part]).sum())
        return Score(loss / max(self._labels.size, 1), correct, self._labels.size)


def _cross_entropy(logits: npt.NDArray[np.float64], labels: IntArray) -> npt.NDArray[np.float64]:
    """-log softmax(logits)[label], [n, ...]"""
    with np.errstate(invalid="ignore", over="ignore"):  # a student that diverged has a loss of nan
        largest = logits.max(axis=-1, keepdims=True)
        total = np.log(np.exp(logits - largest).sum(axis=-1)) + largest[..., 0]
    return np.asarray(total - np.take_along_axis(logits, labels[..., None], axis=-1)[..., 0])
