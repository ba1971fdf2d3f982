"""What a fleet's suggestions are worth, before and after its rounds."""

from __future__ import annotations

from collections.abc import Mapping

from fedstill_proto.arrays import Parameters
from fedstill_proto.text.vocabulary import WordList
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.tasks.interface import Progress

from fedstill_sim.data.fleet import FleetData
from fedstill_sim.tasks.text.data import VOCABULARY_FILE, KeyboardData
from fedstill_sim.tasks.text.evaluation import Models, Suggestions, evaluate_suggestions
from fedstill_sim.tasks.text.models import RecurrentWords, TeacherWords
from fedstill_sim.tasks.text.start import start_keyboard


def measured_suggestions(
    texts: KeyboardData,
    fleet: FleetConfig,
    data: FleetData,
    own_students: Mapping[int, Parameters],
    on_progress: Progress,
    *,
    fleet_students: Mapping[str, Parameters],
) -> Suggestions:
    """How good suggestions are with the students that devices started from, and with those they end with.

    Args:
        texts: What the devices' data are made of.
        fleet: The run's configuration.
        data: The devices' data.
        own_students: The final student of each device that took part, by the device's number.
        on_progress: Told of what is made anew.
        fleet_students: The fleet's own after the rounds, by family.
    """
    words = WordList.from_json(data.files[VOCABULARY_FILE])
    keyboard = start_keyboard(texts, fleet.families, on_progress=on_progress)
    starts = {
        family: RecurrentWords(family, student, words=len(words))
        for family, student in keyboard.students.items()
    }
    fleets = {
        family: RecurrentWords(family, student, words=len(words))
        for family, student in fleet_students.items()
    }

    def models(device: int) -> Models:
        family = data.families[device]
        student = own_students.get(device)
        return Models(
            starts[family],
            None if student is None else RecurrentWords(family, student, words=len(words)),
            fleets.get(family),
        )

    return evaluate_suggestions(texts, words, models, teacher=TeacherWords(keyboard.teacher))
