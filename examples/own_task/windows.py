"""A task of one's own: what somebody does, told from windows of a motion sensor's readings.

A window holds LENGTH readings of three axes, in units of gravity. What makes it a task and not just arrays:
its examples are checked (a sensor reads no more than RANGE), its teacher hears each axis at several
frequencies, and after the rounds it is measured how long a change of motion goes unnoticed on each device.

    python -m fedstill_sim.cli run ... --task windows:WindowTask      with this folder on sys.path
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from fedstill_proto.arrays import Parameters
from fedstill_server.config.fleet import ConfigError, FleetConfig, TeacherConfig
from fedstill_server.config.options import option
from fedstill_server.data.errors import ExamplesError
from fedstill_server.data.forms import ExampleForm
from fedstill_server.tasks import TASKS, training_of
from fedstill_server.tasks.arrays import ArrayTask
from fedstill_server.tasks.interface import Progress
from fedstill_server.tasks.training import ServerTraining
from fedstill_server.training.networks import logits_of
from fedstill_sim.data.fleet import DeviceRows, FleetData
from fedstill_sim.tasks import SIMULATIONS
from fedstill_sim.tasks.arrays import ArraySimulation
from fedstill_sim.tasks.interface import DataRequest, Defaults
from torch import Tensor, nn

AXES, LENGTH, RANGE = 3, 32, 8.0
Labelled = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]

MOTIONS = ("still", "walking", "running")
_HERTZ = {"still": 0.0, "walking": 2.0, "running": 5.0}  # of periods in a window


class Windows(ExampleForm):
    """Readings [AXES, LENGTH], each between -RANGE and RANGE."""

    def checked(self, x: npt.NDArray[Any], *, classes: int, where: str) -> npt.NDArray[Any]:
        readings = super().checked(x, classes=classes, where=where)
        if np.abs(readings).max(initial=0.0) > RANGE:
            most = np.abs(readings).max()
            raise ExamplesError(f"{where}: x holds {most:g}; the sensor reads up to {RANGE:g}")
        return readings


class Spectrum(nn.Module):
    """The teacher: how much of each frequency there is on each axis, and a hidden layer."""

    def __init__(self, classes: int, *, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(AXES * (LENGTH // 2 + 1), hidden)
        self.output = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        strength = torch.fft.rfft(x, dim=-1).abs() / math.sqrt(LENGTH)
        logits: Tensor = self.output(torch.relu(self.hidden(strength.flatten(1))))
        return logits


class WindowTraining(ServerTraining):
    """As arrays, but for the teacher."""

    def new_teacher(self) -> nn.Module:
        return Spectrum(self.config.classes, hidden=max(self.config.teacher.hidden, default=16))


class WindowTask(ArrayTask):
    """Windows of a motion sensor's readings."""

    form = Windows()
    steps: int = option(40, "Passes of the teacher over the public windows.", least=1)

    def check(self, config: FleetConfig) -> None:
        super().check(config)
        if config.input_shape != (AXES, LENGTH):
            raise ConfigError(f"input_shape: {config.input_shape!r} is not {(AXES, LENGTH)}, a window's")

    def training(self, config: FleetConfig) -> ServerTraining:
        return WindowTraining(config)

    def default_teacher(self, examples: int, *, made: bool) -> TeacherConfig:
        return TeacherConfig(hidden=(32,), epochs=self.steps, student_epochs=self.steps)


@dataclass(frozen=True, kw_only=True)
class WindowSimulation(ArraySimulation):
    """Walkers, who all hold the sensor in their own way."""

    families: ClassVar[tuple[str, ...]] = ("mlp-32",)
    evaluating: ClassVar[str] = "measuring how long a change of motion goes unnoticed"

    def load(self, wanted: DataRequest) -> FleetData:
        if wanted.folder is not None:
            return super().load(wanted)
        return walkers(devices=wanted.devices or 4, seed=wanted.seed).with_families(wanted.families)

    def defaults(self, dataset: str | None) -> Defaults:
        return Defaults(rounds=5, tradeoff=False)

    def evaluate(
        self,
        fleet: FleetConfig,
        wanted: DataRequest,
        data: FleetData,
        own_students: Mapping[int, Parameters],
        fleet_students: Mapping[str, Parameters],
        on_progress: Progress,
    ) -> dict[str, Any]:
        """Windows until a new motion is told for the first time, by device."""
        late = {}
        for device, student in own_students.items():
            network = training_of(fleet).student(data.families[device], student)
            x, y = data.x[data.test[device]], data.y[data.test[device]]
            late[data.device_names[device]] = lateness(logits_of(network, np.array(x)).argmax(-1), y)
        return {"windows_late": late}

    def lines_of(self, figures: dict[str, Any]) -> list[str]:
        late = figures["windows_late"]
        return [f"{name}: a new motion is told {windows:.1f} windows late" for name, windows in late.items()]


def lateness(told: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> float:
    """The mean number of windows from a new motion to the first that is told rightly, or to its end."""
    starts = [0, *(np.flatnonzero(np.diff(truth)) + 1), len(truth)]
    waits = []
    for start, end in itertools.pairwise(starts):
        right = np.flatnonzero(told[start:end] == truth[start])
        waits.append(int(right[0]) if len(right) else end - start)
    return float(np.mean(waits))


def walkers(*, devices: int, seed: int = 0, windows: int = 36) -> FleetData:
    """People who stand, walk and run in turn, and ten more who share what they did with everyone."""
    draw = np.random.default_rng(seed)
    x, y = _walkers(draw, devices, windows)
    public, held_out = _walkers(draw, 8, windows), _walkers(draw, 2, windows)
    rows = np.split(np.arange(len(x)), devices)
    return FleetData(
        name="walkers",
        description=f"walkers: {devices} people, {windows} windows each",
        classes=len(MOTIONS),
        device_names=tuple(f"walker-{number}" for number in range(devices)),
        families=("",) * devices,
        x=x,
        y=y,
        train=DeviceRows.of([own[: 2 * windows // 3] for own in rows]),
        test=DeviceRows.of([own[2 * windows // 3 :] for own in rows]),
        public_x=public[0],
        public_y=public[1],
        global_x=held_out[0],
        global_y=held_out[1],
    )


def _walkers(draw: np.random.Generator, people: int, windows: int) -> Labelled:
    """The windows of some people, one after the other."""
    parts = [_walker(draw, windows) for _ in range(people)]
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def _walker(draw: np.random.Generator, windows: int) -> Labelled:
    """A person's windows, a few of one motion after the other: x [windows, AXES, LENGTH] and y [windows]."""
    y = np.arange(windows) // 4 % len(MOTIONS)
    held = draw.normal(size=AXES)
    held *= 2 / np.linalg.norm(held)  # which way up the sensor is
    time = np.arange(LENGTH) / LENGTH
    x = np.empty((windows, AXES, LENGTH), np.float32)
    for number, motion in enumerate(y):
        hertz = _HERTZ[MOTIONS[motion]] * draw.uniform(0.8, 1.2)
        swing = np.sin(2 * np.pi * (hertz * time + draw.uniform())) * (hertz > 0)
        noise = draw.normal(scale=0.3, size=(AXES, LENGTH))
        x[number] = np.clip(np.outer(held, 1 + swing) + noise, -RANGE, RANGE)
    return x, y


def register() -> None:
    """Let "windows" stand for the task, in this process; an installed one says so in its entry points."""
    TASKS.register("windows", WindowTask)
    SIMULATIONS.register("windows", WindowSimulation)
