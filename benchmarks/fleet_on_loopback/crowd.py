"""What the benchmarks of many nodes share: a fleet for them, their registration, and what processes spend."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from fedstill_proto.system.sealed import write_sealed_json
from fedstill_server.fleet.certificates import authority_file
from fedstill_server.fleet.devices import DeviceRegister, RegisteredDevice
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.rounds.fleet_run import FleetRun
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.run_folder import read_fleet_config
from fedstill_server.tasks import load_public
from fedstill_sim.data.digits import load_digits
from fedstill_sim.engine.grid import InProcessGrid
from flwr.app import RecordDict

from benchmarks.fleet_on_loopback.many_nodes import Figures, ManyNodes, answer_to, new_key
from benchmarks.fleet_on_loopback.processes import LOOPBACK, free_port, program


def prepared(folder: Path, *, devices: int, rounds: int, deadline_s: float) -> Path:
    """A fleet on loopback whose rounds wait for all of its devices."""
    data = load_digits(devices=2, families=("mlp-small",), seed=0)
    folder.mkdir(parents=True)
    np.savez(folder / "public.npz", x=data.public_x, y=np.asarray(data.public_y))
    fleet = folder / "fleet"
    ports = ("--port", free_port(), "--superlink-port", free_port())
    program("fedstill-server", "init", fleet, "--host", LOOPBACK, *ports, "--without-proxy")
    of_run = {
        "--public": folder / "public.npz",
        "--families": "mlp-small",
        "--method": "public-logits",
        "--rounds": rounds,
        "--goal-count": devices,
        "--deadline": deadline_s,
        "--public-batch": 60,
        "--evaluate-every": 0,
    }
    program("fedstill-server", "prepare", fleet, *(word for pair in of_run.items() for word in pair))
    program("fedstill-server", "publish", fleet)
    program("fedstill-server", "invite", fleet, "--out", folder / "fleet.enrolment")
    return fleet


def registered(folder: Path, names: Sequence[str]) -> list[bytes]:
    """Register new keys under these names, all at once; returns the private ones."""
    register = DeviceRegister(FleetFolder(folder).devices)
    keys = []
    for name in names:
        keys.append(new_key())
        private = load_pem_private_key(keys[-1], None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        write_sealed_json(register._file(name), vars(RegisteredDevice(name, public.decode())))
    return keys


def start_nodes(
    folder: Path, server: Path, names: Sequence[str], first: int, *, look_every_s: float
) -> ManyNodes:
    """Start nodes with these names, registered at a server or relay, in a process of their own."""
    fleet = FleetFolder(server)
    keys = registered(server, names)
    return ManyNodes.start(
        folder,
        address=f"{LOOPBACK}:{fleet.settings.superlink_port}",
        authority=authority_file(fleet),
        keys=[(name, first + place, key) for place, (name, key) in enumerate(zip(names, keys, strict=True))],
        look_every_s=look_every_s,
    )


@contextlib.contextmanager
def ended(nodes: Sequence[ManyNodes]) -> Iterator[None]:
    """End the nodes when the block ends."""
    try:
        yield
    finally:
        for one in nodes:
            one.end()


def processor_s(pid: int) -> float:
    """Processor seconds of a process and all that it has started so far."""
    total = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                total += times.user + times.system
    return total


def memory_mb(pid: int) -> float:
    """Memory of a process and all that it has started, as its own (PSS), in MB."""
    process = psutil.Process(pid)
    return sum(one.memory_full_info().pss for one in (process, *process.children(recursive=True))) / 1e6


def records_of(folder: Path) -> list[RoundRecord]:
    """The rounds that a fleet has committed."""
    store = RunStore(folder)
    try:
        return store.records()
    finally:
        store.close()


def flat(fleet: Path, folder: Path, names: Sequence[str]) -> list[RoundRecord]:
    """The same devices in one process, without relays: the same names give the same answers."""
    config = read_fleet_config(fleet)

    def handler(kind: str) -> Any:
        def handle(devices: Sequence[int], contents: Sequence[RecordDict]) -> list[RecordDict]:
            return [
                answer_to(kind, content, name=names[device], number=device)
                for device, content in zip(devices, contents, strict=True)
            ]

        return handle

    grid = InProcessGrid(
        devices=len(names), handlers={kind: handler(kind) for kind in ("query.hello", "train", "evaluate")}
    )
    store = RunStore(folder)
    try:
        FleetRun(grid, config, public=load_public(fleet, config), store=store).run()
        return store.records()
    finally:
        store.close()


@dataclass(frozen=True)
class Spent:
    """Processor seconds of a server's programs so far."""

    superlink: float
    rounds: float

    @classmethod
    def of(cls, folder: Path) -> Spent:
        """Those of a fleet or relay that is up."""
        entries = json.loads((folder / "logs" / "children.json").read_text())
        return cls(*(processor_s(int(entry["pid"])) for entry in entries[:2]))

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.superlink - other.superlink, self.rounds - other.rounds)


def superlink_mb(folder: Path) -> float:
    """Memory of a SuperLink, in MB (PSS)."""
    entries = json.loads((folder / "logs" / "children.json").read_text())
    return memory_mb(int(entries[0]["pid"]))


def seen(figures: Sequence[Figures]) -> dict[str, Any]:
    """What nodes have seen of their server, for people."""
    latencies = sorted(one for each in figures for one in each.latencies_ms) or [0.0]
    refused: Counter[int] = Counter()
    for one in figures:
        refused.update(one.refused)
    return {
        "requests": sum(one.requests for one in figures),
        "refused or broken, by status": dict(refused),
        "latency ms, p50": latencies[len(latencies) // 2],
        "latency ms, p95": latencies[int(0.95 * len(latencies))],
    }
