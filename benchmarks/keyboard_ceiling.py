"""What rounds could bring a keyboard at most: a part of benchmarks/keyboard.py.

A student goes on learning, in one place, the public texts and the training texts of all devices, which no
fleet would send. What it gains on held-out texts is what devices have to learn from each other; rounds that
send labels, or parameters, can come near that and no further.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fedstill_proto.arrays import Parameters
from fedstill_server.families import build_student
from fedstill_server.families.language import GatedRecurrentNetwork
from fedstill_server.tasks.text.keyboard import Keyboard
from fedstill_server.tasks.text.training import TextPlan, train_text
from fedstill_server.training.networks import load_parameters, parameters_of
from fedstill_sim.tasks.text.data import KeyboardData
from fedstill_sim.tasks.text.evaluation import changes_of, in_words
from fedstill_sim.tasks.text.measures import measure
from fedstill_sim.tasks.text.models import RecurrentWords
from fedstill_sim.tasks.text.personal import impersonal, personal

GOING_ON = TextPlan(epochs=6, learning_rate=2e-3, output_dropout=0.3, input_dropout=0.2)


def ceiling(
    data: KeyboardData, keyboard: Keyboard, family: str, told: Callable[[str], None]
) -> dict[str, Any]:
    """Compare the student with one that learned everyone's texts, without and with devices' own words."""
    words = keyboard.words
    start = RecurrentWords(family, keyboard.students[family], words=len(words))
    everyones = RecurrentWords(family, _taught_everything(data, keyboard, family, told), words=len(words))
    told("typing what devices held out")
    before = [measure(impersonal(words, start), typist.test) for typist in data.typists]
    after = {
        "everyone's texts": [measure(impersonal(words, everyones), typist.test) for typist in data.typists],
        "and own words, as typed": [
            measure(personal(words, everyones, typist), typist.test, observes=True) for typist in data.typists
        ],
    }
    changes = {name: changes_of(before, tallies) for name, tallies in after.items()}
    lines = ["a student that learned the training texts of all devices, against the one they start from:"]
    lines += [f"  {name}: token_top3 {in_words(of['token_top3'])}" for name, of in changes.items()]
    of_all = {name: {figure: asdict(change) for figure, change in of.items()} for name, of in changes.items()}
    return {"lines": lines, "changes": of_all}


def _taught_everything(
    data: KeyboardData, keyboard: Keyboard, family: str, told: Callable[[str], None]
) -> Parameters:
    student = load_parameters(
        build_student(family, (1,), len(keyboard.words), seed=0), keyboard.students[family]
    )
    assert isinstance(student, GatedRecurrentNetwork)
    private = [keyboard.words.encode(text) for typist in data.typists for text in typist.train]
    texts = [*filter(None, private), *keyboard.texts]
    train_text(
        student,
        texts,
        GOING_ON,
        seed=0,
        on_epoch=lambda done, epochs, loss: told(f"everyone's texts: {done} of {epochs} epochs"),
    )
    return parameters_of(student)
