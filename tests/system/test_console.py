"""The console as an operator has it: a server of its own on loopback, and a real browser before it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fedstill_server.console.login import Credentials
from fedstill_server.rounds.run_store import RunStore

from tests.server.console_fleet import commit, make_fleet, round_record
from tests.system.browser import CHROMIUM, Browser, browser

PASSWORD = "correct horse battery"
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")


@dataclass(frozen=True, kw_only=True)
class Running:
    """A console that runs, and its fleet."""

    url: str
    metrics_port: int
    token: str
    fleet: Path

    @property
    def heard(self) -> Path:
        """What its hook has written down of alarms."""
        return self.fleet.parent / "alarms"

    def next_round(self) -> int:
        """Commit a round more; returns its number."""
        number = RunStore(self.fleet).last_round() + 1
        commit(self.fleet, round_record(number))
        return number


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The console of a fleet that is not up, which is an alarm."""
    folder = tmp_path_factory.mktemp("console")
    credentials, token = Credentials.create(PASSWORD)
    credentials.write(make_fleet(folder / "fleet"))
    port = free_port()
    hook = f"{sys.executable} -c \"import sys; open('alarms', 'a').write(sys.stdin.read() + chr(10))\""
    command = [sys.executable, "-m", "fedstill_server.cli", "console", "fleet", "--port", "0", "--json"]
    command += ["--metrics-port", str(port), "--on-alarm", hook]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        try:
            url = json.loads(process.stdout.readline())["console"]
            yield Running(url=url, metrics_port=port, token=token, fleet=folder / "fleet")
        finally:
            process.terminate()
            assert process.wait(timeout=20) == 0


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def log_in(page: Browser, password: str) -> None:
    page.run(f"document.querySelector('#password').value = {json.dumps(password)}")
    page.run("document.querySelector('button.main').click()")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt install chromium")
def test_an_operator_sees_a_round_once_it_is_committed(console: Running, tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as page:
        page.size(390, 800)
        page.open(console.url)
        log_in(page, "not the password")
        page.wait_for("document.querySelector('[role=alert]')?.textContent == 'That is not the password.'")
        page.errors.clear()  # the browser tells of the refusal
        log_in(page, PASSWORD)
        page.wait_for("document.body?.dataset.round > 0")
        assert page.run("document.querySelector('#alarms').textContent").startswith("the fleet is not up")

        number = console.next_round()
        page.wait_for(f"document.body.dataset.round == {number}")  # without a reload
        assert f"Round {number}" in page.run("document.querySelector('#last-round').textContent")

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
        page.open(f"{console.url}api/fleet")
        assert "log in" in page.run("document.body.textContent")


def test_a_program_reads_it_and_a_command_hears_of_alarms(console: Running) -> None:
    bearer = {"Authorization": f"Bearer {console.token}"}
    with httpx.stream("GET", f"{console.url}api/stream", headers=bearer, timeout=20) as news:
        lines = news.iter_lines()
        while not next(lines).startswith("event: changed"):
            pass
        number = console.next_round()
        while not next(lines).startswith("event: changed"):
            pass
    document = httpx.get(f"{console.url}api/fleet", headers=bearer).json()
    assert document["round_count"] == number
    told = [json.loads(line) for line in console.heard.read_text().splitlines()]
    assert ("not-up", "raised") in [(one["name"], one["state"]) for one in told]
    assert any(one["kind"] == "alarm" for one in document["events"])


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool here: apt install prometheus")
def test_the_configuration_and_the_alerts_are_prometheus_s() -> None:
    assert PROMTOOL is not None
    folder = DEPLOY / "prometheus"
    for command in (["check", "rules", "alerts.yml"], ["check", "config", "prometheus.yml"]):
        done = subprocess.run([PROMTOOL, *command], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(PROMETHEUS is None, reason="no Prometheus here: apt install prometheus")
def test_prometheus_scrapes_the_console_and_its_alerts_fire(console: Running, tmp_path: Path) -> None:
    assert PROMETHEUS is not None
    wanted = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    wanted = wanted.replace(":9600", f":{console.metrics_port}").replace("15s", "1s")
    (tmp_path / "prometheus.yml").write_text(wanted)
    shutil.copy(DEPLOY / "prometheus" / "alerts.yml", tmp_path)
    address = f"127.0.0.1:{free_port()}"
    command = [PROMETHEUS, "--config.file=prometheus.yml", f"--web.listen-address={address}"]
    command.append("--storage.tsdb.path=data")
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        try:
            assert int(value_of(address, "fedstill_round")) >= 3
            assert value_of(address, 'ALERTS{alertname="FedstillCritical",alarm="not-up"}') == "1"
        finally:
            process.kill()


def value_of(address: str, query: str) -> str:
    """What Prometheus answers, once it has something to answer."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            answer = httpx.get(f"http://{address}/api/v1/query", params={"query": query})
            if answer.status_code == 200 and (found := answer.json()["data"]["result"]):
                return str(found[0]["value"][1])
        except httpx.TransportError:
            pass  # it starts
        time.sleep(0.1)
    raise AssertionError(f"{query}: no answer")
