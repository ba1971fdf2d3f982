"""Does `forget` leave no byte behind: on a full disk, and after kill -9 in the middle of it?

A home with examples, a student, a learning on its way and a noised answer lies on a small disk of its own (a
tmpfs in a user namespace), which is filled to the last byte. A process is told to forget everything (in every
other trial: half of the examples) and is killed with SIGKILL, half of the times after a random time, the
other half at a random call that touches the disk. In every third trial the disk is filled again after the
kill, and in another third it had room all the time. Then the store is opened, as a device does when it
starts. Where nothing had been written down before the kill, all is there as it was, and forgetting is asked
for again. In the end the bytes of every file in the home are searched for what was forgotten.

    python benchmarks/forget.py --kills 100 --seed 0
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from fedstill_client.home import AgentHome
from fedstill_client.store import PrivateStore
from fedstill_client.store.ledger import Release
from fedstill_proto.errors import FedstillError

_EXAMPLES, _NUMBERS, _LARGE_BYTES, _DISK_MIB, _CANARY_BYTES = 1500, 64, 1_200_000, 24, 24
_DISK_CALLS = {"execute", "fetchall", "truncate", "unlink", "rmdir", "posix_fallocate", "open", "close"}
_INSIDE = "FEDSTILL_BENCHMARK_DISK"


def canary(number: int, size: int) -> bytes:
    """Return bytes that occur nowhere else."""
    return np.random.default_rng([7, number]).bytes(size)


def build(home: AgentHome) -> None:
    """Make a home that holds something of all that can be forgotten."""
    with PrivateStore.create(home) as store:
        rows = [np.frombuffer(canary(number, 4 * _NUMBERS), np.uint8) for number in range(_EXAMPLES)]
        store.observe_all([((row.astype(np.float32).repeat(1)), 0) for row in rows])
        large = canary(-1 % 2**32, _LARGE_BYTES)
        store._database.execute(
            "INSERT INTO students VALUES (1, 'current', 'r1', 1, ?)", (canary(2**31, _LARGE_BYTES),)
        )
        store.save_learning(large)
        summary = canary(2**30, 5000)
        release = Release("r1", 1, "class-means", 10, 5000, "ab" * 32, "discrete-gaussian", 0.5)
        store.ledger.debit_noised(release, summary, budget=None)
    home.answers.mkdir()
    (home.answers / "x.answers").write_bytes(canary(2**29, 3000))


def pieces_of(home: AgentHome) -> dict[int, bytes]:
    """Return a piece of each example by its id, and of what was learned from them (id 0 and below)."""
    with PrivateStore.open(home) as store:
        kept = store.examples("all")
    pieces = {
        int(number): row.tobytes()[:_CANARY_BYTES] for number, row in zip(kept.ids, kept.x, strict=True)
    }
    learned = ((-1 % 2**32, _LARGE_BYTES), (2**31, _LARGE_BYTES), (2**30, 5000), (2**29, 3000))
    for place, (seed, size) in enumerate(learned):
        whole = canary(seed, size)
        for part, start in enumerate((0, size // 2, size - _CANARY_BYTES)):
            pieces[-10 * place - part] = whole[start : start + _CANARY_BYTES]
    return pieces


def found_in(folder: Path, pieces: dict[int, bytes]) -> list[int]:
    """Return which pieces are in the bytes of any file, at any place."""
    starts = np.array([int.from_bytes(piece[:8], "little") for piece in pieces.values()], np.uint64)
    names, found = np.array(list(pieces)), set()
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        for shift in range(min(8, len(content))):
            words = np.frombuffer(content[shift : shift + (len(content) - shift) // 8 * 8], np.uint64)
            if not len(words):
                continue
            for place in np.flatnonzero(np.isin(words, starts)):
                at = int(place) * 8 + shift
                for name in names[starts == words[place]]:
                    if content[at : at + len(pieces[name])] == pieces[name]:
                        found.add(int(name))
    return sorted(found)


def fill(folder: Path) -> None:
    """Write until the disk holds not one byte more."""
    with (folder / "filler").open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"\xff" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


class Steps:
    """A profiler that counts calls that touch the disk, and dies at one of them."""

    def __init__(self, last: int | None) -> None:
        self.seen, self._last = 0, last

    def __call__(self, frame: FrameType, event: str, called: Any) -> None:
        if event in ("c_call", "c_return") and getattr(called, "__name__", "") in _DISK_CALLS:
            if self.seen == self._last:
                os.kill(os.getpid(), signal.SIGKILL)
            self.seen += 1


def forget(home: AgentHome, ids: list[int] | None) -> int:
    with PrivateStore.open(home) as store:
        return store.forget(ids=ids, everything=ids is None).examples


def in_a_process(
    home: AgentHome, ids: list[int] | None, *, die_at: int | None = None, kill_after_s: float | None = None
) -> tuple[str, float, int]:
    """Forget in a process of its own; gives how it ended, its seconds, and the calls that touch the disk."""
    read, write = os.pipe()
    started = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        steps = Steps(die_at)
        try:
            sys.setprofile(steps)
            text = f"forgot {forget(home, ids)}"
        except FedstillError as error:
            text = f"failed: {error}"
        finally:
            sys.setprofile(None)
        os.write(write, json.dumps([text, steps.seen]).encode())
        os._exit(0)
    os.close(write)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(pid, signal.SIGKILL)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    text, seen = json.loads(said) if said else ("killed", 0)
    return text, time.perf_counter() - started, seen


def trial(
    number: int, disk: Path, spare: Path, draw: random.Random, whole: dict[str, tuple[float, int]]
) -> tuple[str, str]:
    """Forget, kill, start again; gives what was found, and what is wrong (empty: nothing)."""
    for path in disk.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(spare, disk / "home")
    home = AgentHome(disk / "home")
    pieces = pieces_of(home)
    half = number % 2 == 1
    ids = sorted(one for one in pieces if one > 0)[::2] if half else None
    gone = {one: piece for one, piece in pieces.items() if one <= 0 or ids is None or one in set(ids)}
    roomy = number % 3 == 0
    if not roomy:
        fill(disk)
    seconds, steps = whole["half" if half else "all"]
    if draw.random() < 0.5:
        text, _, _ = in_a_process(home, ids, kill_after_s=draw.random() * seconds)
    else:
        text, _, _ = in_a_process(home, ids, die_at=draw.randrange(steps))
    if number % 3 == 1:
        fill(disk)
    # The device starts.
    try:
        with PrivateStore.open(home) as store:
            left = store.counts()
    except FedstillError as error:
        return text, f"it does not open: {error}"
    there = left.training + left.held_out
    if text != "killed" and not text.startswith("forgot"):
        return text, text
    if there == _EXAMPLES:
        if text != "killed":
            return text, "it was acknowledged, and all examples are there"
        if len(found_in(home.folder, pieces)) != len(pieces):
            return text, "killed before anything was written down, and something is missing"
        again, _, _ = in_a_process(home, ids)
        if again != f"forgot {len([one for one in gone if one > 0])}":
            return text, f"asked again: {again}"
        text += ", nothing written down; asked again"
    elif there != _EXAMPLES - len([one for one in gone if one > 0]):
        return text, f"{there} examples are left"
    with PrivateStore.open(home) as store:
        kept = {int(one) for one in store.examples("all").ids}
        if kept != {one for one in pieces if one > 0} - gone.keys():
            return text, "other examples are left than were not forgotten"
        if len(store.ledger.releases()) != 1 or store.integrity() != "ok":
            return text, "the ledger has changed, or the database is damaged"
    if found := found_in(home.folder, gone):
        return text, f"{len(found)} of {len(gone)} forgotten pieces are on the disk"
    return text, ""


def go_inside() -> None:
    """Start again in a namespace of one's own, where anybody may mount a small disk."""
    if _INSIDE in os.environ:
        return
    command = ["unshare", "--map-root-user", "--mount", sys.executable, *sys.argv]
    try:
        subprocess.run([*command[:3], "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise SystemExit("there are no user namespaces here (unshare -rm): run it where there are") from None
    os.execvpe(command[0], command, {**os.environ, _INSIDE: "yes"})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the points")
    options = parser.parse_args()
    go_inside()
    # The mount is this namespace's alone, and ends with it.
    disk = Path("/mnt")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK_MIB}m", "tmpfs", str(disk)], check=True)
    spare = Path("/mnt") / ".." / "dev" / "shm" / f"fedstill-forget-{os.getpid()}"
    draw, problems, states = random.Random(options.seed), [], Counter[str]()
    try:
        build(AgentHome(spare))
        pieces = pieces_of(AgentHome(spare))
        if len(found_in(spare, pieces)) != len(pieces):
            raise SystemExit("the search finds nothing anyway")
        whole = {}
        for name in ("all", "half"):
            shutil.rmtree(disk / "home", ignore_errors=True)
            (disk / "filler").unlink(missing_ok=True)
            shutil.copytree(spare, disk / "home")
            fill(disk)
            ids = None if name == "all" else sorted(one for one in pieces if one > 0)[::2]
            text, seconds, steps = in_a_process(AgentHome(disk / "home"), ids)
            print(f"a full disk, {name} of the examples, nobody killed: {text} in {seconds:.2f} s")
            if not text.startswith("forgot"):
                problems.append(text)
            whole[name] = (seconds, max(steps, 1))
        for number in range(options.kills):
            state, wrong = trial(number, disk, spare, draw, whole)
            states[state.split(":")[0]] += 1
            if wrong:
                problems.append(f"kill {number}: {wrong}")
    finally:
        shutil.rmtree(spare, ignore_errors=True)
    for problem in problems[:20]:
        print(problem, file=sys.stderr)
    for state, count in sorted(states.items()):
        print(f"{state:60s} {count:4d}")
    good = options.kills - sum(problem.startswith("kill") for problem in problems)
    print(
        f"{'FAILED' if problems else 'PASSED'}: {good} of {options.kills} left no byte of what was forgotten"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
