"""A real fleet on loopback whose devices add the noise themselves, and one whose budget ends before the run.

As in benchmarks/real_fleet.py, everything is as an operator has it: SuperLink, SuperNodes and agents as
processes of their own, TLS, registered keys, signed packages. The first device's budget covers all rounds but
the last. The verdict: that round goes on without it, its reason is the server's to read; every other answer
counts; each ledger holds one noised answer a round and nothing else; and no count of right answers was asked.

    python benchmarks/private_fleet.py                 # three devices, three rounds
    python benchmarks/private_fleet.py --kill          # ... of which one loses power in the second
    python benchmarks/private_fleet.py --distributed --devices 4     # the server sees their sum alone
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # it is started by its file's name

from fedstill_client.agent.agent import Agent
from fedstill_client.privacy.policy import DevicePolicy
from fedstill_proto.privacy import Noising, epsilon_of_rho
from fedstill_proto.task_bounds import STARTS
from fedstill_sim.data.digits import load_digits

from benchmarks.fleet_on_loopback.fleet import Digits, Fleet, Shape, bring_up

MULTIPLIER, DELTA = 1.0, 1e-5
_ROUND_WITHIN_S = 240.0


@dataclass(frozen=True)
class PrivateDigits(Digits):
    """Writers who know that their devices add noise."""

    mode: str = "local"

    def prepare_options(self, folder: Path) -> dict[str, object]:
        return {
            **super().prepare_options(folder),
            "--privacy": self.mode,
            "--noise-multiplier": MULTIPLIER,
        }


def budget(rounds: int, *, group: int) -> DevicePolicy:
    """Return a budget for so many rounds, and not for one more; group: the least devices of a sum."""
    most = epsilon_of_rho((rounds + 0.5) * Noising(1.0, MULTIPLIER).rho, DELTA)
    return DevicePolicy(epsilon=most, starts=STARTS, least_group_size=group)


def examine(fleet: Fleet, mechanism: str) -> list[str]:
    """Return what is wrong with the fleet's rounds and ledgers."""
    rounds, devices = fleet.shape.rounds, fleet.shape.devices
    (first, *others), wrong = fleet.agents, []
    for record in fleet.records():
        expected = devices - (record.round == rounds)
        if record.accepted != expected:
            wrong.append(f"round {record.round}: {record.accepted} answers counted, expected {expected}")
        if record.devices:
            wrong.append(f"round {record.round}: {len(record.devices)} devices counted right answers")
        wrong += [
            f"round {record.round}: {one.device}: {one.reason}: {one.text}"
            for one in record.quarantined
            if (one.device, one.reason, record.round) != (first, "budget", rounds)
        ]
        for one in record.quarantined:
            print(f"round {record.round}: {one.device}: {one.reason}: {one.text}")
    for name, agent in fleet.agents.items():
        paid = [(one.round, one.mechanism) for one in fleet.summaries(name)]
        most = rounds - (name not in others)
        if paid != [(number, mechanism) for number in range(1, most + 1)]:
            wrong.append(f"{name}: its ledger holds {paid}")
        with Agent.open(agent.home.folder) as opened:
            status = opened.status()
        if status.releases_without_noise:
            wrong.append(f"{name}: {status.releases_without_noise} releases without noise")
        print(
            f"{name}: epsilon {status.epsilon_spent:.2f} of {status.epsilon_budget:.2f} spent in "
            f"{status.releases} answers; {status.privacy_refusal or 'nothing refused'}"
        )
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--devices", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument(
        "--distributed", action="store_true", help="shared noise in a sum, of 4 devices or more"
    )
    options = parser.parse_args()
    shape = Shape(devices=options.devices, rounds=options.rounds, families=("mlp-small",), proxy=False)
    data = load_digits(devices=shape.devices, families=shape.families, seed=shape.seed)
    task = PrivateDigits(data, mode="distributed" if options.distributed else "local")
    with (
        tempfile.TemporaryDirectory(prefix="fs") as folder,
        bring_up(Path(folder), shape, task) as fleet,
    ):
        for place, agent in enumerate(fleet.agents.values()):
            budget(shape.rounds - (place == 0), group=shape.devices - 1).write(agent.home.folder)
        fleet.start()
        if options.kill:
            fleet.server.wait_for("round", seconds=_ROUND_WITHIN_S)
            last = list(fleet.agents.values())[-1]
            time.sleep(0.5)
            print(f"{last.home.folder.name} lost power ({last.lose_power()} processes)")
            time.sleep(1.0)
            last.start()
        fleet.server.wait_for("round", count=shape.rounds, seconds=_ROUND_WITHIN_S * shape.rounds)
        wrong = examine(fleet, "shared-discrete-gaussian" if options.distributed else "discrete-gaussian")
    print("\n".join(wrong) or "every answer had its noise, and was paid for once")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
