"""Does a change of the code leave every run as it was, bit for bit?

Runs small fleets of every task and every method through `fedstill-sim run`, and prints for each a digest of
its result: the consensus of every round, the fleet's students, and the accuracies. Write the digests to a
file before a change, and compare after it, on the same machine:

    python benchmarks/consensus_digests.py --write before.json
    python benchmarks/consensus_digests.py --against before.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-c", "from fedstill_sim.cli import main; main()"]
TWELVE = "digits --devices 12"
SHORT = "--rounds 3 --seed 1 --baselines none --no-tradeoff --no-report"
METHODS = (
    *("fedstill", "local", "fedavg", "class-logits", "public-logits", "fedmd", "dsfl", "scarlet", "cfd"),
    *("selective", "fedproto", "fedtgp", "fedhkd", "feddf", "fedgkt"),
)

RUNS = {
    "digits": "digits --rounds 5 --no-report",
    "digits, skewed, no labels": f"digits --dirichlet 0.1 --devices 12 --no-public-labels {SHORT}",
    "digits, async": f"{TWELVE} --mode async --buffer 4 --stragglers 0.2 {SHORT}",
    "digits, participation": f"{TWELVE} --participation 0.5 --vanish 0.1 --join-late 0.2 {SHORT}",
    "digits, central privacy": f"{TWELVE} --privacy central --epsilon 20 {SHORT}",
    "digits, local privacy": f"{TWELVE} --privacy local --epsilon 20 --method class-logits {SHORT}",
    "digits, delta": f"digits --devices 6 --uplink dense,3bit,entropy,delta {SHORT}",
    **{f"digits, {method}": f"digits --devices 6 --method {method} {SHORT}" for method in METHODS},
    "mnist1d": f"mnist1d --dirichlet 0.1 {SHORT}",
    "assistant": f"assistant --devices 5 {SHORT}",
    "keyboard": f"--data KEYBOARD {SHORT}",
}


def write_keyboard(folder: Path) -> Path:
    """Write texts of three people and of the public from a small grammar: the shipped plays take minutes."""
    draw = random.Random(7)
    names = [
        f"{first}{second}" for first in ("ba", "ke", "mo", "ti", "su") for second in ("ra", "lin", "dor")
    ]
    verbs, ends = ["sees", "calls", "follows", "thanks", "forgets"], ["today", "again", "at home", "at last"]
    folder.mkdir()
    for person, lines in (("ann", 60), ("ben", 60), ("cleo", 60), ("public", 300)):
        likes = draw.sample(names, 6)
        text = [
            " ".join(
                f"{draw.choice(likes)} {draw.choice(verbs)} the {draw.choice(names)} {draw.choice(ends)}."
                for _ in range(4)
            )
            for _ in range(lines)
        ]
        (folder / f"{person}.txt").write_text("\n".join(text) + "\n")
    return folder


def digest(words: str, folder: Path) -> str:
    """Run a fleet, and return the digest of its result: 16 hexadecimal digits."""
    if "KEYBOARD" in words:
        words = words.replace("KEYBOARD", str(write_keyboard(folder.with_name("texts"))))
    done = subprocess.run(
        [*COMMAND, "run", *shlex.split(words), "--quiet", "--out", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"fedstill-sim run {words} ended with {done.returncode}:\n{done.stderr}")
    result = json.loads((folder / "result.json").read_text())
    return hashlib.sha256(json.dumps(essence(result), sort_keys=True).encode()).hexdigest()[:16]


def essence(result: dict[str, Any]) -> Any:
    """Return what of a result depends neither on time nor on how a configuration is written."""
    return {
        "rounds": [_round(one) for one in result["rounds"]],
        "baselines": {
            name: [_round(one) for one in base["rounds"]] for name, base in result["baselines"].items()
        },
        "students": {name: one["parameters_sha256"] for name, one in result["students"].items()},
        "devices": result["devices"],
        "tradeoff": result["tradeoff"],
    }


def _round(record: dict[str, Any]) -> list[Any]:
    names = ("consensus_digest", "personal_accuracy", "global_accuracy", "teacher_accuracy", "accepted")
    return [record[name] for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the digests down")
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with digests written down")
    parser.add_argument("--only", metavar="TEXT;...", help="runs whose names begin so")
    options = parser.parse_args()
    only = tuple((options.only or "").split(";"))
    before = json.loads(options.against.read_text()) if options.against else {}
    digests: dict[str, str] = {}
    different = []
    for name, words in RUNS.items():
        if not name.startswith(only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            digests[name] = digest(words, Path(folder) / "run")
        verdict = ""
        if before:
            same = before.get(name) == digests[name]
            verdict = "same" if same else f"DIFFERENT: was {before.get(name)}"
            different += [] if same else [name]
        print(f"{name:<28} {digests[name]}  {verdict}".rstrip(), flush=True)
        if options.write:
            options.write.write_text(json.dumps(digests, indent=1) + "\n")
    if different:
        raise SystemExit(f"{len(different)} of {len(digests)} runs came out otherwise")


if __name__ == "__main__":
    main()
