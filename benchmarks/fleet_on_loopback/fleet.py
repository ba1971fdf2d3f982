"""A fleet of digits writers or phones, prepared, enrolled and brought up by fedstill's own commands."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from fedstill_client.home import AgentHome
from fedstill_client.store import PrivateStore, Release
from fedstill_proto.system.enrolment import read_enrolment
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.run_store import RunStore
from fedstill_sim.data.digits import load_digits
from fedstill_sim.data.fleet import FleetData

from benchmarks.fleet_on_loopback.processes import (
    LOOPBACK,
    Agent,
    Server,
    end_afterwards,
    free_port,
    program,
)
from benchmarks.fleet_on_loopback.wire import Wire

_UP_WITHIN_S = 60.0
# A test's machine has other things to do; a real device works when it is idle.
_ALWAYS_ELIGIBLE = {"external_power": False, "min_battery_percent": 0, "unmetered_network": False}
_ALWAYS_ELIGIBLE |= {
    "max_other_load": 1,
    "min_free_memory_mb": 0,
    "min_free_disk_mb": 0,
    "max_temperature_c": 0,
}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the fleet is, and what it does."""

    devices: int = 4
    rounds: int = 3
    method: str = "public-logits"
    families: tuple[str, ...] = ("mlp-small", "cnn")
    epochs: int = 2
    public_batch: int = 60
    seed: int = 0
    proxy: bool = True
    goal_count: int | None = None  # answers that end a round, for which all are asked; None is all
    deadline_s: float | None = None


class Task(Protocol):
    """What the fleet's devices are, and hold."""

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def families(self) -> Sequence[str]: ...

    def prepare_options(self, folder: Path) -> dict[str, object]:
        """Write the public data into `folder`, and return the options of fedstill-server prepare for it."""

    def observe(self, device: int, store: PrivateStore) -> None:
        """Put the device's own examples into its private store."""


@dataclass(frozen=True)
class Digits:
    """Each device is one writer's."""

    data: FleetData

    @property
    def names(self) -> Sequence[str]:
        return self.data.device_names

    @property
    def families(self) -> Sequence[str]:
        return self.data.families

    def prepare_options(self, folder: Path) -> dict[str, object]:
        public, test = folder / "public.npz", folder / "test.npz"
        np.savez(public, x=self.data.public_x, y=np.asarray(self.data.public_y))
        np.savez(test, x=self.data.global_x, y=self.data.global_y)
        return {"--public": public, "--test": test}

    def observe(self, device: int, store: PrivateStore) -> None:
        rows = self.data.train[device]
        for x, label in zip(self.data.x[rows], self.data.y[rows], strict=True):
            store.observe(np.asarray(x), int(label))


@dataclass
class Fleet:
    """A fleet that is up; its agents are started with `start`."""

    folder: Path
    shape: Shape
    task: Task
    server: Server
    wire: Wire | None = None
    agents: dict[str, Agent] = field(default_factory=dict)

    @property
    def data(self) -> FleetData:
        """The data of a fleet of digits writers."""
        assert isinstance(self.task, Digits)
        return self.task.data

    @property
    def superlink_pid(self) -> int:
        """Return the process id of the SuperLink that runs now; it is restarted when it ends."""
        entries = json.loads((self.folder / "logs" / "children.json").read_text())
        return int(entries[0]["pid"])  # it is started first

    def start(self) -> None:
        for agent in self.agents.values():
            agent.start()

    def records(self) -> list[RoundRecord]:
        """Read the rounds that the server has committed."""
        store = RunStore(self.folder)
        try:
            return store.records()
        finally:
            store.close()

    def summaries(self, name: str) -> list[Release]:
        """Read what has left a device by its ledger, without the counts of evaluations."""
        with PrivateStore.open(self.agents[name].home) as store:
            return [release for release in store.ledger.releases() if release.kind != "evaluation"]


@contextlib.contextmanager
def bring_up(folder: Path, shape: Shape, task: Task | None = None) -> Iterator[Fleet]:
    """Bring a fleet up in `folder`, with devices enrolled, their examples observed and keys registered.

    No agent runs yet. Everything is ended when the block ends.
    """
    if task is None:
        task = Digits(load_digits(devices=shape.devices, families=shape.families, seed=shape.seed))
    fleet = _prepared(folder / "fleet", shape, task)
    with contextlib.ExitStack() as stack:
        stack.enter_context(end_afterwards(fleet.server))
        fleet.server.start()
        fleet.server.wait_for("up", seconds=_UP_WITHIN_S)
        if shape.proxy:
            fleet.wire = stack.enter_context(
                Wire(fleet.folder, server_port=read_port(fleet.folder / "enrolment"))
            )
        for device in range(shape.devices):
            enrol(fleet, device)
        stack.enter_context(end_afterwards(*fleet.agents.values()))
        yield fleet


def _prepared(folder: Path, shape: Shape, task: Task) -> Fleet:
    folder.parent.mkdir(parents=True, exist_ok=True)
    ports = ("--port", free_port(), "--superlink-port", free_port())
    without = () if shape.proxy else ("--without-proxy",)
    program("fedstill-server", "init", folder, "--host", LOOPBACK, *ports, *without)
    options = {
        **task.prepare_options(folder.parent),
        "--families": ",".join(shape.families),
        "--method": shape.method,
        "--rounds": shape.rounds,
        "--goal-count": shape.goal_count or shape.devices,  # all: no round starts without one
        "--epochs": shape.epochs,
        "--public-batch": shape.public_batch,
        "--seed": shape.seed,
    }
    if shape.goal_count is not None:
        options["--over-selection"] = shape.devices / shape.goal_count
    if shape.deadline_s is not None:
        options["--deadline"] = shape.deadline_s
    words = (word for pair in options.items() for word in pair if word is not True)
    program("fedstill-server", "prepare", folder, *words)
    program("fedstill-server", "publish", folder)
    program("fedstill-server", "invite", folder, "--out", folder / "enrolment")
    return Fleet(folder, shape, task, Server(folder))


def read_port(enrolment: Path) -> int:
    """Read the port of the address that devices are given."""
    return int(read_enrolment(enrolment).address.rpartition(":")[2])


def enrol(fleet: Fleet, device: int) -> None:
    """Enrol, observe all training examples of the device, register its key."""
    name, family = fleet.task.names[device], fleet.task.families[device]
    home = AgentHome(fleet.folder.parent / name)
    enrolment = read_enrolment(fleet.folder / "enrolment")
    if fleet.wire is not None:  # the device is told the address at which the wire is read
        enrolment = dataclasses.replace(enrolment, address=f"{LOOPBACK}:{fleet.wire.port}")
    told = fleet.folder.parent / f"{name}.enrolment"
    told.write_text(enrolment.to_json())
    words = ("--name", name, "--family", family, "--home", home.folder, "--allow", "plain")
    enrolled = program("fedstill-agent", "enrol", told, *words)
    (home.folder / "eligibility.json").write_text(json.dumps(_ALWAYS_ELIGIBLE))
    with PrivateStore.open(home) as store:
        fleet.task.observe(device, store)
    program("fedstill-server", "register", fleet.folder, enrolled["public_key"])
    fleet.agents[name] = Agent(home)
