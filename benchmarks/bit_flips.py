"""One bit is flipped, again and again, in all that a server keeps on its disk: is each flip found and named?

The server is a fleet as its operator has it (made by fedstill-server init, prepare and publish; mode central,
two rounds done, registered devices), and a simulated run with its result. Half of the flips pick a file
first, the other half any bit of all files. After each flip

  found     `fedstill-server inspect`'s check names the file, and says what to do
  reading   what the server does with its files (go on with the run, sign, let devices in) ends well, or with
            an error for people: never a traceback
  silent    what was read is what had been written: never silently something else

Left out: Flower's own files, locks, and what `fedstill-server up` writes anew (bundle/, nginx/, logs/).

    python benchmarks/bit_flips.py --flips 500 --seed 0
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from account_kills import ScriptedDevices, public_examples
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fedstill_proto.errors import FedstillError
from fedstill_server.cli import cli
from fedstill_server.fleet.damage import damage_in
from fedstill_server.fleet.devices import DeviceRegister
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.fleet.nodes import read_nodes, write_nodes
from fedstill_server.publish.repository import Repository
from fedstill_server.rounds.fleet_run import FleetRun
from fedstill_server.rounds.roster import RegisteredNode
from fedstill_server.rounds.run_store import RunStore, load_parameters_file
from fedstill_server.run_folder import read_fleet_config
from fedstill_server.state import digest_of
from fedstill_server.tasks import load_public
from fedstill_sim.cli import app as simulator
from fedstill_sim.folder import CONFIG_FILE
from fedstill_sim.results.run_result import RESULT_FILE, read_result
from tuf.api.metadata import Targets
from typer.testing import CliRunner

_LEFT_OUT = {"bundle", "nginx", "logs", "flower"}
# Of a simulated run: what the server wrote and what the result is; data and devices are the simulator's own.
_OF_A_SIMULATION = {"server", CONFIG_FILE, RESULT_FILE}


def build_fleet(folder: Path) -> None:
    """Make a fleet as an operator does, and do two rounds."""
    public = folder.parent / "public.npz"
    examples = public_examples()
    np.savez(public, x=examples.x, y=examples.y)
    _run(cli, "init", folder, "--host", "fleet.example.org")
    words = ("--method", "public-logits", "--families", "mlp-small", "--rounds", 3)
    noise = ("--privacy", "central", "--noise-multiplier", 2)
    _run(cli, "prepare", folder, "--public", public, *words, *noise)
    _run(cli, "publish", folder)
    for name in ("kitchen", "hall"):
        key = ec.generate_private_key(ec.SECP384R1()).public_key()
        file = folder.parent / f"{name}.pub"
        file.write_bytes(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
        DeviceRegister(folder / "devices").add(file, name)
    write_nodes(
        folder / "nodes.json", {2: RegisteredNode("kitchen", "2026"), 3: RegisteredNode("hall", "2026")}
    )
    config = read_fleet_config(folder)
    store = RunStore(folder)
    run = FleetRun(ScriptedDevices(lambda _: None), config, public=load_public(folder, config), store=store)
    with stopped_after(run, rounds=2):
        run.run()
    checkpoint = store.latest()
    assert checkpoint is not None
    assert checkpoint.round == 2
    store.write_final(checkpoint.state)


class Stopped(Exception):
    """The run has done as many rounds as it was to do."""


@contextmanager
def stopped_after(run: FleetRun, *, rounds: int) -> Iterator[None]:
    """Stop a run after so many rounds, as a kill would: the next one goes on."""
    play = run._round

    def limited(before: Any) -> Any:
        if before.round == rounds:
            raise Stopped
        return play(before)

    run._round = limited  # type: ignore[method-assign]
    with suppress(Stopped):
        yield


def build_simulation(folder: Path) -> None:
    words = ("--devices", 2, "--families", "mlp-small", "--rounds", 2, "--epochs", 1)
    options = ("--baselines", "none", "--no-tradeoff", "--no-report", "--processes", 0, "--out", folder)
    _run(simulator, "run", "digits", "--method", "class-logits", *words, *options)


def _run(app: Any, *words: object) -> None:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exit_code:
        raise SystemExit(f"{words[0]}: {done.output}{done.exception}")


def files_of(fleet: Path, simulation: Path) -> list[Path]:
    """All that holds anything: empty files are locks."""

    def of(folder: Path, top: Callable[[str], bool]) -> Iterator[Path]:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.stat().st_size and top(path.relative_to(folder).parts[0]):
                yield path

    return [
        *of(fleet, lambda name: name not in _LEFT_OUT),
        *of(simulation, lambda name: name in _OF_A_SIMULATION),
    ]


def read_all(folder: Path) -> dict[str, str]:
    """Do what the server does with its files; return the digest of what was read, or the error, by step."""
    fleet, store = FleetFolder(folder), RunStore(folder)
    repository = Repository(folder)

    def state() -> object:
        checkpoint = store.latest()
        assert checkpoint is not None
        return (
            checkpoint.round,
            digest_of(checkpoint.state.flat()),
            sorted(checkpoint.installed),
            checkpoint.pending,
        )

    def keys() -> object:
        root = repository._metadata.root()
        return [repository.keys.signer(role, root).public_key.to_dict() for role in sorted(root.roles)]

    steps: dict[str, Callable[[], object]] = {
        "configuration": lambda: read_fleet_config(folder).to_json(),
        "records": lambda: [record.to_json() for record in store.records()],
    }
    if (folder / RESULT_FILE).exists():
        steps["result"] = lambda: read_result(folder / RESULT_FILE)
    if FleetFolder.is_at(folder):
        config = FleetFolder(folder)
        steps |= {
            "digests": lambda: fleet.digests.check(),
            "settings": lambda: (config.settings, config.run),
            "account": lambda: (account := store.account(config.run)).debits and account.released(2),
            "public set": lambda: load_public(folder, read_fleet_config(folder)).x.tobytes(),
            "devices": lambda: DeviceRegister(fleet.devices).all(),
            "nodes": lambda: read_nodes(fleet.nodes),
            "keys": keys,
            "published": lambda: (repository.published(), repository._metadata.read(Targets).to_dict()),
        }
    steps["final"] = lambda: [
        load_parameters_file(path) for path in sorted((folder / "server" / "final").rglob("*.safetensors"))
    ]
    steps["state"] = state  # last: it forgets what is damaged
    read = {}
    for name, step in steps.items():
        try:
            read[name] = hashlib.sha256(repr(step()).encode()).hexdigest()
        except FedstillError as error:
            read[name] = f"error: {error}"
        except Exception as error:
            read[name] = f"traceback: {type(error).__name__}: {error}"
    return read


class Warnings(logging.Handler):
    """Keeps what was logged for people."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def examine(path: Path, bit: int, folder: Path, clean: dict[str, str], heard: Warnings) -> list[str]:
    """Flip a bit of a file, look, and put it back; return what did not hold."""
    whole = {each: each.read_bytes() for each in (path, *sorted((folder / "server" / "rounds").iterdir()))}
    changed = bytearray(whole[path])
    changed[bit // 8] ^= 1 << bit % 8
    path.write_bytes(changed)
    heard.texts.clear()
    wrong = []
    try:
        found = damage_in(folder)
    except Exception as error:
        found, wrong = [], [f"traceback in the check: {type(error).__name__}: {error}"]
    name = path.name.removesuffix(".json") if path.parent.name == "devices" else path.name
    if path.parent.parent.name == "artifacts":
        name = path.parent.name  # the folder is built anew as a whole
    if not any(name in problem for problem in found):
        wrong.append(f"not found ({found[:1]})")
    read = read_all(folder)
    told = [*(text for text in read.values() if text.startswith("error:")), *heard.texts]
    wrong += [f"{step}: {text}" for step, text in read.items() if text.startswith("traceback")]
    silent = [step for step, text in read.items() if text != clean[step] and not text.startswith("error")]
    if silent and not any(name in text for text in told):
        wrong.append(f"silently other: {silent}")
    for each, content in whole.items():
        each.write_bytes(content)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="of the bits")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    draw, heard = random.Random(options.seed), Warnings()
    for name in ("fedstill.account", "fedstill.checkpoint"):
        logging.getLogger(name).addHandler(heard)
        logging.getLogger(name).propagate = False
    wrong: list[str] = []
    kinds: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="fs") as scratch:
        fleet, simulation = Path(scratch) / "fleet", Path(scratch) / "run"
        build_fleet(fleet)
        build_simulation(simulation)
        clean = {folder: read_all(folder) for folder in (fleet, simulation)}
        for folder, read in clean.items():
            bad = [
                *damage_in(folder),
                *(text for text in read.values() if text.startswith(("error", "trace"))),
            ]
            if bad:
                raise SystemExit(f"{folder.name} is damaged before any flip: {bad[:3]}")
        files = files_of(fleet, simulation)
        sizes = [path.stat().st_size for path in files]
        started = time.perf_counter()
        for number in range(options.flips):
            path = draw.choice(files) if number % 2 else draw.choices(files, sizes)[0]
            folder = fleet if path.is_relative_to(fleet) else simulation
            bit = draw.randrange(8 * path.stat().st_size)
            found = examine(path, bit, folder, clean[folder], heard)
            place = path.relative_to(scratch)
            kinds["/".join(place.parts[: 3 if place.parts[1] == "server" else 2])] += 1
            wrong += [f"flip {number}, {place}, bit {bit}: {problem}" for problem in found]
    seconds = time.perf_counter() - started
    for problem in wrong[:30]:
        print(problem, file=sys.stderr)
    if options.json:
        print(json.dumps({"flips": options.flips, "files": len(files), "wrong": wrong, "by_place": kinds}))
    else:
        for place, count in sorted(kinds.items()):
            print(f"{place:34s} {count:4d} flips")
        print(
            f"{'FAILED' if wrong else 'PASSED'}: {options.flips} one-bit flips in {len(files)} files in "
            f"{seconds:.0f} s; {len(wrong)} not found, not named, a traceback, or silently other"
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
