"""One operation of a device: what it does in a process that may be killed, and what must hold afterwards."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fedstill_client.agent.agent import Agent
from fedstill_client.home import AgentHome
from fedstill_client.model.student_store import OwnStudent
from fedstill_client.packages import load_installed
from fedstill_client.rounds.device import FleetDevice
from fedstill_client.store import PrivateStore
from fedstill_proto.package.artifact import encode_parameters

from kills.place import Place

Said = dict[str, Any]
Say = Callable[..., None]


class Problem(Exception):
    """A condition that must hold after a kill does not."""


@dataclass
class Words:
    """What the process wrote before it died: acknowledgements, and bytes that have left the device."""

    whole: list[Said] = field(default_factory=list)
    cut: str = ""  # the beginning of a line that the kill cut off

    @classmethod
    def of(cls, output: bytes) -> Words:
        *lines, cut = output.decode().split("\n")
        return cls([json.loads(line) for line in lines], cut)


def say(**facts: Any) -> None:
    """Write a line to the watching process; what has been written has left this one."""
    line = json.dumps(facts).encode() + b"\n"
    while line:
        line = line[os.write(1, line) :]


class Operation(Protocol):
    """An operation, in the process that is killed and in the one that inspects the device."""

    name: str

    def work(self, home: AgentHome, place: Place) -> None:
        """Do the operation, and `say` what is acknowledged or released."""

    def look(self, home: AgentHome, place: Place, said: Words, whole: Whole) -> str:
        """Return the state that was found: "old", "new", ...

        Args:
            whole: The same operation without a kill.

        Raises:
            Problem: A condition does not hold.
        """


@dataclass(frozen=True)
class Whole:
    """The operation without a kill: the home that it left, what it wrote, and what it took."""

    home: AgentHome
    said: Words
    seconds: float
    steps: int  # calls that touch the disk


def hold(condition: object, problem: str) -> None:
    """Raise Problem unless the condition holds."""
    if not condition:
        raise Problem(problem)


def check_opens(home: AgentHome) -> None:
    """Check that the device starts: sound database, verified package, opened by the agent and by a round."""
    with PrivateStore.open(home) as store:
        hold(store.integrity() == "ok", f"the database is damaged: {store.integrity()}")
        load_installed(home, store)
    with Agent.open(home.folder) as agent:
        shape = agent.status().input_shape
        hold(len(agent.predict(_zeros(shape))) == 1, "the agent gives no answer")
    with FleetDevice.opened(home.folder) as device:
        device.store.latest()


def student_of(home: AgentHome, version: int | None = None) -> OwnStudent | None:
    """Read the personal student of the installed package."""
    with PrivateStore.open(home) as store:
        manifest = load_installed(home, store).manifest
        return store.students(manifest, version or manifest.package_version).latest()


def digest_of(student: OwnStudent | None) -> str:
    """Digest a student's round and all its bytes."""
    if student is None:
        return "none"
    content = encode_parameters(student.parameters)
    return f"{student.run}/{student.round}/{hashlib.sha256(content).hexdigest()}"


def one_of(found: str, states: Sequence[tuple[str, str]]) -> str:
    """Return the name of the state that was found.

    Raises:
        Problem: It is something in between.
    """
    for name, state in states:
        if found == state:
            return name
    raise Problem(f"found {found}, which is none of {dict(states)}")


def _zeros(shape: tuple[int, ...]) -> Any:
    import numpy as np

    return np.zeros((1, *shape), np.float32)
