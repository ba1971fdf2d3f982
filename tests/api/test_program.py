"""The program that the documentation shows: own arrays, an own network, mixed families, an own method.

It runs as a script without `if __name__ == "__main__"` and on standard input, with worker processes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

NETWORK = """
from torch import nn

class MyModule(nn.Sequential):
    def __init__(self, input_shape, classes):
        super().__init__(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, classes))
"""
METHOD = """
class Patient(fs.methods.Fedstill):
    '''fedstill, whose first rounds move little.'''
    warm_up: int = fs.methods.option(5, "Rounds until a step has its whole length.", least=1)

    def step_length(self, round_number):
        return super().step_length(round_number) * min(1, round_number / self.warm_up)
"""
# x, y and so on are the caller's arrays.
PROGRAM = """
import fedstill as fs
devices = {"ann": fs.Device(x, y, x_test=xt, y_test=yt), "bob": fs.Device(x, y), "cy": fs.Device(x, y)}
fleet = fs.Fleet.from_arrays(devices, public=(xp, yp), test=(xt, yt))
result = fs.simulate(fleet, students=[fs.Student(MyModule), "mlp-small"], method=Patient(server_step=0.4),
                     teacher=fs.Teacher(MyModule((4,), 3)), rounds=2, seed=0, on_round=print, processes=2)
print(result.final.global_accuracy, len(result.rounds.to_pandas()))
result.report("report.html")
print(result.student("MyModule").predict(xt).shape)
"""
ARRAYS = """
import numpy as np
x, y, xt, yt, xp, yp = np.load("arrays.npz").values()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the arrays: points of three classes."""
    x = np.random.default_rng(0).normal(size=(80, 4))
    y = (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)
    parts = (x[:24], y[:24], x[24:40], y[24:40], x[40:], y[40:])
    np.savez(tmp_path / "arrays.npz", *parts)
    return tmp_path


def test_the_program_is_short() -> None:
    assert sum(bool(line.strip()) for line in (NETWORK + PROGRAM).splitlines()) <= 15


@pytest.mark.slow
@pytest.mark.parametrize("way", ["script", "standard input"])
def test_the_program_runs(way: str, folder: Path) -> None:
    program = "import fedstill as fs\n" + ARRAYS + NETWORK + METHOD + PROGRAM
    (folder / "program.py").write_text(program)
    command, text = (
        ([sys.executable, "program.py"], None) if way == "script" else ([sys.executable, "-"], program)
    )
    done = subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second, figures, shape = done.stdout.strip().splitlines()
    assert first.startswith("round 1: personal ")
    assert second.startswith("round 2: personal ")
    accuracy, rounds = figures.split()
    assert 0 <= float(accuracy) <= 1
    assert rounds == "2"
    assert shape == "(16, 3)"
    assert (folder / "report.html").stat().st_size > 10_000
    assert done.stderr == ""
