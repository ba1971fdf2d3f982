"""A tree of depth 2 over real connections: a server, its relays, and many simulated nodes behind each.

Each node has its own key and TLS connection and speaks Flower's Fleet API: protobuf over HTTP/1.1 and TLS,
the wire of Flower 1.41 and 1.42 (the "gRPC" of earlier releases, grpc-rere, is deprecated there, and a fleet
does not use it). Prints how long a round took, processor seconds a node of the server and of relays, and
whether the consensus is, bit for bit, that of the same devices in one process without relays.

    python benchmarks/relay_tree.py --relays 4 --nodes 500
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))  # it is started by its file's name

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

from benchmarks.fleet_on_loopback.many_nodes import ManyNodes, answer_to, new_key
from benchmarks.fleet_on_loopback.processes import (
    LOOPBACK,
    Server,
    end_afterwards,
    free_port,
    program,
)

_UP_WITHIN_S = 120.0


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
class Tree:
    """A tree to measure: `nodes` behind each relay."""

    relays: int
    nodes: int
    rounds: int
    look_every_s: float
    deadline_s: float

    def measure(self, folder: Path) -> dict[str, Any]:
        """Bring it up, wait for its rounds, and compare them."""
        of_relays = [f"relay-{place}" for place in range(self.relays)]
        fleet = prepared(
            folder / "above", devices=self.relays * self.nodes, rounds=self.rounds, deadline_s=self.deadline_s
        )
        enrolment = folder / "above" / "fleet.enrolment"
        server, relays = Server(fleet), []
        for name in of_relays:
            relay = folder / name
            ports = ("--port", free_port(), "--superlink-port", free_port())
            where = ("--host", LOOPBACK, *ports, "--without-proxy")
            made = program("fedstill-server", "init-relay", relay, enrolment, "--name", name, *where)
            limit = ("--relay-devices", self.nodes)
            program("fedstill-server", "register", fleet, made["public_key"], *limit)
            relays.append(Server(relay, "relay"))
        names = [f"node-{place:04d}" for place in range(self.nodes)]
        with end_afterwards(server, *relays):
            for one in (server, *relays):
                one.start()
            for one in (server, *relays):
                one.wait_for("up", seconds=_UP_WITHIN_S)
            nodes = [
                start_nodes(
                    folder / f"nodes-{place}",
                    folder / name,
                    names,
                    place * self.nodes,
                    look_every_s=self.look_every_s,
                )
                for place, name in enumerate(of_relays)
            ]
            with ended(nodes):
                for number in range(1, self.rounds + 1):
                    server.wait_for("round", count=number, seconds=self.deadline_s + _UP_WITHIN_S)
                found = records_of(fleet)
                spent = {
                    "server": processor_s(server.pid),
                    "relays": sum(processor_s(one.pid) for one in relays),
                }
                memory = {
                    "server": memory_mb(server.pid),
                    "relays": sum(memory_mb(one.pid) for one in relays),
                }
                figures = [one.figures() for one in nodes]
        expected = flat(fleet, folder / "flat", [f"{relay}/{name}" for relay in of_relays for name in names])
        devices = self.relays * self.nodes
        latencies = sorted(one for each in figures for one in each.latencies_ms)
        return {
            "relays": self.relays,
            "nodes": devices,
            "rounds": self.rounds,
            "accepted": [record.accepted for record in found],
            "left out": [len(record.quarantined) for record in found],
            "consensus equals flat": [a.consensus_digest for a in found]
            == [b.consensus_digest for b in expected],
            "round s": [round(record.seconds, 1) for record in found],
            "nodes a second": round(devices / np.median([record.seconds for record in found]), 1),
            "requests of nodes": sum(one.requests for one in figures),
            "refused or broken": dict(
                sum((one.refused for one in figures), start=type(figures[0].refused)())
            ),
            "latency ms p50, p95": [latencies[len(latencies) // 2], latencies[int(0.95 * len(latencies))]],
            "server processor ms a node and round": round(1000 * spent["server"] / devices / self.rounds, 1),
            "relays processor ms a node and round": round(1000 * spent["relays"] / devices / self.rounds, 1),
            "memory MB": {name: round(value) for name, value in memory.items()},
            "bytes up, down": [found[-1].uplink_bytes, found[-1].downlink_bytes],
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--relays", type=int, default=4)
    parser.add_argument("--nodes", type=int, default=500, help="behind each relay")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--look-every", type=float, default=20.0, help="seconds between looks for a message")
    parser.add_argument("--deadline", type=float, default=600.0)
    asked = parser.parse_args()
    tree = Tree(asked.relays, asked.nodes, asked.rounds, asked.look_every, asked.deadline)
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        found = tree.measure(Path(folder))
        print(json.dumps({**found, "all s": round(time.monotonic() - started, 1)}, indent=1))
        if not found["consensus equals flat"]:
            sys.exit("the consensus is not that of the same devices without relays")


if __name__ == "__main__":
    main()
