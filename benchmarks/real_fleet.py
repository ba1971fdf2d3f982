"""A real fleet on loopback against the same fleet in the simulator: the same consensus, each summary once.

Everything is as an operator has it: nginx, Flower's SuperLink and SuperExec, a SuperNode and an agent for
each device, TLS, registered keys, signed packages. With --kill, while the second round is under way, one
device loses power (SIGKILL to its agent and all below it) and comes back, and the SuperLink gets SIGKILL.

The verdict: in each round every device's summary is counted, once; each ledger holds one summary a round;
and the consensus is the simulator's within 1e-4, which it would not be if a summary were missing or counted
twice.

    python benchmarks/real_fleet.py --devices 8
    python benchmarks/real_fleet.py --devices 4 --kill
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))  # it is started by its file's name

from benchmarks.fleet_on_loopback.fleet import Fleet, Shape, bring_up
from benchmarks.fleet_on_loopback.processes import kill_tree
from benchmarks.fleet_on_loopback.simulated import last_rounds, simulate

TOLERANCE = 1e-4
_ROUND_WITHIN_S = 240.0


def rounds_done(fleet: Fleet, *, kill: bool) -> list[str]:
    """Start the agents and wait for the last round; returns what was killed."""
    killed: list[str] = []
    fleet.start()
    if kill:
        fleet.server.wait_for("round", seconds=_ROUND_WITHIN_S)
        name, victim = next(iter(fleet.agents.items()))
        time.sleep(0.5)
        killed.append(f"{name} lost power ({victim.lose_power()} processes) in round 2")
        time.sleep(1.0)
        killed.append(f"SuperLink {fleet.superlink_pid} killed ({kill_tree(fleet.superlink_pid)} processes)")
        victim.start()
    fleet.server.wait_for("round", count=fleet.shape.rounds, seconds=_ROUND_WITHIN_S * fleet.shape.rounds)
    return killed


def examine(fleet: Fleet, folder: Path) -> dict[str, Any]:
    """Compare the fleet with the simulator's run, which is made in `folder`; returns what is wrong."""
    state, records = last_rounds(fleet.folder)
    expected, expected_records = simulate(fleet, folder)
    ledgers = {name: [one.round for one in fleet.summaries(name)] for name in fleet.agents}
    difference = max(float(np.abs(state.arrays[n] - array).max()) for n, array in expected.arrays.items())
    every_round = list(range(1, fleet.shape.rounds + 1))
    wrong = [
        f"{name}: summaries of rounds {had} in its ledger"
        for name, had in ledgers.items()
        if had != every_round
    ]
    for record, twin in zip(records, expected_records, strict=True):
        if not record.accepted == twin.accepted == fleet.shape.devices:
            wrong.append(
                f"round {record.round}: {record.accepted} of {fleet.shape.devices} summaries counted"
            )
    if not difference <= TOLERANCE:
        wrong.append(f"the consensus is {difference:.1e} away from the simulator's")
    return {
        "devices": fleet.shape.devices,
        "rounds": [{"accepted": one.accepted, "late": one.late, "seconds": one.seconds} for one in records],
        "consensus_digests_equal": [
            one.consensus_digest == twin.consensus_digest
            for one, twin in zip(records, expected_records, strict=True)
        ],
        "largest_difference": difference,
        "personal_accuracy": [one.personal_accuracy for one in records],
        "personal_accuracy_simulated": [one.personal_accuracy for one in expected_records],
        "summaries": ledgers,
        "wrong": wrong,
        "holds": not wrong,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--method", default="public-logits")
    parser.add_argument("--kill", action="store_true", help="a device and the SuperLink, in round 2")
    parser.add_argument("--without-proxy", action="store_true", help="where nginx is not installed")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    shape = Shape(
        devices=options.devices,
        rounds=options.rounds,
        method=options.method,
        proxy=not options.without_proxy,
    )
    with (
        tempfile.TemporaryDirectory(prefix="fs") as folder,
        bring_up(Path(folder) / "real", shape) as fleet,
    ):
        killed = rounds_done(fleet, kill=options.kill)
        result = examine(fleet, Path(folder) / "simulated") | {"killed": killed}
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        print(as_text(result))
    return 0 if result["holds"] else 1


def as_text(result: dict[str, Any]) -> str:
    """Return the result in a few lines."""
    counted = ", ".join(str(one["accepted"]) for one in result["rounds"])
    seconds = ", ".join(f"{one['seconds']:.0f} s" for one in result["rounds"])
    lines = [
        *result["killed"],
        f"{result['devices']} devices, summaries counted by round: {counted} ({seconds})",
        f"consensus against the simulator's: largest difference {result['largest_difference']:.1e}, "
        f"the very same bytes in {sum(result['consensus_digests_equal'])} of {len(result['rounds'])} rounds",
        *(f"WRONG {problem}" for problem in result["wrong"]),
        "verdict: " + ("holds" if result["holds"] else "DOES NOT HOLD"),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
