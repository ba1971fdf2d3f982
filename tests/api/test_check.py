"""What a network comes to as a student or a teacher, before any run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import fedstill as fs
from fedstill.cli import main


class Turned(nn.Module):
    """Two operators that no graph has, each on a line of its own."""

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.output = nn.Linear(input_shape[0], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        turned = torch.fft.rfft(x).real  # the first
        ranked = torch.linalg.svdvals(x.unsqueeze(-1))  # the second
        return self.output(x) + turned.sum() + ranked.sum()  # type: ignore[no-any-return]


class Normalized(nn.Module):
    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(input_shape[0], 4)
        self.norm = nn.BatchNorm1d(4)
        self.output = nn.Linear(4, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(torch.relu(self.norm(self.hidden(x))))  # type: ignore[no-any-return]


def test_a_network_that_fits_is_told_with_what_it_takes() -> None:
    found = fs.check(Normalized, input_shape=(6,), classes=3, rows=4)

    assert found.fits, found.problems
    assert (found.trained, found.moving, found.frozen) == (6 * 4 + 4 + 8 + 4 * 3 + 3, 8, 0)
    assert found.cost is not None
    assert found.gate is not None
    assert found.cost.update_bytes == 4 * (found.trained + found.moving)
    assert found.cost.step_ms > 0
    assert found.gate.gradients < 2e-4
    assert found.one_at_a_time == ""


def test_every_operator_that_is_missing_is_told_with_its_line() -> None:
    found = fs.check(Turned, input_shape=(6,), classes=3, rows=4)

    assert not found.fits
    lines = Path(__file__).read_text().splitlines()
    for comment in ("# the first", "# the second"):
        line = 1 + next(place for place, text in enumerate(lines) if comment in text)
        assert any(f"test_check.py, line {line}" in missing for missing in found.missing), found.missing


def test_a_teacher_is_asked_for_its_answers_alone() -> None:
    good = fs.check(Turned, input_shape=(6,), classes=3, teacher=True)
    assert good.fits
    assert good.answer_ms > 0

    wrong = fs.check(nn.Linear(6, 4), input_shape=(6,), classes=3, teacher=True)
    assert not wrong.fits
    assert "[16, 4]" in wrong.problems[0]
    assert "[16, 3]" in wrong.problems[0]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        pytest.param(["mlp-small", "--input", "2,2", "--json"], 0, "", id="fits"),
        pytest.param(["mlp-small", "--input", "8,x"], 2, "'8,x' is no shape", id="letters"),
        pytest.param(["mlp-small", "--input", "0"], 2, "each 1 or more", id="nothing"),
        pytest.param(["cnn", "--input", "7", "--classes", "1"], 2, "2 classes", id="one class"),
        pytest.param(["no.such:Net", "--input", "7"], 2, "no module 'no.such'", id="no module"),
    ],
)
def test_the_command_answers_in_one_line(
    words: list[str],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["fedstill", "check", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code or 0) == code
    assert said in err
    assert err.count("\n") == (code == 2)
    if code == 0:
        assert json.loads(out)["fits"]
