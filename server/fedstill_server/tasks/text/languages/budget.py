"""How a keyboard is made within minutes: how long each way takes on this machine, and which way fits.

The work of a training is counted in multiplications and additions; how many a second this machine does is
tried in a moment. What was chosen once for the same texts and minutes is written down, so that whoever goes
on after a kill chooses the same.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from fedstill_proto.system.files import SHARED, replace_file

from fedstill_server.families.language import GatedRecurrentNetwork
from fedstill_server.families.sizes import text_widths_of
from fedstill_server.tasks.text.keyboard import KeyboardPlan
from fedstill_server.tasks.text.training import TextPlan, train_text
from fedstill_server.training.networks import one_deterministic_thread

_LONG_LIST = 3_000  # entries, from which on a softmax is over candidates
_CANDIDATES_SHARE, _FEWEST_CANDIDATES, _MOST_CANDIDATES = 10, 1_000, 3_000  # one entry in ten
_TOLD_WORDS = 1.5  # softmax over all words with soft labels takes so much longer than without
_SMALL_TEXT = 200_000  # words, below which one network teaches as well as two
_FEWEST_EPOCHS = 2
_SPARE = 0.85  # of the minutes, for what is not training
_TRIED_WORDS, _TRIED_TEXTS, _TRIED_LENGTH = 4_000, 16, 31


@dataclass(frozen=True, kw_only=True)
class KeyboardChoice:
    """How a keyboard is made.

    Attributes:
        plan: Of the keyboard, whose students are taught or learn alone.
        taught: Whether they have a teacher.
        minutes: That it takes, about.
        taught_minutes: That it would take with a teacher.
    """

    plan: KeyboardPlan
    taught: bool
    minutes: float
    taught_minutes: float


def chosen_plan(plan: KeyboardPlan, *, tokens: int, words: int, minutes: float, kept: Path) -> KeyboardChoice:
    """The plan with which a keyboard of so many tokens and words is made within minutes.

    kept: the file in which choices are written down.
    """
    if tokens < _SMALL_TEXT:
        plan = replace(plan, networks=1)
    drawn = min(max(words // _CANDIDATES_SHARE, _FEWEST_CANDIDATES), _MOST_CANDIDATES)
    alone = replace(plan.alone, candidates=drawn if words > _LONG_LIST else 0)
    plan = replace(plan, alone=alone, apart=True)
    known = _read(kept)
    name = f"{tokens} tokens, {words} words, {minutes:g} minutes, {' '.join(plan.families)}"
    speed = known.get(name) or _operations_a_second()
    seconds = {
        taught: sum(_operations(plan, taught=taught, tokens=tokens, words=words)) / speed
        for taught in (False, True)
    }
    replace_file(kept, json.dumps({**known, name: speed}).encode(), mode=SHARED)
    within = minutes * 60 * _SPARE
    taught = sum(seconds.values()) <= within
    if not taught and seconds[False] > within:
        epochs = max(_FEWEST_EPOCHS, int(alone.epochs * within / seconds[False]))
        plan = replace(plan, alone=replace(alone, epochs=min(alone.epochs, epochs)))
        seconds[False] *= plan.alone.epochs / alone.epochs
    whole = sum(seconds.values()) / 60
    return KeyboardChoice(
        plan=plan,
        taught=taught,
        minutes=whole if taught else seconds[False] / 60,
        taught_minutes=whole / _SPARE,
    )


def _operations(plan: KeyboardPlan, *, taught: bool, tokens: int, words: int) -> list[float]:
    """Multiplications and additions of each training."""
    sizes = [text_widths_of(family) or (64, 64) for family in plan.families]
    if not taught:
        return [
            _of_training(plan.alone, width, state, tokens, min(words, 3 * plan.alone.candidates or words))
            for width, state in sizes
        ]
    networks = [
        _of_training(plan.teaching, plan.width, plan.state_width, tokens, words) for _ in range(plan.networks)
    ]
    students = [
        _TOLD_WORDS * _of_training(plan.distilling, width, state, tokens, words) for width, state in sizes
    ]
    return [*networks, *students]


def _of_training(plan: TextPlan, width: int, state: int, tokens: int, words: int) -> float:
    of_place = width * words + 3 * state * (width + state) + state * width
    return 3.0 * plan.epochs * tokens * of_place  # forward, and twice backward


def _operations_a_second() -> float:
    """Of a short training."""
    texts = [
        [2 + (7 * n + 3 * place) % (_TRIED_WORDS - 2) for place in range(_TRIED_LENGTH)]
        for n in range(_TRIED_TEXTS)
    ]
    plan = TextPlan(epochs=1, batch_size=16)
    fastest = float("inf")
    with one_deterministic_thread(), torch.random.fork_rng(devices=[]):
        network = GatedRecurrentNetwork(_TRIED_WORDS, width=80, state_width=224)
        for _ in range(3):
            started = time.perf_counter()
            train_text(network, texts, plan, seed=0)
            fastest = min(fastest, time.perf_counter() - started)
    tokens = _TRIED_TEXTS * (_TRIED_LENGTH + 1)
    return _of_training(plan, 80, 224, tokens, _TRIED_WORDS) / fastest


def _read(kept: Path) -> dict[str, float]:
    """What was written down; a file that is missing or damaged says nothing."""
    try:
        found = json.loads(kept.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, int | float) and value > 0}
