"""The benchmark of soft labels of words (benchmarks/keyboard_labels.py), on a few sentences."""

from __future__ import annotations

from pathlib import Path

import pytest
from fedstill_server.tasks.text.keyboard import KeyboardPlan, make_keyboard
from fedstill_server.tasks.text.training import TextPlan

from benchmarks.keyboard_labels import DENSE, LIKELIEST, PAIRS, K, LabelPlan, Setting, labels

SHORT = TextPlan(epochs=1, learning_rate=0.03, batch_size=4, places=8, soft_weight=0.5)
PEOPLE = ("ann", "bob", "eve", "a cat", "a dog", "nobody")
TEXTS = [f"{a} {verb} {b}." for a in PEOPLE for verb in ("sees", "likes", "hears") for b in PEOPLE]


def test_every_setting_is_measured_with_labels_of_every_kind(tmp_path: Path) -> None:
    small = KeyboardPlan(families=(), words=150, networks=1, width=4, state_width=6, teaching=SHORT)
    keyboard = make_keyboard(TEXTS, small, tmp_path)
    plan = LabelPlan(family="gru-4-6", seeds=2, making=SHORT, going_on=SHORT, scratch=SHORT, scratch_texts=10)
    told: list[str] = []

    found, bars = labels(keyboard, [keyboard.words.encode("nobody sees a dog.")], plan, told.append)

    sizes = found["bytes_a_place"]
    assert set(found["perplexity"]) == {"making", "going on", "scratch"}
    assert len(told) == (2 * 3 - 1) + 2 * 5 + 2 * 8
    assert found["perplexity"]["making"]["places"] > found["perplexity"]["scratch"]["places"] > 0
    assert all(len(found["perplexity"]["scratch"][LIKELIEST.format(k)]) == 2 for k in (8, 16, K))
    assert sizes["float32"] > sizes[PAIRS.format(K)] > 0
    assert bars[-1].measured == pytest.approx(sizes["float32"] / sizes[PAIRS.format(K)])
    assert [bar.promised for bar in bars] == [0.01, 0.01, 0.01, 20.0]
    assert "making: labels of" in found["lines"][0]


def test_seeds_are_pairs() -> None:
    setting = Setting("making", 7, {DENSE: [100.0, 200.0], "other": [101.0, 204.0]}, start=[300.0, 310.0])

    assert setting.more("other") == pytest.approx([0.01, 0.02])
    assert setting.more(DENSE) == [0.0, 0.0]
    assert setting.lines()[0] == "making: labels of 7 places, 2 seeds; 305.00 before"
    assert setting.lines()[2].split() == ["other", "152.50", "+1.50", "%", "(+1.00,", "+2.00)"]
