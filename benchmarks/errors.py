"""How long it takes until a mistake is reported: twenty wrong names, paths and options, by command.

Each command runs several times in a process of its own, and its fastest run counts: on a quiet machine that
is what a person waits. The verdict holds if every one ends with exit code 2, names what was
wrong, and takes less than a second, and if the help of the agent takes at most 0.4 s of processor.

    python benchmarks/errors.py
    python benchmarks/errors.py --runs 1 --json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

MOST_SECONDS = 1.0
MOST_HELP_SECONDS = 0.4  # of processor
HELP = "fedstill-agent --help"

# Command lines, and what their error has to name: the value, or the name that was meant.
MISTAKES = {
    "fedstill sever up": "did you mean server",
    "fedstill-sim run digit --out {new}": "digits",
    "fedstill-sim run digits --method fedstil --out {new}": "fedstill",
    "fedstill-sim run digits --method no_module:Mine --out {new}": "no_module",
    "fedstill-sim run digits --families mlp-smal --out {new}": "mlp-small",
    "fedstill-sim run digits --families no_module:Net --out {new}": "no_module",
    "fedstill-sim run digits --baselines locl --out {new}": "local",
    "fedstill-sim run digits --set server_stepp=0.4 --out {new}": "server_step",
    "fedstill-sim run digits --set server_step=-1 --out {new}": "server_step",
    "fedstill-sim run digits --server-step 0.4 --out {new}": "--set server_step",
    "fedstill-sim run digits --uplink dense,5bits --out {new}": "--uplink",
    "fedstill-sim run digits --rounds 0 --out {new}": "rounds",
    "fedstill-sim run digits --privacy central --out {new}": "epsilon",
    "fedstill-sim run --data {missing} --out {new}": "{missing}",
    "fedstill-sim run digits --out {file}": "{file}",
    "fedstill-sim resume {missing}": "{missing}",
    "fedstill-sim compare digits --methods fedstil,local --out {new}": "fedstill",
    "fedstill-server prepare {missing} --public {missing}": "{missing}",
    "fedstill-server distill --task digits --teacher train:mlp-32 --technique kdd --out {new}": "kd",
    "fedstill-server inspect {missing}": "{missing}",
    "fedstill-agent predict --student {missing} --input {missing}": "{missing}",
}
MODULES = {
    "fedstill": "fedstill.cli",
    "fedstill-sim": "fedstill_sim.cli",
    "fedstill-server": "fedstill_server.cli",
    "fedstill-agent": "fedstill_client.cli",
}


@dataclass(frozen=True, kw_only=True)
class Told:
    """A command that ended: its fastest run in seconds of clock and of processor, and its output."""

    command: str
    code: int
    seconds: float
    processor_seconds: float
    text: str

    def names(self, wanted: str) -> bool:
        """Return whether the text names it, however its lines were broken and framed."""
        return wanted.lower() in " ".join(self.text.replace("│", " ").split()).lower()


def run(command: str, *, runs: int) -> Told:
    """Run a command several times."""
    name, *words = shlex.split(command)
    program = f"import sys; sys.argv = {[name, *words]!r}; from {MODULES[name]} import main; main()"
    clocks, processors = [], []
    for _ in range(runs):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=_environment(), check=False
        )
        clocks.append(time.perf_counter() - started)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processors.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return Told(
        command=command,
        code=done.returncode,
        seconds=min(clocks),
        processor_seconds=min(processors),
        text=done.stdout + done.stderr,
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "400", "NO_COLOR": "1"}


def problems(told: Told, wanted: str) -> list[str]:
    """Return what is wrong with an error."""
    found = []
    if told.code != 2:
        found.append(f"exit code {told.code}")
    if not told.names(wanted):
        found.append(f"does not name {wanted}")
    if told.names("Traceback (most recent call last)"):
        found.append("a traceback")
    if told.seconds >= MOST_SECONDS:
        found.append(f"{told.seconds:.2f} s")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="of each command, the fastest of which counts")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "notes.txt"
        file.write_text("not a run\n")
        places = {"missing": f"{folder}/missing", "new": f"{folder}/new", "file": str(file)}
        told = {
            command: (run(command.format(**places), runs=options.runs), wanted.format(**places))
            for command, wanted in MISTAKES.items()
        }
    help_seconds = run(HELP, runs=options.runs).processor_seconds
    found = {command: problems(*each) for command, each in told.items()}
    holds = not any(found.values()) and help_seconds <= MOST_HELP_SECONDS
    if options.json:
        lines = {
            command: {
                "seconds": each.seconds,
                "processor_seconds": each.processor_seconds,
                "problems": found[command],
            }
            for command, (each, _) in told.items()
        }
        print(
            json.dumps({"holds": holds, "help_processor_seconds": help_seconds, "mistakes": lines}, indent=1)
        )
    else:
        table = Table("command", "seconds", "processor", "problems")
        for command, (each, _) in told.items():
            table.add_row(
                command, f"{each.seconds:.2f}", f"{each.processor_seconds:.2f}", ", ".join(found[command])
            )
        table.add_row(
            HELP, "", f"{help_seconds:.2f}", "" if help_seconds <= MOST_HELP_SECONDS else "too long"
        )
        Console(width=150).print(table)
        print("holds" if holds else "does not hold")
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
