"""The benchmark of trained students: its text can be learned, and its verdict can fail."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import student_agreement
from benchmarks.student_agreement import generated_words, main, read_words


def test_a_generated_text_is_the_same_for_a_seed_and_has_common_words() -> None:
    words = generated_words(120, 5_000, seed=3)

    assert np.array_equal(words, generated_words(120, 5_000, seed=3))
    assert not np.array_equal(words, generated_words(120, 5_000, seed=4))
    counts = np.bincount(words, minlength=120)
    assert counts[:12].sum() > 0.4 * len(words)  # the most common word of each of the 12 kinds


def test_words_of_a_file_are_numbered_by_how_common_they_are(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("To be, or not to be. To sleep!")

    assert read_words(file, 4).tolist() == [1, 2, 3, 0, 0, 1, 2, 0, 1, 0, 0]


def test_the_command_prints_its_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = tmp_path / "figures.json"
    asked = ["--families", "mlp-small", "--epochs", "8", "--json", str(figures)]

    assert main(asked) == 0
    assert "MET: every family" in capsys.readouterr().out
    (row,) = json.loads(figures.read_text())["families"]
    assert row["answers"] == 531
    assert row["accuracy"] > 0.8
    assert 0 < row["divergence"] < 1e-3

    monkeypatch.setattr(student_agreement, "LEAST_SAME", 1.01)
    assert main(asked) == 1
    assert "MISSED: mlp-small" in capsys.readouterr().out
