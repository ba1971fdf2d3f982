"""A tree of depth 2 over real connections: a server, its relays, and many simulated nodes behind each.

Each node has its own key and TLS connection and speaks Flower's Fleet API: protobuf over HTTP/1.1 and TLS,
the wire of Flower 1.41 and 1.42 (the "gRPC" of earlier releases, grpc-rere, is deprecated there, and a fleet
does not use it). Prints how long a round took, processor seconds a node of the server and of relays, and
whether the consensus is, bit for bit, that of the same devices in one process without relays.

    python benchmarks/relay_tree.py --relays 4 --nodes 500
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # it is started by its file's name

from benchmarks.fleet_on_loopback.crowd import (
    Spent,
    ended,
    flat,
    prepared,
    records_of,
    seen,
    start_nodes,
    superlink_mb,
)
from benchmarks.fleet_on_loopback.processes import (
    LOOPBACK,
    Server,
    end_afterwards,
    free_port,
    program,
    wait_until,
)

_UP_WITHIN_S = 120.0


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
                wait_until(
                    lambda: sum(one.figures().active for one in nodes) == self.relays * self.nodes,
                    seconds=_UP_WITHIN_S + self.relays * self.nodes / 4,
                    what="all nodes active",
                )
                began = Spent.of(fleet), [Spent.of(folder / name) for name in of_relays]
                for number in range(1, self.rounds + 1):
                    server.wait_for("round", count=number, seconds=self.deadline_s + _UP_WITHIN_S)
                above = Spent.of(fleet) - began[0]
                below = [Spent.of(folder / name) - one for name, one in zip(of_relays, began[1], strict=True)]
                memory = {name: round(superlink_mb(folder / name)) for name in of_relays}
                memory["server"] = round(superlink_mb(fleet))
                found, figures = records_of(fleet), [one.figures() for one in nodes]
        expected = flat(fleet, folder / "flat", [f"{relay}/{name}" for relay in of_relays for name in names])
        devices, tasks = self.relays * self.nodes, self.relays * self.nodes * self.rounds
        digests = [[one.consensus_digest for one in records] for records in (found, expected)]
        return {
            "relays": self.relays,
            "nodes": devices,
            "accepted": [record.accepted for record in found],
            "left out": [len(record.quarantined) for record in found],
            "consensus equals flat": digests[0] == digests[1],
            "seconds a round": [round(record.seconds, 1) for record in found],
            "nodes a second": round(devices / statistics.median(record.seconds for record in found), 1),
            **seen(figures),
            "processor ms a node and round": {
                "server's SuperLink": round(1000 * above.superlink / tasks, 2),
                "server's rounds": round(1000 * above.rounds / tasks, 2),
                "relays' SuperLinks": round(1000 * sum(one.superlink for one in below) / tasks, 2),
                "relays' own process": round(1000 * sum(one.rounds for one in below) / tasks, 2),
            },
            "memory of SuperLinks, MB": memory,
            "bytes up": found[-1].uplink_bytes,
            "bytes down": found[-1].downlink_bytes,
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
