"""What a fleet of keyboards starts its rounds with: the teacher, the first students, the first soft labels.

They are made of the public texts once and for all runs on this machine (fedstill_server.tasks.text.keyboard).
"""

from __future__ import annotations

import numpy as np
from fedstill_proto.soft_labels.label_arrays import TopKSoftLabels
from fedstill_server.config.fleet import ConfigError, FleetConfig
from fedstill_server.methods import distils
from fedstill_server.methods.next_words import arrays_of
from fedstill_server.state import FleetState
from fedstill_server.tasks.interface import Progress
from fedstill_server.tasks.text.keyboard import Keyboard, KeyboardPlan, make_keyboard
from fedstill_server.training.networks import parameters_of

from fedstill_sim.folder import cache_folder
from fedstill_sim.tasks.text.data import KeyboardData
from fedstill_sim.tasks.text.fleet import WORDS, chosen_texts


def keyboard_plan(families: tuple[str, ...]) -> KeyboardPlan:
    """The plan of the keyboards of this machine."""
    return KeyboardPlan(families=families, words=WORDS)


def start_keyboard(data: KeyboardData, families: tuple[str, ...], *, on_progress: Progress) -> Keyboard:
    """Made, or read where it was made before."""
    return make_keyboard(
        data.public, keyboard_plan(families), cache_folder() / "keyboards", on_progress=on_progress
    )


def first_state(config: FleetConfig, keyboard: Keyboard) -> FleetState:
    """The state of round 0: what the whole teacher says of the public rows, and its first network.

    The network stands for the teacher in the rounds, which no count of words learns in.
    """
    begins = np.cumsum([0, *(len(text) + 1 for text in keyboard.texts)])
    places = begins[chosen_texts(keyboard.texts, seed=config.seed)][:, None] + np.arange(*config.input_shape)
    soft, arrays = keyboard.soft_words, {}
    if distils(config.method.name):
        kept = config.downlink.kept(config.classes)
        if kept > soft.named.shape[1]:
            raise ConfigError(
                f"downlink: names {kept} words; a keyboard's teacher names {soft.named.shape[1]}"
            )
        rows = places.reshape(-1)
        named, chances = soft.named[rows, :kept].astype(np.int64), soft.chances[rows, :kept]
        order = np.argsort(named, axis=1)  # a message has them by number, not the likeliest first
        named, chances = np.take_along_axis(named, order, axis=1), np.take_along_axis(chances, order, axis=1)
        arrays = arrays_of(TopKSoftLabels(named, chances, config.classes))
    return FleetState(
        teacher=parameters_of(keyboard.teacher.networks[0]),
        students={family: keyboard.students[family] for family in config.families},
        arrays=arrays,
    )
