"""H29 to H35: units, addresses, names, byte order marks, certificates, clocks and proxies."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from fedstill_client.home import AgentHome

from benchmarks.reported.homes import Homes, run

_REPOSITORY = Path(__file__).resolve().parents[2]
_TESTS = "tests/client/test_packages_https.py"


def units_with_blanks(folder: Path, homes: Homes) -> tuple[bool, str]:
    agent = run("fedstill-agent", "unit", "--home", "/srv/my home 50%")
    named = ("ExecStart=", "ReadWritePaths=")
    lines = [line for line in agent.words.splitlines() if "my home" in line and line.startswith(named)]
    right = bool(lines) and all("50%%" in line and '"' in line for line in lines)
    return right or agent.refused, (lines or [agent.words.strip()])[0][:160]


def addresses(folder: Path, homes: Homes) -> tuple[bool, str]:
    wrong = []
    for place, host in enumerate(("10.0.0.300", "a..b", "0.0.0.0")):
        if not run("fedstill-server", "init", homes.folder / f"host-{place}", "--host", host).refused:
            wrong.append(host)
    if run("fedstill-server", "init", homes.folder / "host-6", "--host", "[::1]", "--without-proxy").code:
        wrong.append("[::1]")
    return not wrong, f"three refused and [::1] taken; wrong: {wrong}"


def names_of_devices(folder: Path, homes: Homes) -> tuple[bool, str]:
    homes.keyboard()
    enrolment = homes.kept / "keyboard" / "enrolment"
    long = run("fedstill-agent", "enrol", enrolment, "--name", "k" * 65, "--home", homes.folder / "named")
    blank = run("fedstill-agent", "enrol", enrolment, "--name", " kitchen", "--home", homes.folder / "blank")
    if blank.code == 0:
        name = json.loads(AgentHome(homes.folder / "blank").description.read_text())["name"]
        return long.refused and name == "kitchen", f"65 letters refused; ' kitchen' became {name!r}"
    return long.refused and blank.refused, blank.words.strip().split("\n")[-1][:160]


def files_with_byte_order_marks(folder: Path, homes: Homes) -> tuple[bool, str]:
    homes.keyboard()
    marked = homes.folder / "marked"
    marked.write_bytes(b"\xef\xbb\xbf" + (homes.kept / "keyboard" / "enrolment").read_bytes())
    ran = run(
        "fedstill-agent", "enrol", marked, "--name", "den", "--home", homes.folder / "den", "--allow", "plain"
    )
    told = ran.words.strip().split("\n")[-1][:160]
    return "BOM" not in ran.words and "JSON" not in ran.words and "Traceback" not in ran.words, told


def _tested(which: str) -> Callable[[Path, Homes], tuple[bool, str]]:
    def case(folder: Path, homes: Homes) -> tuple[bool, str]:
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", f"{_TESTS}::{which}"]
        done = subprocess.run(command, cwd=_REPOSITORY, capture_output=True, text=True)
        return done.returncode == 0, f"a server of its own: {which} of {_TESTS}"

    case.__name__ = which.removeprefix("test_")
    return case


NETWORK_CASES: dict[str, Callable[[Path, Homes], tuple[bool, str]]] = {
    "H29": units_with_blanks,
    "H30": addresses,
    "H31": names_of_devices,
    "H32": files_with_byte_order_marks,
    "H33": _tested("test_another_authority_is_not_believed"),
    "H34": _tested("test_a_certificate_of_another_time_names_the_device_s_date"),
    "H35": _tested("test_the_proxy_that_the_environment_names_is_asked"),
}
