"""How well a student answers: the examples of the device's own, and public ones as the fleet answers them.

A student is scored as it would answer its owner: its logits divided by the package's temperature, with the
device's label prior (see model/label_prior.py). Where soft labels keep it from forgetting, it is scored on
what it learns, the one part as well as the other:

    loss = (1 - soft_weight) cross-entropy of own labels + soft_weight cross-entropy of public soft labels

so that a student that gains on its owner's examples and loses what the fleet knows is none the better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray

from fedstill_client.agent_types import Score
from fedstill_client.model.forward import Forward
from fedstill_client.model.targets import hard_losses, log_softmax, right_answers

# At a time: logits stay small, and whoever waits for the evaluator to stop does not wait long.
_ANSWERS_AT_ONCE, _VALUES_AT_ONCE = 1024, 1 << 20


@dataclass(frozen=True, eq=False)
class PublicScore:
    """Public examples that a classifier is scored on.

    Attributes:
        x: The examples [n, *shape].
        soft_labels: What the fleet says of them [n, K].
        temperature: What the soft labels were softened at.
        weight: Of their cross-entropy in the loss.
    """

    x: FloatArray
    soft_labels: FloatArray
    temperature: float
    weight: float


class Evaluator:
    """Scores students on the same examples.

    Args:
        forward: The forward graph of the training artifact.
        x: The device's own examples [n, *shape].
        labels: Their labels [n, *label_shape].
        public: Public examples; None scores on the device's own alone.
        log_prior: The device's log prior over the classes [K], of the examples that students learn; None
            where it does not count.
        temperature: The temperature that answers are divided by.
    """

    def __init__(
        self,
        forward: Forward,
        x: FloatArray,
        labels: npt.NDArray[Any],
        *,
        public: PublicScore | None = None,
        log_prior: FloatArray | None = None,
        temperature: float = 1.0,
    ) -> None:
        self._forward, self._x, self._labels, self._public = forward, x, labels, public
        self._log_prior, self._temperature = np.float32(0) if log_prior is None else log_prior, temperature
        answers = min(_ANSWERS_AT_ONCE, _VALUES_AT_ONCE // forward.manifest.classes)
        self._target = forward.manifest.target
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
        own, public, correct = 0.0, 0.0, 0
        for part in self._parts(self._x):
            if stop():
                return None
            logits = self._forward.shared(stacked, self._x[part])[0]  # [n, ..., K]
            answers, labels = logits / np.float32(self._temperature) + self._log_prior, self._labels[part]
            own += float(hard_losses(self._target, answers, labels).sum())
            correct += int(right_answers(self._target, answers, labels).sum())
        loss = own / max(self._labels.size, 1)
        if self._public is not None:
            for part in self._parts(self._public.x):
                if stop():
                    return None
                logits = self._forward.shared(stacked, self._public.x[part])[0] + self._log_prior  # [n, K]
                log_answers = log_softmax(logits / np.float32(self._public.temperature))
                public -= float((self._public.soft_labels[part] * log_answers).sum())
            weight = self._public.weight
            loss = (1 - weight) * loss + weight * public / len(self._public.x)
        return Score(loss, correct, self._labels.size)

    def _parts(self, x: FloatArray) -> list[slice]:
        return [slice(start, start + self._rows) for start in range(0, len(x), self._rows)]
