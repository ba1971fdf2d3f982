"""The console as an operator has it: a server of its own on loopback, and a real browser before it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.console_fleet import commit, make_fleet, round_record
from tests.system.browser import CHROMIUM, Browser, browser

PASSWORD = "correct horse battery"


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A fleet's folder with a password for its console."""
    make_fleet(tmp_path / "fleet")
    command = [sys.executable, "-m", "fedstill_server.cli", "console-password", "fleet", "--stdin", "--json"]
    done = subprocess.run(
        command, cwd=tmp_path, input=f"{PASSWORD}\n", capture_output=True, text=True, check=True
    )
    (tmp_path / "token").write_text(json.loads(done.stdout)["token"])
    return tmp_path / "fleet"


@pytest.fixture
def console(fleet: Path) -> Iterator[str]:
    """The address of its running console, whose hook writes down alarms."""
    hook = f"{sys.executable} -c \"import sys; open('alarms', 'a').write(sys.stdin.read() + chr(10))\""
    command = [sys.executable, "-m", "fedstill_server.cli", "console", str(fleet), "--port", "0", "--json"]
    with subprocess.Popen(
        [*command, "--on-alarm", hook], stdout=subprocess.PIPE, text=True, cwd=fleet.parent
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["console"]
        finally:
            process.terminate()
            assert process.wait(timeout=20) == 0


def log_in(page: Browser, password: str) -> None:
    page.run(f"document.querySelector('#password').value = {json.dumps(password)}")
    page.run("document.querySelector('button.main').click()")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt install chromium")
def test_an_operator_sees_a_round_once_it_is_committed(fleet: Path, console: str, tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as page:
        page.size(390, 800)
        page.open(console)
        log_in(page, "not the password")
        page.wait_for("document.querySelector('[role=alert]')?.textContent == 'That is not the password.'")
        page.errors.clear()  # the browser tells of the refusal
        log_in(page, PASSWORD)
        page.wait_for("document.body?.dataset.round == 3")
        assert page.run("document.querySelector('#alarms').textContent").startswith("the fleet is not up")

        commit(fleet, round_record(4))
        page.wait_for("document.body.dataset.round == 4")  # without a reload
        assert "Round 4" in page.run("document.querySelector('#last-round').textContent")

        for width, dark in ((390, False), (1280, True)):
            page.size(width, 800, dark=dark)
            page.wait_for(f"document.querySelector('#accuracy-chart svg')?.width.baseVal.value <= {width}")
            assert page.run("document.documentElement.scrollWidth") <= width
            page.screenshot(tmp_path / f"console-{width}.png")
        assert page.run("document.body.dataset.hacked") is None
        assert page.run("document.querySelectorAll('#devices tbody tr').length") == 3
        assert not page.errors
        page.run("document.querySelector('form button').click()")
        page.wait_for("location.pathname == '/login' && document.readyState == 'complete'")
        page.open(f"{console}api/fleet")
        assert "log in" in page.run("document.body.textContent")


def test_a_program_reads_it_and_a_command_hears_of_alarms(fleet: Path, console: str, tmp_path: Path) -> None:
    bearer = {"Authorization": f"Bearer {(tmp_path / 'token').read_text()}"}
    assert httpx.get(f"{console}api/fleet", headers=bearer).json()["round_count"] == 3
    with httpx.stream("GET", f"{console}api/stream", headers=bearer, timeout=20) as news:
        lines = news.iter_lines()
        while not next(lines).startswith("event: changed"):
            pass
        commit(fleet, round_record(4))
        while not next(lines).startswith("event: changed"):
            pass
    document = httpx.get(f"{console}api/fleet", headers=bearer).json()
    assert document["round_count"] == 4
    told = [json.loads(line) for line in (tmp_path / "alarms").read_text().splitlines()]
    assert [(one["name"], one["state"]) for one in told] == [("not-up", "raised")]
    assert any(one["kind"] == "alarm" for one in document["events"])
