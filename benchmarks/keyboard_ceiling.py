"""What rounds could bring a keyboard at most: a part of benchmarks/keyboard.py.

A student goes on learning, in one place, the public texts and the training texts of all devices, which no
fleet would send; another one as long, the public texts alone. What the first is ahead on held-out texts is
what devices have to learn from each other; rounds that send labels, or parameters, can come near that and no
further. Both are held against reading one's own texts, which costs nothing. Last, what the mean of devices'
soft labels would be worth if a server knew it of every place, and not of some public ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from fedstill_proto.arrays import Parameters
from fedstill_proto.text.vocabulary import START
from fedstill_server.families import build_student
from fedstill_server.families.language import GatedRecurrentNetwork
from fedstill_server.tasks.text.keyboard import Keyboard
from fedstill_server.tasks.text.teacher import next_words
from fedstill_server.tasks.text.training import TextPlan, train_text
from fedstill_server.training.networks import load_parameters, parameters_of
from fedstill_sim.tasks.text.data import KeyboardData, Typist
from fedstill_sim.tasks.text.evaluation import changes_of, in_words
from fedstill_sim.tasks.text.measures import Tally, measure
from fedstill_sim.tasks.text.models import RecurrentWords
from fedstill_sim.tasks.text.personal import impersonal, personal
from torch import Tensor

ALONE = TextPlan(
    epochs=2,
    learning_rate=1e-3,
    batch_size=8,
    places=16,
    output_dropout=0.3,
    input_dropout=0.2,
    weight_decay=0.0,
)
MOVES = (1, 3, 10)
WORDS = 64  # of a device
GOING_ON = TextPlan(epochs=4, learning_rate=2e-3, output_dropout=0.3, input_dropout=0.2)


def ceiling(
    data: KeyboardData, keyboard: Keyboard, family: str, told: Callable[[str], None]
) -> dict[str, Any]:
    """Compare the student with one that learned everyone's texts, without and with devices' own words."""
    words = keyboard.words
    taught = {
        "public texts": keyboard.texts,
        "everyone's texts": [*_encoded(keyboard, *data.typists), *keyboard.texts],
    }
    students = {"start": keyboard.students[family]}
    for name, texts in taught.items():
        told(f"a student goes on with {name}")
        students[name] = _learned(keyboard, family, texts, GOING_ON)
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
    labels = _mean_of_labels(data, keyboard, family, told)
    for what, found in (("own words read", perplexities), ("of what devices' own students say", labels)):
        figures = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
        lines.append(f"  perplexity, {what}: {figures}")
    of_all = {name: {figure: asdict(change) for figure, change in of.items()} for name, of in changes.items()}
    return {"lines": lines, "changes": of_all, "perplexities": perplexities, "labels": labels}


def _mean_of_labels(
    data: KeyboardData, keyboard: Keyboard, family: str, told: Callable[[str], None]
) -> dict[str, float]:
    """What soft labels could teach at most: the perplexity of devices' own students together.

    Each goes on with one device's training texts. The mean of their chances, and the start moved along the
    mean of their log chances, are held against the first words that every device holds out.
    """
    x, y = _first_words(data, keyboard)

    def says(parameters: Parameters) -> Tensor:
        network = _network(keyboard, family, parameters)
        return next_words(network, x).clamp_min(1e-30).log()

    start = says(keyboard.students[family])
    mean, move, devices = torch.zeros_like(start), torch.zeros_like(start), len(data.typists)
    for device, typist in enumerate(data.typists):
        told(f"device {device + 1} of {devices} learns alone")
        log = says(_learned(keyboard, family, _encoded(keyboard, typist), ALONE))
        mean += log.exp() / devices
        move += (log - start) / devices
    moved = {f"their mean move, {times} times": start + times * move for times in MOVES}
    return {
        name: _perplexity(log, y)
        for name, log in {"start": start, "mean of chances": mean.log(), **moved}.items()
    }


def _first_words(data: KeyboardData, keyboard: Keyboard) -> tuple[Tensor, Tensor]:
    """The first words [devices, WORDS] that devices hold out, and what comes after each."""
    rows = []
    for typist in data.typists:
        words = [w for text in typist.test for w in (START, *keyboard.words.encode(text))]
        if len(words) > WORDS:
            rows.append(words[: WORDS + 1])
    said = torch.tensor(rows)
    return said[:, :-1], said[:, 1:]


def _perplexity(log: Tensor, y: Tensor) -> float:
    """The perplexity of words; that a text ends is not one."""
    chances = torch.log_softmax(log, -1).gather(-1, y.unsqueeze(-1)).squeeze(-1)
    return math.exp(-float(chances[y != START].mean()))


def _encoded(keyboard: Keyboard, *typists: Typist) -> list[list[int]]:
    texts = (keyboard.words.encode(text) for typist in typists for text in typist.train)
    return [list(numbers) for numbers in texts if numbers]


def _network(keyboard: Keyboard, family: str, parameters: Parameters) -> GatedRecurrentNetwork:
    network = load_parameters(build_student(family, (1,), len(keyboard.words), seed=0), parameters)
    assert isinstance(network, GatedRecurrentNetwork)
    return network.eval()


def _learned(keyboard: Keyboard, family: str, texts: Sequence[Sequence[int]], plan: TextPlan) -> Parameters:
    """The student that devices start from, once it has learned these texts, too."""
    student = _network(keyboard, family, keyboard.students[family])
    return parameters_of(train_text(student, texts, plan, seed=0))
