"""The default method: small answers, steps of an even length, and students that know owner and world.

Like public-logits, the server holds one soft label a public example, as centred logits z softened at the
temperature T. Devices start from their family's student s, learn from private labels and softmax(z), and
answer for a batch of public rows. What differs, each for a measured reason:

- Devices answer how far they went, r_i = p_i / p_s (normalized, of soft labels p), instead of where they are.
  Most of what a trained student says is what the server told it; the rest is near 0, takes few bits, and
  loses less to them.
- The server's step has a length of its own. With d the mean of log r_i over devices, less its means over
  classes and rows, carried to the rows nearby (see public_shift.py):

      z <- z + step_t d / rms(d),  step_t = server_step (1 - (1 - last_step) (t - 1) / (rounds - 1))

  Where devices know few classes each, a mean over all of them is tiny, since most do not move; where all
  know everything, it is large. No one rate serves both, and a length does. (Normalized steps: Cutkosky and
  Mehta 2020, arXiv 2002.03305; a server's own step: Reddi et al. 2020, arXiv 2003.00295.)
- Public labels, where they may be used, are pulled at: z <- z + label_anchor (log y / T - z), y being the
  label smoothed by 3 % (Szegedy et al. 2016, arXiv 1512.00567). The fleet's knowledge is added to the
  labels, and what it got wrong leaks away.
- Without such labels, classes that the fleet speaks of most would take all rows. They are kept apart by
  z <- z - class_balance log(K mean_x softmax(z)): as if the public set held all classes alike (ReMixMatch's
  distribution alignment: Berthelot et al. 2020, arXiv 1911.09785).
- A public set of less than `fewest_rows` examples is filled up with rows that every device mixes of its
  examples (fedstill_proto.mixed_rows): where there are few, they and not the answers to them limit what a
  student learns. Devices answer mixed rows like others, in turns of public_batch; no label pulls at them.
- Students may learn z from inputs with noise (`student_noise`). It stood in for more public examples before
  there were mixed ones; beside those it costs a point or two.
- What a device trained for its answer is its owner's student, too, and answers with a part of the device's
  label prior (the client's label_prior.py): it knows its owner and still the world, since half of its loss
  was the fleet's soft labels. Where the fleet misleads a device, that learns alone (own_labels.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Float64Array, IntArray
from fedstill_proto.messages import TrainingPlan
from fedstill_proto.package.target import TargetKind
from fedstill_proto.readers.classes import UNLABELLED
from fedstill_proto.soft_labels.codec_spec import parse_codec

from fedstill_server.config.options import option
from fedstill_server.consensus.aggregation import RowSums
from fedstill_server.methods.interface import MethodDefaults
from fedstill_server.methods.public_shift import LOGITS, PublicShift
from fedstill_server.state import FleetState

_SMOOTHING = 0.03
# A mean shift shorter than this is rounding; it gets no step.
_STILL = 1e-9


class Fedstill(PublicShift):
    line = "how far devices move from the fleet's soft labels of public examples"
    target_kinds = tuple(TargetKind)

    defaults = MethodDefaults(
        temperature=2.0,
        soft_weight=0.5,
        public_batch=320,
        uplink=parse_codec("dense,4bit,log,entropy"),
        round_epochs=10,
        unlabelled_round_epochs=20,
    )
    server_step: float = option(
        0.4,
        "How far the fleet's soft labels move in the first round: root mean square, in softened logits.",
        above=0,
        most=100,
    )
    last_step: float = option(0.2, "Share of that step that is left in the last round.", least=0, most=1)
    label_anchor: float = option(
        0.1,
        "How far they go back to the public labels in each round, where those may be used.",
        least=0,
        most=1,
    )
    class_balance: float = option(
        0.2,
        "Without public labels: how far the public set's classes are made equally frequent; 0 is off.",
        least=0,
        most=1,
    )
    held_out: float = option(
        0.2,
        "Share of its examples on which a device that the fleet misleads judges whether to learn without its "
        "soft labels; 0 never does.",
        least=0,
        most=0.5,
    )
    student_noise: float = option(
        0.0,
        "Noise on the inputs of what students learn on the server, in standard deviations of the public set.",
        least=0,
        most=10,
        of_amounts=True,
    )

    @property
    def training(self) -> TrainingPlan:
        judged = self.config.target.is_single  # others have no label prior that could mislead
        return replace(self.config.training, held_out=self.held_out if judged else 0.0)

    def start(self, state: FleetState) -> FleetState:
        """The teacher's soft labels; nothing, where it has learned nothing."""
        if self.labels is None:
            return self.moved(state, np.zeros((len(self.public), self.coordinates.width)))
        return super().start(state)

    @property
    def relative(self) -> bool:
        return True

    @property
    def input_noise(self) -> float:
        return self.student_noise * float(self.public.x.std())

    def learn(self, state: FleetState, consensus: RowSums, *, round_number: int) -> FleetState:
        """Step along the mean shift, and towards the labels; teacher and starting students learn it."""
        way, share = self.way_of(state, consensus)
        step = self._step(way, share * consensus.freshness, round_number=round_number)
        state = self.moved(state, self._anchored(state.arrays[LOGITS] + step))
        x, soft_labels = self.public.x, self.taught(state)
        state = self.teacher_learns(state, x, soft_labels, round_number=round_number)
        return self.students_learn(
            state, x, soft_labels, round_number=round_number, input_noise=self.input_noise
        )

    def _step(self, way: Float64Array, share: float, *, round_number: int) -> Float64Array:
        """How far a round goes: a step of an even length; of numbers, which all devices move, the way
        itself.
        """
        if self.config.target.is_regression:
            return way * (share * self.step_length(round_number) / self.server_step)
        return stepped(way, share * self.step_length(round_number))

    def step_length(self, round_number: int) -> float:
        """How far a round moves: it falls from server_step to last_step times that in the last round."""
        done = self.config.progress(round_number)
        return self.server_step * (1 - (1 - self.last_step) * done)

    @property
    def labels(self) -> npt.NDArray[Any] | None:
        """The public set's labels, if they may be used."""
        return self.public.y if self.config.use_public_labels else None

    def _anchored(self, logits: Float64Array) -> Float64Array:
        target = self.config.target
        if self.labels is None:
            return balanced(logits, self.class_balance) if target.is_single else logits
        known = self.labels != UNLABELLED if target.is_single else np.ones(len(self.labels), np.bool_)
        rows, anchored = np.flatnonzero(known), logits.copy()
        if target.is_regression:  # what is known of a number is no variance
            labels = anchored[rows]
            labels[:, ::2] = self.labels
        else:
            classes, temperature = self.config.classes, self.training.temperature
            labels = label_logits(self.labels[rows].reshape(-1), classes, temperature=temperature)
            labels = labels.reshape(len(rows), -1)
        anchored[rows] += self.label_anchor * (labels - anchored[rows])
        return anchored


def stepped(way: Float64Array, length: float) -> Float64Array:
    """`way` [rows, classes] with `length` as its root mean square; nothing for a way that leads nowhere."""
    present = float(np.sqrt(np.mean(way * way)))
    return way * (length / present) if present > _STILL else np.zeros_like(way)


def balanced(logits: Float64Array, strength: float) -> Float64Array:
    """`logits` [rows, classes] with the classes' mean shares brought nearer to each other; at 0 unchanged."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = (powers / powers.sum(axis=1, keepdims=True)).mean(axis=0)
    less = strength * np.log(shares)
    nearer: Float64Array = logits - (less - less.mean())
    return nearer


def label_logits(labels: IntArray, classes: int, *, temperature: float) -> Float64Array:
    """The centred logits [n, classes] of labels [n] that are smoothed by 3 %, softened."""
    smooth = (1 - _SMOOTHING) * np.eye(classes)[labels] + _SMOOTHING / classes
    logits = np.log(smooth) / temperature
    return np.asarray(logits - logits.mean(axis=-1, keepdims=True))
