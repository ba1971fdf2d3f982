"""What rounds could bring a keyboard at most: a part of benchmarks/keyboard.py.

A student goes on learning, in one place, the public texts and the training texts of all devices, which no
fleet would send; another one as long, the public texts alone. What the first is ahead on held-out texts is
what devices have to learn from each other; rounds that send labels, or parameters, can come near that and no
further. Both are held against reading one's own texts, which costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from fedstill_sim.tasks.text.measures import Tally, measure
from fedstill_sim.tasks.text.models import RecurrentWords
from fedstill_sim.tasks.text.personal import impersonal, personal

GOING_ON = TextPlan(epochs=4, learning_rate=2e-3, output_dropout=0.3, input_dropout=0.2)


def ceiling(
    data: KeyboardData, keyboard: Keyboard, family: str, told: Callable[[str], None]
) -> dict[str, Any]:
    """Compare the student with one that learned everyone's texts, without and with devices' own words."""
    words = keyboard.words
    own = [numbers for typist in data.typists for text in typist.train if (numbers := words.encode(text))]
    students = {
        "start": keyboard.students[family],
        "public texts": _going_on(keyboard, family, [], told),
        "everyone's texts": _going_on(keyboard, family, own, told),
    }
    told("typing what devices held out")
    alone, as_typed = {}, {}
    for name, parameters in students.items():
        model = RecurrentWords(family, parameters, words=len(words))
        alone[name] = [measure(impersonal(words, model), typist.test) for typist in data.typists]
        as_typed[name] = [
            measure(personal(words, model, typist), typist.test, observes=True) for typist in data.typists
        ]
    changes = {
        f"{name}{what}": changes_of(tallies["start"], tallies[name])
        for what, tallies in (("", alone), (", own words read by both", as_typed))
        for name in ("public texts", "everyone's texts")
    }
    lines = ["a student that went on to learn these texts, against the one that devices start from:"]
    lines += [
        f"  {name}: {figure} {in_words(of[figure])}"
        for name, of in changes.items()
        for figure in ("token_top3", "top3")
    ]
    perplexities = {name: sum(tallies, Tally()).perplexity for name, tallies in as_typed.items()}
    lines.append(
        "  perplexity, own words read: " + ", ".join(f"{n} {value:.1f}" for n, value in perplexities.items())
    )
    of_all = {name: {figure: asdict(change) for figure, change in of.items()} for name, of in changes.items()}
    return {"lines": lines, "changes": of_all, "perplexities": perplexities}


def _going_on(
    keyboard: Keyboard, family: str, own: Sequence[Sequence[int]], told: Callable[[str], None]
) -> Parameters:
    student = load_parameters(
        build_student(family, (1,), len(keyboard.words), seed=0), keyboard.students[family]
    )
    assert isinstance(student, GatedRecurrentNetwork)
    train_text(
        student,
        [*own, *keyboard.texts],
        GOING_ON,
        seed=0,
        on_epoch=lambda done, epochs, loss: told(f"{len(own)} more texts: {done} of {epochs} epochs"),
    )
    return parameters_of(student)
