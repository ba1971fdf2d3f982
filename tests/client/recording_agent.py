"""An agent that answers with a real student, and records what else it is asked."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy.typing as npt
from fedstill_client.agent_types import (
    AgentBusy,
    AgentStatus,
    Forgotten,
    LearningProgress,
    LearningResult,
    OnProgress,
    PersonalizeOptions,
    Scope,
    Score,
    Stop,
)
from fedstill_client.home import AgentHome
from fedstill_client.model.predictor import Predictor
from fedstill_client.service.endpoint import serving_lock
from fedstill_client.service.server import running
from fedstill_proto.errors import InvalidValue

from tests.client.samples import student_package

BEST = Score(0.5, 3, 4)
RESULT = LearningResult("replaced", "it is better.", BEST, BEST, "held-out examples", 3, 1, 0.2, None, "none")


class Recorder:
    """Answers with a real student; of everything else it keeps what it was asked."""

    def __init__(self) -> None:
        self.predictor = Predictor(student_package())
        self.kept: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] = []
        self.forgotten: list[object] = []
        self.options: list[PersonalizeOptions] = []
        self.stopped: list[str] = []
        self.scopes: list[Scope] = []
        self.endless = False

    def predict(self, x: npt.NDArray[Any], *, scope: Scope) -> npt.NDArray[Any]:
        self.scopes.append(scope)
        return self.predictor.predict(x)

    def doubt(self, x: npt.NDArray[Any]) -> str:
        return "odd" if x.max(initial=0) > 1000 else ""

    def observe(self, x: npt.NDArray[Any], labels: npt.NDArray[Any]) -> tuple[int, ...]:
        self.kept.append((x, labels))
        return tuple(range(len(x)))

    def personalize(
        self, options: PersonalizeOptions, *, on_progress: OnProgress, stop: Stop
    ) -> LearningResult:
        if len(self.options) > len(self.stopped):
            raise AgentBusy("it is learning already.")
        self.options.append(options)
        on_progress(LearningProgress(1, 1, 5, 0.7, 0.1))
        while self.endless:
            if (why := stop()) is not None:
                self.stopped.append(why)
                return LearningResult("interrupted", why)
            time.sleep(0.01)
        self.stopped.append("")
        on_progress(LearningProgress(2, 1, 5, 0.6, 0.2, BEST))
        return RESULT

    def status(self) -> AgentStatus:
        return AgentStatus(
            "kitchen",
            "mlp-small",
            3,
            643,
            "float32",
            (6,),
            (),
            3,
            8,
            2,
            4096,
            "",
            0,
            False,
            2,
            99,
            "0.1.0",
            "int8",
        )

    def forget(self, *, ids: tuple[int, ...] | None, before: float | None, everything: bool) -> Forgotten:
        self.forgotten.append((ids, before, everything))
        if not (ids or before is not None or everything):
            raise InvalidValue("forget", "names nothing")
        return Forgotten(4, 1, True)


@contextmanager
def short_home() -> Iterator[AgentHome]:
    """An empty home; pytest's own folders are too long for a socket's path."""
    with tempfile.TemporaryDirectory(prefix="fs") as folder:
        made = AgentHome(Path(folder) / "h")
        made.create()
        yield made


@contextmanager
def recording_service(home: AgentHome) -> Iterator[Recorder]:
    """A service of a recorder at the home's socket."""
    recorder = Recorder()
    with serving_lock(home) as address, running(recorder, address, home.socket, threading.Event()):
        yield recorder
