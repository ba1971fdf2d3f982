"""Homes of a keyboard and of an assistant, made by fedstill's own commands as its documentation says."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from fedstill_sim.tasks.text.data import load_keyboard
from fedstill_sim.tasks.utterances.data import Amounts, load_assistant

from benchmarks.fleet_on_loopback.processes import LOOPBACK, RunningCommand, free_port, program, wait_until

_PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class Ran:
    """What a command printed, and how it ended."""

    code: int
    words: str

    @property
    def refused(self) -> bool:
        """Whether it ended with an error of a line or some, and no traceback."""
        return self.code not in (0, -9) and "Traceback" not in self.words


def run(name: str, *words: object, within_s: float = 120.0) -> Ran:
    """Run one of fedstill's commands."""
    command = [str(_PROGRAMS / name), *map(str, words)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=within_s, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return Ran(-9, f"no end within {within_s:g} s")
    return Ran(done.returncode, done.stdout + done.stderr)


class Homes:
    """Fresh copies of homes: a keyboard of the plays, and an assistant of 1,200 English utterances."""

    def __init__(self, folder: Path, *, kept: Path) -> None:
        self.folder, self.kept = folder, kept  # of copies; of what they are copies of
        self._copies = 0

    def keyboard(self) -> Path:
        """A copy of the keyboard's home."""
        return self._copy("keyboard", self._make_keyboard)

    def assistant(self) -> Path:
        """A copy of the assistant's home."""
        return self._copy("assistant", self._make_assistant)

    def _copy(self, name: str, make: object) -> Path:
        made = self.kept / name / "home"
        if not made.is_dir():
            made.parent.mkdir(parents=True)
            make(made.parent)  # type: ignore[operator]
        self._copies += 1
        copy = self.folder / f"copy-{self._copies}"
        shutil.copytree(made, copy)
        copy.chmod(0o700)
        return copy

    def _make_keyboard(self, folder: Path) -> None:
        public = folder / "public.txt"
        public.write_text("\n".join(load_keyboard().public[:4000]) + "\n", encoding="utf-8")
        self._enrolled(folder, "--public", public, "--families", "gru-80-224", "--quick")

    def _make_assistant(self, folder: Path) -> None:
        amounts = Amounts(labelled=1200, public=1, own=1, held_out=1)
        data = load_assistant(devices=1, speaking=("en",), amounts=amounts)
        for name, said in (("public", data.labelled), ("test", data.test)):
            with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                rows = [(each.text, data.intents[each.intent]) for each in said]
                csv.writer(file).writerows([("text", "label"), *rows])
        files = ("--public", folder / "public.csv", "--test", folder / "test.csv")
        self._enrolled(folder, *files, "--families", "ngrams")

    def _enrolled(self, folder: Path, *prepare: object) -> None:
        """A device's home in a fleet that is prepared so; the fleet is down again."""
        fleet, home, enrolment = folder / "fleet", folder / "home", folder / "enrolment"
        program(
            "fedstill-server",
            "init",
            fleet,
            "--host",
            LOOPBACK,
            "--port",
            free_port(),
            "--without-proxy",
            as_json=False,
        )
        program("fedstill-server", "prepare", fleet, *prepare, "--rounds", 1, as_json=False)
        program("fedstill-server", "publish", fleet, as_json=False)
        program("fedstill-server", "invite", fleet, "--out", enrolment, as_json=False)
        up = RunningCommand(folder / "up.log", "fedstill-server", "up", fleet)
        up.start()
        try:
            enrol = ("enrol", enrolment, "--name", "kitchen", "--home", home, "--allow", "plain")
            wait_until(lambda: run("fedstill-agent", *enrol).code == 0, seconds=90, what="to enrol")
        finally:
            up.end()
