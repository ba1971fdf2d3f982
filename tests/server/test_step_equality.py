"""Training steps equal torch's: cells of benchmarks/step_equality.py in which every two choices meet."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from fedstill_proto.messages import Optimizer
from fedstill_server.families import ARRAYS, FAMILIES, TEXT

from benchmarks.step_equality import LOSSES, Cell, covering_cells, examine, main


@pytest.mark.parametrize(
    "cell", covering_cells(), ids=lambda cell: f"{cell.family}-{cell.optimizer.value}-{cell.loss}"
)
def test_fifty_steps_are_those_of_torch_in_float64(cell: Cell) -> None:
    result = examine(cell)

    assert result["holds"], result
    assert result["gradients"]["artifact"] <= 2e-6


def test_every_two_choices_meet() -> None:
    families = (*FAMILIES.of_task(ARRAYS), *FAMILIES.of_task(TEXT))
    cells = [(cell.family, cell.optimizer, cell.loss) for cell in covering_cells()]

    for (i, first), (j, second) in itertools.combinations(enumerate((families, Optimizer, LOSSES)), 2):
        assert {(cell[i], cell[j]) for cell in cells} == set(itertools.product(first, second))


def test_the_command_prints_its_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--families", "mlp-small", "--steps", "3", "--json", str(tmp_path / "figures.json")])

    assert status == 0
    assert "MET: all 15 cells agree" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "figures.json").read_text())["cells"]) == 15
