"""A week of a fleet in fast motion: what happens to a fleet in a week, in about twenty minutes, as processes.

24 devices, nginx, Flower's SuperLink, the rounds, the console and PostgreSQL, all on loopback, each started
by fedstill's own commands. A window opens every few seconds, and each has one round. Meanwhile:

* three releases in stages, one of a new generation, and one of a student that answers at random, which is
  stopped at its canary;
* two devices are revoked;
* ten times something gets SIGKILL: the SuperLink, the rounds, nginx, the console, the database, all of the
  server at once, and devices;
* the disk of one device is full for a while;
* the kill switch, and back.

The verdict: each answer is counted once, and is in its device's ledger once; no device loses its owner's
student; at most a tenth of the devices ever answer from the bad release; the students' accuracy on the test
set is never over a point below the median of the five windows before for two windows in a row; a revoked
device takes no part; the kill switch reaches every device in a minute; and the console and the metrics tell
of all of it.

    python benchmarks/week.py
    python benchmarks/week.py --windows 20 --devices 8     # a short one
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))  # it is started by its file's name

from fedstill_client.home import AgentHome
from fedstill_client.packages.plan import read_plan
from fedstill_client.store import PrivateStore
from fedstill_proto.errors import FedstillError
from fedstill_proto.package.artifact import load_student, save_package
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.run_store import RunStore
from fedstill_sim.data.digits import load_digits

from benchmarks.fleet_on_loopback.fleet import Digits, Fleet, Shape, enrol
from benchmarks.fleet_on_loopback.postgresql import MissingProgram, PostgreSQL, postgresql
from benchmarks.fleet_on_loopback.processes import (
    LOOPBACK,
    FleetFailed,
    RunningCommand,
    Server,
    end_afterwards,
    free_port,
    kill_tree,
    program,
    wait_until,
)

FAMILY = "mlp-small"
_ROUND_WITHIN_S = 240.0
_KILL_SWITCH_WITHIN_S = 60.0
_MOST_FALL, _BEFORE = 0.01, 5
_MOST_ON_BAD_RELEASE = 0.1
_DISK_BYTES = 60 << 20


@dataclass(frozen=True, kw_only=True)
class Week:
    """How long it is, and how large."""

    windows: int = 60
    devices: int = 24
    window_every_s: int = 15
    goal: int = 6
    seed: int = 1000


@dataclass
class Seen:
    """What was seen of the devices, every few seconds.

    Attributes:
        versions: The package versions that each device has answered from.
        students: Where each device's own student was last: its run and round.
        lost: What a device had, and has no more.
    """

    versions: dict[str, set[int]] = field(default_factory=dict)
    students: dict[str, tuple[str, int]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    def look(self, homes: dict[str, AgentHome]) -> None:
        """Look into all homes, as their owners could."""
        for name, home in homes.items():
            try:
                with PrivateStore.open(home) as store:
                    installed = store.installed()
                    assert installed is not None
                    manifest = load_student(installed.folder).manifest
                    own = store.students(manifest, installed.version).latest()
            except (FedstillError, OSError):
                continue  # it is changing packages just now, or its disk is full
            self.versions.setdefault(name, set()).add(installed.version)
            before = self.students.get(name)
            if own is not None:
                self.students[name] = own.run, own.round
            elif before is not None:
                self.lost.append(
                    f"{name}: its student of round {before[1]}, under package {installed.version}"
                )


@dataclass
class Run:
    """A week that is under way."""

    week: Week
    fleet: Fleet
    console_port: int
    metrics_port: int
    token: str
    database: PostgreSQL | None
    disk: Path | None
    seen: Seen = field(default_factory=Seen)
    kills: list[str] = field(default_factory=list)
    revoked: dict[str, int] = field(default_factory=dict)  # the round after which
    notes: list[str] = field(default_factory=list)
    kill_switch_s: float = -1.0
    bad_version: int = 0

    @property
    def folder(self) -> Path:
        return self.fleet.folder

    @property
    def homes(self) -> dict[str, AgentHome]:
        return {name: agent.home for name, agent in self.fleet.agents.items()}

    def say(self, text: str) -> None:
        self.notes.append(f"after round {self.last_round():2d}: {text}")
        print(self.notes[-1], flush=True)

    def last_round(self) -> int:
        return RunStore(self.folder).last_round()

    def until_round(self, number: int) -> None:
        """Wait until a round is committed, looking at the devices meanwhile."""
        end = time.monotonic() + _ROUND_WITHIN_S * max(1, number - self.last_round())
        while self.last_round() < number:
            if not self.fleet.server.is_running():
                raise FleetFailed("the server ended:\n" + "\n".join(self.fleet.server.lines()[-20:]))
            if time.monotonic() > end:
                raise FleetFailed(f"round {number}: not in time; the server says:\n" + self.waits_for())
            self.seen.look(self.homes)
            time.sleep(1.0)

    def waits_for(self) -> str:
        shown = program("fedstill-server", "schedule", self.folder, as_json=False)
        return str(shown) + "\n".join(self.fleet.server.lines()[-10:])

    def server(self, *words: object) -> Any:
        return program("fedstill-server", words[0], *words[1:])

    def release(self, *words: object) -> Any:
        return program("fedstill-server", "release", words[0], self.folder, *words[1:])

    def api(self, path: str) -> Any:
        headers = {"authorization": f"Bearer {self.token}"}
        found = httpx.get(f"http://{LOOPBACK}:{self.console_port}/api/{path}", headers=headers, timeout=30)
        found.raise_for_status()
        return found.json()

    def metrics(self) -> dict[str, float]:
        text = httpx.get(f"http://{LOOPBACK}:{self.metrics_port}/metrics", timeout=30).text
        lines = (line for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def child(self, name: str) -> int:
        """The process id of one of the server's children."""
        for entry in json.loads((self.folder / "logs" / "children.json").read_text()):
            if entry["name"] == name:
                return int(entry["pid"])
        raise FleetFailed(f"the server has no child {name!r}")

    def kill(self, what: str, pid: int) -> None:
        killed = kill_tree(pid)
        self.kills.append(what)
        self.say(f"SIGKILL to {what} ({killed} processes)")


# What happens, and after which share of the windows.
def timeline(run: Run) -> list[tuple[float, Callable[[], None]]]:
    agents = list(run.fleet.agents)
    return [
        (0.08, lambda: kill_child(run, "superlink")),
        (0.10, lambda: good_release(run)),
        (0.15, lambda: kill_agent(run, agents[1])),
        (0.18, lambda: revoke(run, agents[-1])),
        (0.22, lambda: kill_child(run, "serverapp")),
        (0.27, lambda: next_generation(run)),
        (0.33, lambda: kill_child(run, "proxy")),
        (0.38, lambda: kill_agent(run, agents[2])),
        (0.42, lambda: fill_disk(run)),
        (0.48, lambda: empty_disk(run)),
        (0.50, lambda: kill_server(run)),
        (0.55, lambda: bad_release(run)),
        (0.62, lambda: kill_child(run, "console")),
        (0.66, lambda: kill_database(run)),
        (0.72, lambda: revoke(run, agents[-2])),
        (0.76, lambda: kill_agent(run, agents[3])),
        (0.82, lambda: kill_child(run, "superlink")),
        (0.88, lambda: kill_switch(run)),
    ]


def kill_child(run: Run, name: str) -> None:
    run.kill(name, run.child(name))


def kill_agent(run: Run, name: str) -> None:
    agent = run.fleet.agents[name]
    run.kill(f"device {name}", agent.pid)
    time.sleep(1.0)
    agent.start()


def kill_server(run: Run) -> None:
    run.kill("the server with all that it started", run.fleet.server.pid)
    run.fleet.server.start()


def kill_database(run: Run) -> None:
    if run.database is None:
        run.kill("device (there is no database to kill)", next(iter(run.fleet.agents.values())).pid)
        next(iter(run.fleet.agents.values())).start()
        return
    run.kill("the database", run.database.pid)
    time.sleep(8.0)
    run.database.start()


def revoke(run: Run, name: str) -> None:
    run.server("unregister", run.folder, name, "--reason", "sold")
    run.revoked[name] = run.last_round() + 1  # the round that is open may still count it
    run.say(f"{name} is revoked")


def fill_disk(run: Run) -> None:
    if run.disk is None:
        run.say("NOT DONE: a full disk needs the right to mount one")
        return
    blob = b"\0" * (1 << 16)
    with contextlib.suppress(OSError), (run.disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(blob)
    run.say("the disk of a device is full")


def empty_disk(run: Run) -> None:
    if run.disk is not None:
        (run.disk / "filler").unlink()
        run.say("it has room again")


_STAGED = ("--stages", "4,10,100", "--least-time", "8s", "--least-reports", "2")


def good_release(run: Run) -> None:
    started = run.release("start", *_STAGED)
    run.say(f"release {started['package_version']} of the newest students is on its way")
    released(run, started["package_version"], "done")


def next_generation(run: Run) -> None:
    run.server("prepare", run.folder, "--set", "server_step=0.4", "--epochs", 3)
    started = run.release("start", *_STAGED)
    run.say(f"release {started['package_version']} of generation 2 is on its way")
    released(run, started["package_version"], "done")


def bad_release(run: Run) -> None:
    """Release a student that answers at random, whatever the server's own gate says."""
    home = next(iter(run.homes.values()))
    with PrivateStore.open(home) as store:
        installed = store.installed()
        assert installed is not None
        good = load_student(installed.folder)
    noise = np.random.default_rng(run.week.seed)
    weights = {
        name: noise.normal(0, 1, array.shape).astype(np.float32) for name, array in good.parameters.items()
    }
    folder = run.folder.parent / "bad"
    save_package(folder, type(good)(**{**vars(good), "parameters": weights}))
    with contextlib.suppress(FleetFailed):
        run.release("start", "--package", folder, *_STAGED)
        run.say("WRONG: the server offers a student that is at chance, without being forced to")
        return
    started = run.release("start", "--package", folder, "--force", *_STAGED)
    run.bad_version = started["package_version"]
    run.say(f"release {run.bad_version} is of a student that answers at random")
    released(run, run.bad_version, "taken back")


def released(run: Run, version: int, status: str) -> None:
    """Wait for what becomes of a release, looking at the devices as often as possible."""

    def over() -> str:
        run.seen.look(run.homes)
        return str(run.release("status", "--release", version)["status"]).replace("staged", "")

    became = wait_until(over, seconds=_ROUND_WITHIN_S * 2, what=f"release {version}")
    run.say(f"release {version} is {became}" + ("" if became == status else f", WRONG: expected {status}"))


def kill_switch(run: Run) -> None:
    """Switch rounds off, and measure when the last running device knows."""
    running = {name: home for name, home in run.homes.items() if name not in run.revoked}
    run.server("kill", run.folder, "--reason", "a drill")
    started = time.monotonic()

    def all_know() -> bool:
        plans = [read_plan(home) for home in running.values()]
        return all(plan is not None and plan.rounds_off for plan in plans)

    with contextlib.suppress(FleetFailed):
        wait_until(all_know, seconds=2 * _KILL_SWITCH_WITHIN_S, what="the kill switch")
        run.kill_switch_s = time.monotonic() - started
    run.say(f"the kill switch has reached all devices after {run.kill_switch_s:.0f} s")
    run.server("revive", run.folder)


def verdict(run: Run) -> dict[str, Any]:
    """What came of the week, and what is wrong with it."""
    records, wrong = run.fleet.records(), []
    counted = Counter((record.round, device) for record in records for device in record.counted)
    wrong += [
        f"{device}: counted {n} times in round {round}" for (round, device), n in counted.items() if n > 1
    ]
    for name in run.fleet.agents:
        ledger = Counter(release.round for release in run.fleet.summaries(name))
        mine = {round for round, device in counted if device == name}
        wrong += [
            f"{name}: {n} summaries of round {round} in its ledger" for round, n in ledger.items() if n > 1
        ]
        if missing := sorted(mine - ledger.keys()):
            wrong.append(f"{name}: rounds {missing} counted, and not in its ledger")
    wrong += run.seen.lost
    on_bad = sorted(name for name, versions in run.seen.versions.items() if run.bad_version in versions)
    if len(on_bad) > max(1, _MOST_ON_BAD_RELEASE * run.week.devices):
        wrong.append(f"{len(on_bad)} devices answered from the bad release: {on_bad}")
    if run.bad_version and not on_bad:
        wrong.append("no device was ever seen on the bad release: the canary was not tried")
    wrong += falls(records)
    for name, after in run.revoked.items():
        late = [record.round for record in records if record.round > after and name in record.counted]
        wrong += [f"{name}: counted in rounds {late}, after it was revoked"] if late else []
    if not 0 <= run.kill_switch_s <= _KILL_SWITCH_WITHIN_S:
        wrong.append(f"the kill switch took {run.kill_switch_s:.0f} s")
    wrong += [note for note in run.notes if "WRONG" in note]
    wrong += untold(run, records)
    return {
        "windows": len(records),
        "answers": sum(counted.values()),
        "accuracy_by_round": [accuracy_of(record) for record in records],
        "personal_by_round": [record.personal_accuracy for record in records],
        "releases": {
            str(v): sorted(n for n, vs in run.seen.versions.items() if v in vs) for v in versions(run)
        },
        "on_bad_release": on_bad,
        "kills": run.kills,
        "kill_switch_s": run.kill_switch_s,
        "left_out": dict(Counter(one.reason for record in records for one in record.quarantined)),
        "notes": run.notes,
        "wrong": wrong,
        "holds": not wrong,
    }


def versions(run: Run) -> list[int]:
    return sorted(set().union(*run.seen.versions.values())) if run.seen.versions else []


def accuracy_of(record: RoundRecord) -> float:
    """The students' accuracy on the server's test set."""
    shares = list(record.student_accuracy.values())
    return sum(shares) / len(shares)


def falls(records: Sequence[RoundRecord]) -> list[str]:
    """Where two windows in a row are over a point below the median of the five before them."""
    found = []
    accuracies = [accuracy_of(record) for record in records]
    for place in range(_BEFORE, len(records) - 1):
        usual = statistics.median(accuracies[place - _BEFORE : place])
        lately = accuracies[place : place + 2]
        if max(lately) < usual - _MOST_FALL:
            found.append(
                f"rounds {records[place].round} and {records[place + 1].round}: global accuracy "
                f"{lately[0]:.1%} and {lately[1]:.1%}, and {usual:.1%} before"
            )
    return found


def untold(run: Run, records: Sequence[RoundRecord]) -> list[str]:
    """What happened and neither console nor metrics tell."""
    wrong, metrics, fleet = [], run.metrics(), run.api("fleet?rounds=2000")
    if (told := metrics.get("fedstill_round")) != len(records):
        wrong.append(f"metrics: the last round is {told}, and there are {len(records)}")
    events = run.api("events?limit=1000")
    while more := run.api(f"events?limit=1000&after={events[-1]['number']}"):
        events += more
    text = "\n".join(event["text"] for event in events)
    for name in run.revoked:
        if name not in text:
            wrong.append(f"console: no event names {name}, which was revoked")
    for needed in (
        f"release {run.bad_version} is taken back",
        "rounds are switched off",
        "rounds are switched on",
    ):
        if needed not in text:
            wrong.append(f"console: no event says {needed!r}")
    shown = json.dumps(fleet)
    if f'"round": {len(records)}' not in shown:
        wrong.append("console: the last round is not there")
    return wrong


@contextlib.contextmanager
def began(folder: Path, week: Week) -> Iterator[Run]:
    """Bring the fleet up, with all of its devices enrolled and running."""
    shape = Shape(devices=week.devices, families=(FAMILY,), seed=week.seed)
    data = load_digits(devices=week.devices, families=(FAMILY,), seed=week.seed)
    task, at = Digits(data), folder / "fleet"
    ports = ("--port", free_port(), "--superlink-port", free_port())
    console_port, metrics_port = free_port(), free_port()
    with contextlib.ExitStack() as stack:
        program("fedstill-server", "init", at, "--host", LOOPBACK, *ports)
        options = {
            **task.prepare_options(folder),
            "--families": FAMILY,
            "--goal-count": week.goal,
            "--over-selection": 1.34,
            "--evaluate-every": 5,
            "--deadline": 60,
            "--seed": week.seed,
        }
        program("fedstill-server", "prepare", at, *(word for pair in options.items() for word in pair))
        every = f"*/{week.window_every_s} * * * * *"
        once = ("--for", "5s", "--rounds-a-day", 1_000_000, "--least-devices", week.goal, "--every", "1s")
        program("fedstill-server", "schedule", at, "--window", every, *once)
        database = None
        with contextlib.suppress(MissingProgram):
            database = stack.enter_context(postgresql())
            program("fedstill-server", "database", at, database.address)
        token = _token(at)
        program("fedstill-server", "publish", at)
        program("fedstill-server", "invite", at, "--out", at / "enrolment")
        server = Server(at, "up", "--console", console_port)
        fleet = Fleet(at, shape, task, server)
        stack.enter_context(end_afterwards(server))
        server.start()
        server.wait_for("up", seconds=60)
        metrics = RunningCommand(
            folder / "metrics.log",
            "fedstill-server",
            *("console", at, "--port", 0, "--metrics-port", metrics_port),
        )
        stack.enter_context(end_afterwards(metrics))
        metrics.start()
        disk = stack.enter_context(_small_disk(folder / data.device_names[0]))
        for device in range(week.devices):
            enrol(fleet, device)
        stack.enter_context(end_afterwards(*fleet.agents.values()))
        fleet.start()
        yield Run(week, fleet, console_port, metrics_port, token, database, disk)


def _token(folder: Path) -> str:
    command = [str(Path(sys.executable).with_name("fedstill-server")), "console-password", str(folder)]
    done = subprocess.run(
        [*command, "--stdin", "--json"],
        input="correct horse battery\n",
        capture_output=True,
        text=True,
        check=True,
    )
    return str(json.loads(done.stdout)["token"])


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    """A disk of its own for a folder, where whoever runs this may mount one; it goes when the block ends."""
    folder.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES},mode=0700", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def lived(week: Week, folder: Path) -> dict[str, Any]:
    """Live through the week in `folder`; returns what came of it."""
    started = time.monotonic()
    with began(folder, week) as run:
        print(f"{week.devices} devices are up after {time.monotonic() - started:.0f} s", flush=True)
        for share, happens in timeline(run):
            run.until_round(max(1, round(share * week.windows)))
            happens()
        run.until_round(week.windows)
        run.seen.look(run.homes)
        result = verdict(run)
    return {**result, "week": asdict(week), "seconds": round(time.monotonic() - started)}


def as_text(result: dict[str, Any]) -> str:
    """Return the result in a few lines."""
    accuracies = [share for share in result["accuracy_by_round"] if share is not None]
    lines = [
        f"{result['windows']} windows, {result['answers']} answers counted, {result['seconds']} s",
        f"global accuracy {accuracies[0]:.1%} at first, {accuracies[-1]:.1%} at last, "
        f"{min(accuracies):.1%} at least",
        f"left out: {result['left_out']}",
        f"SIGKILL to: {', '.join(result['kills'])}",
        f"on the bad release: {len(result['on_bad_release'])} of {result['week']['devices']} devices",
        f"the kill switch took {result['kill_switch_s']:.0f} s",
        *(f"WRONG {problem}" for problem in result["wrong"]),
        "verdict: " + ("holds" if result["holds"] else "DOES NOT HOLD"),
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--windows", type=int, default=Week.windows)
    parser.add_argument("--devices", type=int, default=Week.devices)
    parser.add_argument("--window-every", type=int, default=Week.window_every_s, help="seconds")
    parser.add_argument("--seed", type=int, default=Week.seed)
    parser.add_argument("--keep", type=Path, help="a new folder for all that the fleet leaves")
    parser.add_argument("--json", action="store_true", help="print one JSON document at the end")
    options = parser.parse_args(arguments)
    week = Week(
        windows=options.windows,
        devices=options.devices,
        window_every_s=options.window_every,
        goal=max(2, options.devices // 4),
        seed=options.seed,
    )
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fs")))
        folder.mkdir(parents=True, exist_ok=True)
        result = lived(week, folder)
    print(json.dumps(result, indent=1) if options.json else as_text(result))
    return 0 if result["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
