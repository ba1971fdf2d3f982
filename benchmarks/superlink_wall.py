"""How many nodes one SuperLink serves, over real connections on loopback, and where it breaks.

A fleet's own SuperLink as `fedstill-server up` starts it (TLS, registered keys, the guard), its rounds, and
nodes that speak the Fleet API as a device does, each with its own key and TLS connection: activate,
heartbeat, look for messages, fetch, confirm, answer. The wire is protobuf over HTTP/1.1 and TLS, that of
Flower 1.41 and 1.42: their grpc-rere is deprecated, and no fleet uses it. Prints for each number of nodes how
many came up a second, what a round took, the SuperLink's processor time, and how long requests took.

    python benchmarks/superlink_wall.py --nodes 200,500,1000,2000
"""

from __future__ import annotations

import argparse
import contextlib
import json
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
    prepared,
    records_of,
    seen,
    start_nodes,
    superlink_mb,
)
from benchmarks.fleet_on_loopback.processes import FleetFailed, Server, end_afterwards, wait_until

_UP_WITHIN_S = 120.0


@dataclass(frozen=True)
class Wall:
    """One SuperLink and so many nodes, in `processes` processes."""

    nodes: int
    processes: int
    look_every_s: float
    deadline_s: float

    def measure(self, folder: Path) -> dict[str, Any]:
        """Bring them up, and have them do one round."""
        fleet = prepared(folder / "above", devices=self.nodes, rounds=1, deadline_s=self.deadline_s)
        server = Server(fleet)
        with end_afterwards(server):
            server.start()
            server.wait_for("up", seconds=_UP_WITHIN_S)
            each = self.nodes // self.processes
            names = [f"node-{place:04d}" for place in range(each * self.processes)]
            nodes = [
                start_nodes(
                    folder / f"nodes-{place}",
                    fleet,
                    names[place * each : (place + 1) * each],
                    place * each,
                    look_every_s=self.look_every_s,
                )
                for place in range(self.processes)
            ]
            with ended(nodes):
                began, began_s = Spent.of(fleet), time.monotonic()
                with contextlib.suppress(FleetFailed):
                    wait_until(
                        lambda: sum(one.figures().active for one in nodes) == len(names),
                        seconds=_UP_WITHIN_S + self.nodes / 5,
                        what="all nodes active",
                    )
                active, up = [one.figures() for one in nodes], Spent.of(fleet)
                took_s = max(one.last_s for one in active) - min(one.first_s for one in active if one.first_s)
                with contextlib.suppress(FleetFailed):
                    server.wait_for("round", seconds=2 * self.deadline_s)
                whole_s, spent = time.monotonic() - began_s, Spent.of(fleet)
                memory, figures, found = (
                    superlink_mb(fleet),
                    [one.figures() for one in nodes],
                    records_of(fleet),
                )
        counted = [(record.accepted, record.seconds) for record in found] or [(0, self.deadline_s)]
        accepted, seconds = counted[0]
        return {
            "nodes": len(names),
            "came up": sum(one.active for one in active),
            "came up a second": round(sum(one.active for one in active) / max(took_s, 0.1), 1),
            "counted in the round": accepted,
            "seconds of the round": round(seconds, 1),
            "nodes a second in the round": round(accepted / seconds, 1),
            **seen(figures),
            "processor ms a node, until all were up": round(
                1000 * (up - began).superlink / max(sum(one.active for one in active), 1), 1
            ),
            "processor ms a node, SuperLink, greeting and round": round(
                1000 * (spent - up).superlink / max(accepted, 1), 1
            ),
            "processor ms a node, rounds": round(1000 * (spent - began).rounds / max(accepted, 1), 1),
            "SuperLink's share of a core": round((spent - began).superlink / whole_s, 2),
            "SuperLink's memory, MB": round(memory),
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", default="200,500,1000,2000")
    parser.add_argument("--processes", type=int, default=1, help="of nodes")
    parser.add_argument("--look-every", type=float, default=3.0, help="seconds, where the server says none")
    parser.add_argument("--deadline", type=float, default=180.0)
    asked = parser.parse_args()
    for nodes in map(int, asked.nodes.split(",")):
        wall = Wall(nodes, asked.processes, asked.look_every, asked.deadline)
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(wall.measure(Path(folder)), indent=1), flush=True)


if __name__ == "__main__":
    main()
