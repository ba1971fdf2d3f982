"""A keyboard's part of a run: what its rounds start with, and what suggestions are worth after them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fedstill_proto.arrays import Parameters
from fedstill_proto.text.vocabulary import WordList
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.tasks.interface import Progress

from fedstill_sim.config import RunConfig
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.progress import RunProgress
from fedstill_sim.tasks.text.data import KeyboardData, load_keyboard
from fedstill_sim.tasks.text.evaluation import Models, Suggestions, evaluate_suggestions
from fedstill_sim.tasks.text.models import RecurrentWords, TeacherWords
from fedstill_sim.tasks.text.start import first_state, start_keyboard


def start_rounds(folder: Path, config: RunConfig, progress: RunProgress) -> None:
    """Commit round 0: students that were distilled from the whole of the public texts."""
    store = RunStore(folder)
    try:
        if store.latest() is None:
            keyboard = start_keyboard(texts_of(config), config.fleet.families, on_progress=told(progress))
            store.commit(0, first_state(config.fleet, keyboard))
    finally:
        store.close()


def measured_suggestions(
    config: RunConfig, data: FleetData, own_students: Mapping[int, Parameters], progress: RunProgress
) -> Suggestions:
    """How good suggestions are with the students that devices started from, and with those they end with.

    Args:
        own_students: The final student of each device that took part, by the device's number.
    """
    assert data.vocabulary is not None
    words, texts = WordList.from_json(data.vocabulary), texts_of(config)
    keyboard = start_keyboard(texts, config.fleet.families, on_progress=told(progress))
    starts = {
        family: RecurrentWords(family, student, words=len(words))
        for family, student in keyboard.students.items()
    }

    def models(device: int) -> Models:
        family = data.families[device]
        student = own_students.get(device)
        return Models(
            starts[family],
            None if student is None else RecurrentWords(family, student, words=len(words)),
        )

    return evaluate_suggestions(texts, words, models, teacher=TeacherWords(keyboard.teacher))


def texts_of(config: RunConfig) -> KeyboardData:
    """The texts that a run's data is made of."""
    simulation = config.simulation
    return load_keyboard(None if simulation.data is None else Path(simulation.data)).of(simulation.devices)


def told(progress: RunProgress) -> Progress:
    """Shows what is being made, where that was not made before."""
    return lambda what, done, total: progress.phase(f"{what}: {done} of {total}")
