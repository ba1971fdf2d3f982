"""A fleet of text for the server's tests: a few words, rows of three, and devices that answer by script."""

from __future__ import annotations

from typing import Any

import numpy as np
from fedstill_proto.messages import Optimizer, RoundTask, SoftLabelSummary, TrainingPlan
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.label_arrays import TopKSoftLabels
from fedstill_server.config.fleet import FleetConfig, TeacherConfig
from fedstill_server.data.examples import Examples
from fedstill_server.methods import completed
from fedstill_server.methods.checks import checked_fleet
from fedstill_server.tasks import choice_of
from fedstill_server.tasks.text.task import TextTask

WORDS, PLACES, KEPT = 6, 3, 2
CODEC = SoftLabelCodec(Encoding.TOP_K, KEPT)


def text_config(method: str = "next-words", **changes: Any) -> FleetConfig:
    settings: dict[str, Any] = {
        "run": "0123abcd",
        "method": completed(method, {}),
        "rounds": 3,
        "seed": 5,
        "families": ("gru",),
        "classes": WORDS,
        "input_shape": (PLACES,),
        "public_set": "public.npz",
        "training": TrainingPlan(1, 2, 0.125, Optimizer.SGD, 1.0, 0.5, seed=5),
        "teacher": TeacherConfig(
            epochs=30, student_epochs=30, round_epochs=1, batch_size=2, learning_rate=0.01, temperature=1.0
        ),
        "uplink": CODEC,
        "downlink": CODEC,
        "task": choice_of(TextTask(step_vocabulary=WORDS, teacher_width=8, teacher_state_width=8, kept=KEPT)),
    }
    return checked_fleet(FleetConfig(**{**settings, **changes}))


def counting_rows(rows: int = 4) -> Examples:
    """2 3 4 5 2 3 ...: after a word comes the next one."""
    stream = 2 + np.arange(rows * PLACES + 1) % (WORDS - 2)
    return Examples(stream[:-1].reshape(rows, PLACES), stream[1:].reshape(rows, PLACES))


def answer_of(task: RoundTask, labels: TopKSoftLabels) -> SoftLabelSummary:
    from fedstill_proto.messages import PrivateStatistics

    statistics = PrivateStatistics(soft_labels=labels)
    return SoftLabelSummary(task.run, task.round, task.family, task.request.kind, statistics)


def top_two(*rows: tuple[int, float, int, float]) -> TopKSoftLabels:
    """Rows of a word and its chance, and another word, of a higher number, and its chance."""
    table = np.array(rows)
    return TopKSoftLabels(table[:, ::2].astype(np.int64), table[:, 1::2].astype(np.float32), WORDS)
