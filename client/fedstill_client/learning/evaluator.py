"""How well a student does on examples of the device's own: mean cross-entropy and right answers.

A student is scored as it would answer: its logits divided by the package's temperature, with as much of the
device's label prior as is likeliest (see label_prior_fit.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray

from fedstill_client.agent_types import Score
from fedstill_client.model.forward import Forward
from fedstill_client.model.label_prior_fit import STRENGTHS, StrengthTally

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
        fitted: Whether the strength of the prior is chosen on the examples here, which no student has learned
            then; otherwise it is the default one.
    """

    def __init__(
        self,
        forward: Forward,
        x: FloatArray,
        labels: IntArray,
        *,
        log_prior: FloatArray | None = None,
        temperature: float = 1.0,
        fitted: bool = True,
    ) -> None:
        self._forward, self._x, self._labels = forward, x, labels
        self._log_prior, self._temperature, self._fitted = log_prior, np.float32(temperature), fitted
        answers = min(_ANSWERS_AT_ONCE, _VALUES_AT_ONCE // forward.manifest.classes)
        self._rows = max(1, answers // math.prod(labels.shape[1:]))

    def score(
        self, student: Mapping[str, FloatArray], stop: Callable[[], bool], *, default_strength: float = 1.0
    ) -> Score | None:
        """Score a student.

        Args:
            student: Its parameters [*shape].
            stop: Asked before each chunk of examples.
            default_strength: How strong the prior is for such a student where nothing else is known.

        Returns:
            The score; None where `stop` said so in the middle.
        """
        stacked = {name: array[None] for name, array in student.items()}
        tally = StrengthTally.zero()
        for start in range(0, len(self._x), self._rows):
            if stop():
                return None
            part = slice(start, start + self._rows)
            logits = self._forward.shared(stacked, self._x[part])[0] / self._temperature  # [n, ..., K]
            tally += StrengthTally.of(logits, self._labels[part], self._log_prior)
        at = tally.likeliest(default_strength)
        if not self._fitted and len(tally.loss) > 1:
            at = int(np.argmin(np.abs(STRENGTHS - default_strength)))
        return Score(float(tally.loss[at]) / max(tally.answers, 1), int(tally.correct[at]), tally.answers)
