"""Why a device takes part in no round: each thing that can stand in the way is named, with what to do."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fedstill_client.cli import app
from fedstill_client.doctor import CheckVerdict, Finding, device, examine
from fedstill_client.doctor.network import ask_server, clock_finding
from fedstill_client.eligibility.rules import Rules
from fedstill_client.fleet import connection as connection_module
from fedstill_client.fleet import supernode
from fedstill_client.fleet.connection import ConnectionRecord, Standing, read_connection
from fedstill_client.fleet.enrol import enrol
from fedstill_client.fleet.membership import Membership, authority_file
from fedstill_client.home import AgentHome
from fedstill_client.packages.plan import keep_plan
from fedstill_client.privacy.refusals import note_refusal
from fedstill_client.store import PrivateStore, Release
from fedstill_proto.package.release_plan import ReleasePlan
from fedstill_proto.refusal import Refusal
from fedstill_proto.system.enrolment import Enrolment
from fedstill_proto.system.fleet_http import AnsweredError
from fedstill_proto.system.steering import REFUSED_HEADER
from fedstill_server.publish.repository import Repository
from typer.testing import CliRunner

from tests.client.package_samples import full_package
from tests.client.samples import FAMILY
from tests.client.test_packages_https import certificate

BAD, GOOD, NOTE, SKIPPED = CheckVerdict.BAD, CheckVerdict.GOOD, CheckVerdict.NOTE, CheckVerdict.SKIPPED


@dataclass
class Server:
    """A fleet's server, as far as a device asks it: TLS, a date, and whether it lets a key in."""

    authority: Path
    refuses: str | None = None
    ahead: timedelta = field(default_factory=timedelta)

    @contextlib.contextmanager
    def up(self) -> Iterator[str]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(404)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.answer(404 if server.refuses is None else 401)

            def answer(self, status: int) -> None:
                self.send_response_only(status)
                self.send_header("Date", format_datetime(datetime.now().astimezone() + server.ahead))
                self.send_header(REFUSED_HEADER, server.refuses or "")
                self.send_header("Content-Length", "0")
                self.end_headers()

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.authority)
            listening.socket = context.wrap_socket(listening.socket, server_side=True)
            threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
            yield f"127.0.0.1:{listening.server_address[1]}"
            listening.shutdown()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A repository with a package, and the home of a device that was enrolled from it."""
    folder = tmp_path_factory.mktemp("fleet")
    repository = Repository.create(folder / "fleet")
    repository.publish([full_package(1)])
    enrolment = Enrolment(
        run="0123abcd",
        address="127.0.0.1:1",
        repository=str(repository.folder),
        families=(FAMILY,),
        certificate_authority=certificate(folder).read_text(),
        package_root=repository.trusted_root().decode(),
    )
    enrol(AgentHome(folder / "home"), enrolment, name="kitchen")
    return folder, folder / "home"


@pytest.fixture
def home(made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AgentHome:
    """A home of one's own; its rules let a busy machine work, and its load is read in an instant."""
    monkeypatch.setattr(device, "_LOAD_OVER_S", 0.0)
    copy = AgentHome(Path(shutil.copytree(made[1], tmp_path / "home")))
    copy.folder.chmod(0o700)
    rules = {"max_other_load": 1, "min_free_memory_mb": 0, "max_temperature_c": 0, "external_power": False}
    (copy.folder / "eligibility.json").write_text(json.dumps(rules | {"unmetered_network": False}))
    return copy


@pytest.fixture
def server(made: tuple[Path, Path]) -> Server:
    return Server(made[0] / "server.pem")


@contextlib.contextmanager
def at(home: AgentHome, address: str) -> Iterator[dict[str, Finding]]:
    """What the doctor finds of a device whose server is at this address, by check."""
    membership = Membership.read(home)
    Membership(run=membership.run, address=address, repository=membership.repository).write(home)
    yield {one.check: one for one in examine(home)}


def in_the_way(found: dict[str, Finding]) -> list[str]:
    return [name for name, one in found.items() if one.verdict is BAD]


def test_a_device_in_order_is_told_so(home: AgentHome, server: Server) -> None:
    with home.run_lock.open("w") as lock, server.up() as address:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record = ConnectionRecord(home)
        record.connected()
        record.heard(200.0, 2.0**38)
        with at(home, address) as found:
            assert in_the_way(found) == []
            assert found["registration"].found == "the server lets this device's key in"
            assert found["package"].found == f"1 of {FAMILY}, generation 1, is whole, and the newest"
            assert "0 s" in found["clock"].found or "1 s" in found["clock"].found
            assert "; rounds may begin next at 9987-04-" in found["agent"].found
            rules = {name.removeprefix("eligibility: ") for name in found if name.startswith("eligibility: ")}
            assert rules == set(vars(Rules()))
        done = CliRunner().invoke(app, ["doctor", "--home", str(home.folder)])
        assert done.exit_code == 0, done.output
        assert done.output.endswith("Nothing stands in the way of a round.\n")


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("unregistered", "does not know this device's key"),
        ("revoked", "has revoked"),
        ("clock", "the time of"),
    ],
)
def test_a_key_that_is_not_let_in(home: AgentHome, server: Server, why: str, words: str) -> None:
    server.refuses = why
    with server.up() as address, at(home, address) as found:
        assert in_the_way(found) == ["registration", "agent"]  # no agent runs here
        assert words in found["registration"].found
        assert found["registration"].remedy


def test_a_device_that_is_not_let_in_asks_again_by_itself(
    home: AgentHome, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_FIRST_PAUSE_S", 0.02)
    server.refuses = "revoked"
    with server.up() as address, at(home, address):
        threading.Thread(target=_let_in_later, args=(home, server), daemon=True).start()
        with pytest.raises(AnsweredError, match="404"):  # let in, and then this server is no SuperLink
            supernode.run(home)
    kept = read_connection(home)
    assert kept is not None
    assert (kept.standing, kept.why) == (Standing.REFUSED, "revoked")
    assert kept.again_at > 0


def _let_in_later(home: AgentHome, server: Server) -> None:
    while (kept := read_connection(home)) is None or kept.standing is not Standing.REFUSED:
        time.sleep(0.005)
    server.refuses = None


def test_a_clock_that_is_wrong_names_both_dates(home: AgentHome, server: Server) -> None:
    server.ahead = timedelta(days=-3653)  # of the server: the device is in the future
    with server.up() as address:
        clock = clock_finding(home, ask_server(address, authority_file(home)))
    assert clock.verdict is BAD
    assert f"it is {datetime.now().year}" in clock.found
    assert "ahead of the server (20" in clock.found


def test_another_server_s_certificate_is_told_from_the_fleet_s(
    home: AgentHome, made: tuple[Path, Path], tmp_path: Path
) -> None:
    other = Server(certificate(tmp_path, "other"), ahead=timedelta(hours=2))
    with other.up() as address, at(home, address) as found:
        assert "its certificate is not the fleet's" in found["certificate"].found
        assert found["clock"].verdict is BAD  # even that server's date is a hint
        assert found["registration"].verdict is SKIPPED
    early = certificate(tmp_path, "early", hours_ahead=24)
    authority_file(home).write_text(early.read_text())
    with Server(early).up() as address:
        answer = ask_server(address, authority_file(home))
    assert answer.problem is not None
    assert "not valid at this device's date" in answer.problem
    assert answer.remedy == "set this device's clock"


def test_a_server_that_is_not_reached(home: AgentHome, monkeypatch: pytest.MonkeyPatch) -> None:
    with at(home, "127.0.0.1:9") as found:
        assert found["reachability"].verdict is BAD
        assert "Connection refused" in found["reachability"].found
    assert "is not found" in str(ask_server("nowhere.invalid:1", authority_file(home)).problem)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with at(home, "127.0.0.1:8") as found:
        assert "through the proxy 127.0.0.1" in found["reachability"].found
    with socket.create_server(("127.0.0.1", 0)) as plain:
        threading.Thread(target=_says_hello, args=(plain,), daemon=True).start()
        monkeypatch.delenv("HTTPS_PROXY")
        problem = ask_server(f"127.0.0.1:{plain.getsockname()[1]}", authority_file(home)).problem
        assert "does not speak TLS" in str(problem)


def _says_hello(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        connection.recv(1 << 16)


def test_what_the_device_itself_can_have_in_the_way(home: AgentHome) -> None:
    rules = home.folder / "eligibility.json"
    rules.write_text('{"min_free_disk_mb": 1e12, "max_other_load": 1}')
    (found,) = [one for one in device.eligibility_findings(home) if one.check.endswith("min_free_disk_mb")]
    assert found.verdict is BAD
    assert "the rule is 1000000000000 MB" in found.found
    rules.write_text("{")
    assert [one.verdict for one in device.eligibility_findings(home)] == [BAD]

    keep_plan(home, ReleasePlan(version=2, withdrawn=(1,), rounds_off=True))
    switched_off, withdrawn, whole = device.package_findings(home, Membership.read(home), is_reached=True)
    assert switched_off.found == "the fleet's operator has switched rounds off"
    assert withdrawn.found == "the fleet has withdrawn package 1, which is installed"
    assert whole.verdict is GOOD

    package = next(home.packages.iterdir())
    (package / "manifest.json").write_text("{}")
    home.release_plan.unlink()
    (damaged,) = device.package_findings(home, Membership.read(home), is_reached=True)
    assert damaged.verdict is BAD
    assert "not the manifest that was installed" in damaged.found

    assert device.agent_finding(home).remedy.startswith("start it: fedstill-agent run")
    home.folder.chmod(0o755)
    assert "chmod 700" in device.home_finding(home).found
    home.folder.chmod(0o700)
    home.device_key.chmod(0o644)
    assert "chmod 600" in device.home_finding(home).remedy


def test_a_budget_that_is_spent_and_a_policy_that_forbids(home: AgentHome) -> None:
    assert [one.verdict for one in device.budget_findings(home)] == [GOOD]
    (home.folder / "policy.json").write_text('{"epsilon": 0.5}')
    with PrivateStore.open(home) as store:
        noised = Release("a", 1, "prototypes", values=1, bytes=1, digest="0" * 64, mechanism="g", rho=0.1)
        store.ledger.debit_noised(noised, b"x", budget=None)
    (spent,) = device.budget_findings(home)
    assert spent.verdict is BAD
    assert spent.found.startswith("spent: epsilon (")
    (home.folder / "statement.json").write_text('{"most_epochs": 1000}')
    assert "most_epochs" in device.policy_finding(home).found
    assert "--set most_epochs=1000" in device.policy_finding(home).remedy


def test_the_last_round_and_the_last_refusals_are_shown_by_both_commands(home: AgentHome) -> None:
    with PrivateStore.open(home) as store:
        store.ledger.debit(Release("0123abcd", 4, "public-logits", values=1, bytes=1, digest="0" * 64))
        store.ledger.debit(Release("0123abcd", 5, "evaluation", values=1, bytes=1, digest="1" * 64))
        note_refusal(store.ledger, "the network is metered", run="0123abcd", round=6, refusal=Refusal.NOT_NOW)
    found = list(device.rounds_findings(home))
    assert found[0].found.startswith("it took part in round 4 of 0123abcd at ")
    assert found[1].found.endswith("not-now: the network is metered")

    record = ConnectionRecord(home)
    record.refused(Standing.REFUSED, "unregistered")
    with home.run_lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status = json.loads(CliRunner().invoke(app, ["status", "--home", str(home.folder), "--json"]).output)
    assert (status["last_round"], status["last_round_run"], status["generation"]) == (4, "0123abcd", 1)
    assert (status["last_refusal"], status["last_refusal_round"]) == ("not-now", 6)
    assert status["connected"] is False
    assert "its key is not registered" in status["connection"]
    assert status["privacy_refusal"] == ""
    assert abs(datetime.fromisoformat(status["last_round_at"]).timestamp() - time.time()) < 60


def test_a_device_in_no_fleet_has_that_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_LOAD_OVER_S", 0.0)
    done = CliRunner().invoke(app, ["doctor", "--home", str(tmp_path / "none"), "--json"])
    assert done.exit_code == 1
    document: dict[str, Any] = json.loads(done.output)
    assert document["in_the_way"] == ["home"]
    assert document["findings"][1]["verdict"] == "skipped"
    (tmp_path / "empty").mkdir(mode=0o700)
    found = {one.check: one for one in examine(AgentHome(tmp_path / "empty"))}
    assert "enrol" in found["enrolment"].remedy
    assert found["registration"].verdict is SKIPPED
