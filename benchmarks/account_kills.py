"""kill -9 at random points of a server's release, in mode central: is there ever a release without its debit?

A server process (a fork, with the real loop, store and account, and noise of the operating system) plays the
rounds of a small fleet and is killed with SIGKILL: half of the times at a random call that touches the disk,
the other half after a random time. Its devices are scripted; what the server sends them leaves it through a
pipe, as it would through the network. In every third trial the disk is tampered with before the run goes on:
the newest checkpoint is lost, or rounds and checkpoints are put back to older ones. Then another process goes
on to the end. What must hold, of all that left either process or stands on the disk:

  debit first    whatever is made of a round's consensus is seen only where the account has the round's entry
  one noise      a round's task is the same bytes whenever it is sent, but where the account counts it again
  the chain      the account is whole, and every entry of before the kill is in it

    python benchmarks/account_kills.py --kills 200 --seed 0
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from fedstill_proto.codec.api import TASK_LIMIT_BYTES, decode_task, encode_summary
from fedstill_proto.flower_records import hello_reply, pack, unpack
from fedstill_proto.messages import Optimizer, PrivateStatistics, SoftLabelSummary, TrainingPlan
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_server.config.fleet import CohortRule, FleetConfig, TeacherConfig
from fedstill_server.data.examples import Examples
from fedstill_server.methods import completed
from fedstill_server.privacy.rule import PrivacyRule
from fedstill_server.rounds.account import Account
from fedstill_server.rounds.fleet_run import FleetRun
from fedstill_server.rounds.run_store import RunStore
from fedstill_sim.engine.grid import InProcessGrid
from flwr.app import RecordDict

DEVICES, ROUNDS, CLASSES, SHAPE, PUBLIC = 3, 4, 3, (4,), 12
RUN = "0123abcd"
_DISK_CALLS = {"write", "flush", "fsync", "replace", "unlink", "open", "mkdir", "close"}
Say = Callable[[dict[str, Any]], None]


def public_examples() -> Examples:
    """Return three clusters that anyone can tell apart."""
    rng = np.random.default_rng(0)
    y = np.arange(PUBLIC) % CLASSES
    x = np.eye(CLASSES, 4)[y] * 2 + rng.normal(0, 0.1, (PUBLIC, 4))
    return Examples(x.astype(np.float32), y)


def fleet_config(rounds: int = ROUNDS) -> FleetConfig:
    """Return what the run does: noise of the operating system, so that no two draws are alike."""
    return FleetConfig(
        run=RUN,
        method=completed("public-logits", {}),
        rounds=rounds,
        seed=0,
        families=("mlp-small",),
        classes=CLASSES,
        input_shape=SHAPE,
        public_set="public.npz",
        training=TrainingPlan(1, 4, 0.125, Optimizer.SGD, 2.0, 0.5, 0),
        teacher=TeacherConfig(hidden=(8,), epochs=1, student_epochs=1, round_epochs=1),
        uplink=SoftLabelCodec(Encoding.FLOAT32),
        cohort=CohortRule(deadline_s=1.0),
        privacy=PrivacyRule(mode="central", noise_multiplier=1.0, clip=1.0),
    )


class ScriptedDevices(InProcessGrid):
    """Devices that answer each round something of their own; what they are sent is told as it leaves."""

    def __init__(self, say: Say) -> None:
        super().__init__(
            devices=DEVICES,
            handlers={"query.hello": self._hello, "train": self._train, "evaluate": self._train},
        )
        self._say = say

    def _hello(self, devices: Sequence[int], contents: Sequence[RecordDict]) -> list[RecordDict]:
        return [hello_reply(f"device-{device}", "mlp-small") for device in devices]

    def _train(self, devices: Sequence[int], contents: Sequence[RecordDict]) -> list[RecordDict]:
        replies = []
        for device, content in zip(devices, contents, strict=True):
            blob = unpack(content, "RoundTask", size_limit_bytes=TASK_LIMIT_BYTES)
            task = decode_task(blob)
            # Soft labels are made of all that was released so far, and the same for every device.
            targets = (
                b""
                if task.soft_targets is None
                else np.ascontiguousarray(task.soft_targets.soft_labels.dense()).tobytes()
            )
            self._say({"sent": task.round, "digest": hashlib.sha256(targets).hexdigest()})
            rng = np.random.default_rng([device, task.round])
            labels = rng.dirichlet(np.ones(CLASSES), len(task.request.public_rows)).astype(np.float32)
            statistics = PrivateStatistics(soft_labels=DenseSoftLabels(labels))
            summary = SoftLabelSummary(task.run, task.round, task.family, task.request.kind, statistics)
            replies.append(pack("SoftLabelSummary", encode_summary(summary, codec=task.request.codec)))
        return replies


def serve(folder: Path, say: Say, rounds: int = ROUNDS) -> None:
    """Play the rounds that the folder has not seen yet."""
    store = RunStore(folder)
    FleetRun(ScriptedDevices(say), fleet_config(rounds), public=public_examples(), store=store).run()


class Process:
    """A server process, and what left it before it ended."""

    def __init__(self, folder: Path, *, die_at: int | None = None, kill_after_s: float | None = None) -> None:
        read, write = os.pipe()
        started = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(read)
                self._work(folder, write, die_at)
                code = 0
            finally:
                os._exit(code)
        os.close(write)
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            os.kill(pid, signal.SIGKILL)
        with os.fdopen(read, "rb") as pipe:
            lines = pipe.read().split(b"\n")
        _, status = os.waitpid(pid, 0)
        self.seconds = time.perf_counter() - started
        self.said = [json.loads(line) for line in lines[:-1]]
        self.killed = os.WIFSIGNALED(status)
        if not self.killed and os.waitstatus_to_exitcode(status) != 0:
            raise SystemExit(f"the server ended by itself, with {status}")

    @staticmethod
    def _work(folder: Path, pipe: int, die_at: int | None) -> None:
        def say(line: dict[str, Any]) -> None:
            os.write(pipe, json.dumps(line).encode() + b"\n")

        steps = Steps(die_at)
        sys.setprofile(steps)
        serve(folder, say)
        sys.setprofile(None)
        say({"steps": steps.seen})


class Steps:
    """A profiler that counts what touches the disk, before and after each call, and dies at one of them."""

    def __init__(self, last: int | None) -> None:
        self.seen, self._last = 0, last

    def __call__(self, frame: FrameType, event: str, called: Any) -> None:
        if event in ("c_call", "c_return") and getattr(called, "__name__", "") in _DISK_CALLS:
            if self.seen == self._last:
                os.kill(os.getpid(), signal.SIGKILL)
            self.seen += 1


def tamper(folder: Path, older: Path, draw: random.Random) -> str:
    """Lose the newest checkpoint, or put rounds and checkpoints back to older ones; the account stays."""
    server = folder / "server"
    if draw.random() < 0.5:
        newest = max(server.glob("rounds/round-*.json"), default=None)
        if newest is None or newest.stem == "round-000000":
            return "nothing to lose"
        newest.unlink()
        return "the newest round was lost"
    for name in ("rounds", "checkpoints"):
        shutil.rmtree(server / name, ignore_errors=True)
        shutil.copytree(older / "server" / name, server / name)
    return "rounds and checkpoints were put back to those of round 1"


def problems_of(said: Sequence[dict[str, Any]], folder: Path, *, where: str) -> list[str]:
    """Return what was seen, or stands on the disk, of a round that the account has no entry of."""
    account = RunStore(folder).account(RUN)
    entries = defaultdict(int)
    for debit in account.debits:
        entries[debit.round] += 1
    problems, sent = [], defaultdict(set)
    for line in said:
        if "sent" in line:
            sent[line["sent"]].add(line["digest"])
    for number, digests in sent.items():
        missing = [before for before in range(1, number) if not entries[before]]
        if missing:
            problems.append(f"{where}: a task of round {number} left, and rounds {missing} have no debit")
        ways = 1
        for before in range(1, number):
            ways *= max(1, entries[before])
        if len(digests) > ways:
            problems.append(f"{where}: round {number} was sent in {len(digests)} forms, {ways} were paid for")
    for path in sorted((folder / "server" / "rounds").glob("round-*.json")):
        number = int(path.stem.removeprefix("round-"))
        if number and not entries[number]:
            problems.append(f"{where}: {path.name} is on the disk, and round {number} has no debit")
    return problems


def trial(folder: Path, older: Path, draw: random.Random, whole: Process, *, by_clock: bool) -> list[str]:
    """Kill a server, tamper in a third of the trials, go on to the end, and say what did not hold."""
    shutil.copytree(older, folder)
    if by_clock:
        killed = Process(folder, kill_after_s=draw.random() * whole.seconds)
    else:
        killed = Process(folder, die_at=draw.randrange(whole.said[-1]["steps"]))
    problems = problems_of(killed.said, folder, where="after the kill")
    before = Account(folder / "server" / "account", RUN).debits
    what = tamper(folder, older, draw) if draw.random() < 1 / 3 else "nothing"
    again = Process(folder)
    problems += problems_of([*killed.said, *again.said], folder, where=f"in the end ({what} in between)")
    after = Account(folder / "server" / "account", RUN).debits
    if after[: len(before)] != before:
        problems.append("entries of before the kill are not in the account any more")
    if {debit.round for debit in after} != set(range(1, ROUNDS + 1)):
        problems.append(f"rounds {[debit.round for debit in after]} have entries")
    if again.killed or len(RunStore(folder).records()) != ROUNDS:
        problems.append("the run did not go on to its end")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the points")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a line")
    options = parser.parse_args()
    draw, problems, again = random.Random(options.seed), [], 0
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fs") as scratch:
        older = Path(scratch) / "older"
        serve(older, lambda _: None, rounds=1)
        shutil.copytree(older, Path(scratch) / "whole")
        whole = Process(Path(scratch) / "whole")
        for number in range(options.kills):
            folder = Path(scratch) / f"trial-{number}"
            found = trial(folder, older, draw, whole, by_clock=number % 2 == 0)
            problems += [f"kill {number}: {problem}" for problem in found]
            entries = [debit.round for debit in Account(folder / "server" / "account", RUN).debits]
            again += len(entries) - len(set(entries))
            shutil.rmtree(folder)
    seconds = time.perf_counter() - started
    for problem in problems[:20]:
        print(problem, file=sys.stderr)
    if options.json:
        print(json.dumps({"kills": options.kills, "problems": problems, "counted_again": again}))
    else:
        verdict = "FAILED" if problems else "PASSED"
        print(
            f"{verdict}: {options.kills} kills in {seconds:.0f} s; {len(problems)} problems; "
            f"{again} rounds released anew, each with an entry of its own"
        )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
