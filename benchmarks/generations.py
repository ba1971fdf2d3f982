"""A real fleet on loopback moves to its next generation: seconds, rounds of each, students that are kept.

Everything is as an operator has it (see real_fleet.py). After two rounds, `prepare --learning-rate` stages
the next generation and `publish` puts it into force, in the middle of a round; with --kill, `up` loses power
at that moment, and is started again.

The verdict: rounds are numbered on, each is of one generation, every device is counted in rounds of both and
once in each, and no device's student goes back to its package.

    python benchmarks/generations.py --devices 3 --kill
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

sys.path.insert(0, str(Path(__file__).parent.parent))  # it is started by its file's name

from fedstill_client.packages import load_installed
from fedstill_client.store import PrivateStore

from benchmarks.fleet_on_loopback.fleet import Fleet, Shape, bring_up
from benchmarks.fleet_on_loopback.processes import Agent, program, wait_until

_WITHIN_S = 240.0
_ROUNDS_AFTER = 3


def student_of(agent: Agent) -> tuple[int, str, int]:
    """The generation of a device's package, and the run and round that its owner's student is of."""
    with PrivateStore.open(agent.home) as store:
        manifest = load_installed(agent.home, store).manifest
        own = store.students(manifest, manifest.package_version).latest()
    return manifest.generation, "" if own is None else own.run, 0 if own is None else own.round


def move(fleet: Fleet, *, kill: bool) -> dict[str, Any]:
    """Put the next generation into force after two rounds; gives what came of it."""
    fleet.start()
    fleet.server.wait_for("round", count=2, seconds=2 * _WITHIN_S)
    before = {name: student_of(agent) for name, agent in fleet.agents.items()}
    program("fedstill-server", "prepare", fleet.folder, "--learning-rate", 0.01)
    program("fedstill-server", "publish", fleet.folder)
    began = time.monotonic()
    if kill:
        fleet.server.lose_power()
        fleet.server.start()
    went_back: set[str] = set()

    def looked() -> list[dict[str, Any]] | None:
        for name, agent in fleet.agents.items():
            _, run, round_number = student_of(agent)
            if not run or round_number < before[name][2]:
                went_back.add(name)
        line = program("fedstill-server", "generations", fleet.folder)[-1]
        done = 0 if line["first_round"] is None else line["last_round"] - line["first_round"] + 1
        if done and not first_s:
            first_s.append(time.monotonic() - began)
        return line if done >= _ROUNDS_AFTER else None

    first_s: list[float] = []
    wait_until(looked, seconds=_WITHIN_S, what="rounds of the next generation")
    lines, records = program("fedstill-server", "generations", fleet.folder), fleet.records()
    second = lines[1]["first_round"]
    wrong = [f"{name}: its student went back" for name in sorted(went_back)]
    if [record.round for record in records] != list(range(1, len(records) + 1)):
        wrong.append("rounds are not numbered on")
    if any(len(set(record.counted)) != len(record.counted) for record in records):
        wrong.append("an answer was counted twice")
    for part in (records[: second - 1], records[second - 1 :]):
        counted = {name for record in part for name in record.counted}
        wrong += [f"{name}: counted in no round of one generation" for name in fleet.agents.keys() - counted]
    return {
        "devices": len(fleet.agents),
        "generations": lines,
        "seconds_to_first_round": round(first_s[0], 1),
        "accepted": [record.accepted for record in records],
        "students": {name: student_of(agent) for name, agent in fleet.agents.items()},
        "wrong": wrong,
        "holds": not wrong,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--devices", type=int, default=3)
    parser.add_argument("--kill", action="store_true", help="the server, at the moment of the switch")
    parser.add_argument("--without-proxy", action="store_true", help="where nginx is not installed")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    shape = Shape(devices=options.devices, rounds=50, proxy=not options.without_proxy)
    with (
        tempfile.TemporaryDirectory(prefix="fs") as folder,
        bring_up(Path(folder) / "real", shape) as fleet,
    ):
        result = move(fleet, kill=options.kill)
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        for line in result["generations"]:
            changes = "; ".join(line["changes"]) or "first"
            rounds = f"rounds {line['first_round']} to {line['last_round']}"
            print(f"generation {line['number']}: {rounds}, {changes}")
        print(f"summaries counted by round: {', '.join(map(str, result['accepted']))}")
        print(f"{result['seconds_to_first_round']} s from publish to the end of the first round after it")
        for problem in result["wrong"]:
            print(f"WRONG {problem}")
        print("verdict: " + ("holds" if result["holds"] else "DOES NOT HOLD"))
    return 0 if result["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
