"""The console: what it shows, when it raises an alarm, and whom it lets in."""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from fedstill_server.cli import cli
from fedstill_server.commands.inspect import round_table
from fedstill_server.config.schedule import Schedule
from fedstill_server.console.alarms import NAMES, AlarmBook, alarms_of
from fedstill_server.console.app import make_app, metrics_app
from fedstill_server.console.errors import ConsoleError
from fedstill_server.console.login import SESSION_S, Credentials, Sessions, Tries
from fedstill_server.console.metrics import metrics_text
from fedstill_server.console.overview import Disk, Expiry, Overview, PrivacySpent
from fedstill_server.console.round_facts import RoundFacts, deciles
from fedstill_server.console.telemetry import Telemetry
from fedstill_server.console.view import View
from fedstill_server.fleet.device_list import ListedDevice
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.operations.audit import AuditLog
from fedstill_server.operations.database import FleetDatabase
from fedstill_server.operations.device_state import DeviceState
from fedstill_server.releases.release import StagedRelease
from fedstill_server.releases.rules import ReleaseRules
from fedstill_server.rounds.round_record import PhaseSeconds
from fedstill_server.rounds.rounds_status import RoundsStatus
from fedstill_server.rounds.run_store import RunStore
from fedstill_sim.live import live_page
from fedstill_sim.progress import SilentProgress
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.console import Console
from typer.testing import CliRunner

from tests.server.console_fleet import HOSTILE, NOW, commit, make_fleet, round_record
from tests.server.scripted_fleet import fleet_config, write_run

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PASSWORD = "correct horse battery"
DAY_S = 86400.0


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet's folder, which no test changes."""
    folder = tmp_path_factory.mktemp("console") / "fleet"
    make_fleet(folder)
    return folder


TAKEN_BACK = StagedRelease(
    package_version=3, families=("mlp-small",), salt="a", rules=ReleaseRules(), stage_since=NOW
).stepped("gate", "taken back", at=NOW, status="taken back", reason="crashes: 3 of 3 devices")

WAITS = RoundsStatus(round=11, waiting_for="devices", text="3 of 4", since=NOW - 100)


def overview(**changes: object) -> Overview:
    """A fleet that is up and well, after ten rounds a minute apart."""
    rounds = tuple(RoundFacts.of(round_record(n), at=NOW - 60.0 * (10 - n)) for n in range(1, 11))
    well: dict[str, object] = {
        "now": NOW + 30,
        "run": "0123abcd",
        "kind": "fleet",
        "method": "fedstill",
        "mode": "rounds",
        "rounds_planned": 100,
        "families": ("mlp-small",),
        "is_up": True,
        "wanted_devices": 2,
        "deadline_s": 60.0,
        "rounds": rounds,
        "devices": tuple(
            ListedDevice(state=DeviceState(name=name, online=True), fingerprint="") for name in "abc"
        ),
        "disk": Disk(free_bytes=50_000_000_000, total_bytes=100_000_000_000),
    }
    return Overview(**{**well, **changes})  # type: ignore[arg-type]


def names(it: Overview) -> list[str]:
    return [one.name for one in alarms_of(it)]


def with_accuracies(*shares: float) -> tuple[RoundFacts, ...]:
    return tuple(
        RoundFacts.of(round_record(n, student=share), at=NOW - 60.0 * (len(shares) - n))
        for n, share in enumerate(shares, start=1)
    )


# What is shown


def test_the_overview_holds_what_happened(fleet: Path) -> None:
    it = View.of_fleet(fleet, clock=lambda: NOW).overview()
    assert [one.round for one in it.rounds] == [1, 2, 3]
    assert it.rounds[0].reasons == {"bad-values": 1}
    assert it.rounds[1].deciles == pytest.approx(
        (0.5, 0.54, 0.58, 0.62, 0.66, 0.7, 0.74, 0.78, 0.82, 0.86, 0.9)
    )
    assert it.totals.answers == {"counted": 7, "late": 0, "overdue": 0, "left_out": 2}
    assert it.totals.bytes == {"up": 900, "down": 18000}
    assert [one.round for one in it.left_out] == [1, 3]
    assert {one.state.name: one.state.online for one in it.devices} == {
        "kitchen": False,
        "attic": True,
        HOSTILE: True,
    }
    assert [one.action for one in it.audit] == ["register"]
    assert it.events[-1].text == f"let {HOSTILE} in"
    assert {one.what for one in it.expiries} >= {
        "the server's certificate",
        "the signed metadata timestamp.json",
    }
    assert it.is_up is False
    assert it.problems == ()


def test_rounds_are_read_once_and_a_run_that_went_back_is_read_anew(tmp_path: Path) -> None:
    make_fleet(tmp_path / "fleet", rounds=2)
    time = [NOW]
    view = View.of_fleet(tmp_path / "fleet", clock=lambda: time[0])
    assert view.overview().totals.bytes["up"] == 600
    commit(tmp_path / "fleet", round_record(3))
    assert len(view.overview().rounds) == 2  # a second has not passed
    time[0] += 60
    assert [one.round for one in view.overview().rounds] == [1, 2, 3]
    assert view.overview().totals.bytes["up"] == 900
    for number in (2, 3):
        (tmp_path / "fleet" / "server" / "rounds" / f"round-{number:06d}.json").unlink()
    time[0] += 60
    assert view.overview().totals.bytes["up"] == 300


def test_rounds_after_one_that_was_read_follow_it(tmp_path: Path) -> None:
    make_fleet(tmp_path / "fleet", rounds=3)
    store = RunStore(tmp_path / "fleet")
    assert [one.round for one in store.records(after=2)] == [3]
    assert [one.round for one in store.records(after=7)] == [1, 2, 3]  # that one is there no more
    assert store.records(after=3) == []
    assert store.committed_at(3) == NOW


def test_damage_is_a_problem_and_the_rest_is_shown(fleet: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(fleet, tmp_path / "damaged")
    file = folder / "server" / "rounds" / "round-000002.json"
    file.write_bytes(file.read_bytes().replace(b"2000.0", b"2001.0"))
    audit = folder / "audit.jsonl"
    audit.write_bytes(audit.read_bytes().replace(b"kitchen", b"kitsune").replace(b"register", b"unregist"))
    it = View.of_fleet(folder, clock=lambda: NOW).overview()
    assert any("round-000002.json" in problem for problem in it.problems)
    assert any("audit.jsonl" in problem for problem in it.problems)
    assert len(it.devices) == 3
    assert "damaged" in names(it)


def test_deciles_of_few_values() -> None:
    assert deciles([]) == ()
    assert deciles([0.5]) == (0.5,) * 11
    assert deciles([1.0, 0.0]) == pytest.approx([tenth / 10 for tenth in range(11)])


# Alarms


def test_a_fleet_that_is_well_raises_none() -> None:
    assert names(overview()) == []
    assert names(overview(kind="simulation", is_up=None, devices=())) == []


@pytest.mark.parametrize(
    ("shares", "raised"),
    [
        ((0.8, 0.8, 0.8, 0.78, 0.78), True),
        ((0.8, 0.8, 0.8, 0.78, 0.80), False),  # one round only
        ((0.8, 0.8, 0.8, 0.795, 0.795), False),  # half a point
        ((0.8, 0.7, 0.7), False),  # nothing to compare with yet
        ((0.5, 0.6, 0.7, 0.8, 0.9), False),
    ],
)
def test_accuracy_that_fell_for_two_rounds_is_critical(shares: tuple[float, ...], raised: bool) -> None:
    found = alarms_of(overview(rounds=with_accuracies(*shares)))
    assert [(one.name, one.severity) for one in found] == ([("accuracy-fell", "critical")] if raised else [])


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"is_up": False}, "not-up"),
        ({"wanted_devices": 4, "status": WAITS}, "too-few-devices"),
        ({"rounds": tuple(RoundFacts.of(round_record(n, bad=2), at=NOW) for n in (1, 2))}, "many-left-out"),
        ({"staged": (TAKEN_BACK,)}, "gate-failed"),
        ({"now": NOW + 901}, "no-round"),
        ({"expiries": (Expiry(what="a", at=NOW + DAY_S, lifetime_s=7 * DAY_S),)}, "expires-soon"),
        ({"disk": Disk(free_bytes=10**9, total_bytes=10**11)}, "disk-full"),
        (
            {
                "privacy": PrivacySpent(
                    mode="local",
                    epsilon=7.5,
                    planned_epsilon=8.0,
                    delta=1e-5,
                    releases=9,
                    planned_releases=10,
                )
            },
            "privacy-nearly-spent",
        ),
        ({"plan": {"rounds_off": True}}, "rounds-off"),
        ({"problems": ("x.json: damaged",)}, "damaged"),
    ],
)
def test_each_rule_raises_its_alarm(changes: dict[str, object], name: str) -> None:
    assert names(overview(**changes)) == [name]
    assert name in NAMES


def test_a_new_generation_is_measured_against_itself() -> None:
    was, now = with_accuracies(0.8, 0.8, 0.8, 0.6, 0.6), 2
    rounds = tuple(replace(one, generation=1 + (one.round > 3)) for one in was)
    assert names(overview(rounds=was)) == ["accuracy-fell"]
    assert names(overview(rounds=rounds, generation=now)) == []
    fell = with_accuracies(0.9, 0.9, 0.9, 0.6, 0.6, 0.6, 0.5, 0.5)
    rounds = tuple(replace(one, generation=1 + (one.round > 3)) for one in fell)
    assert names(overview(rounds=rounds, generation=now)) == ["accuracy-fell"]


def test_what_owners_refuse_is_no_sign_of_something_bad() -> None:
    rounds = [RoundFacts.of(round_record(n, bad=3), at=NOW) for n in (1, 2, 3)]
    refused = tuple(replace(one, reasons={"not-now": 3}) for one in rounds)
    assert names(overview(rounds=refused)) == []


def test_what_the_schedule_waits_for_is_no_delay() -> None:
    status = RoundsStatus(round=11, waiting_for="window", text="tomorrow", since=NOW, until=NOW + DAY_S)
    assert names(overview(now=NOW + DAY_S, status=status)) == []
    assert names(overview(now=NOW + DAY_S + 901, status=status)) == ["no-round"]
    paused = replace(status, waiting_for="paused", until=None)
    assert names(overview(now=NOW + 9 * DAY_S, status=paused)) == []
    few = replace(status, waiting_for="devices", until=None)
    assert names(overview(now=NOW + 901, status=few)) == ["no-round", "too-few-devices"]


def test_a_wait_counts_from_when_it_began_whatever_its_words_were(fleet: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(fleet, tmp_path / "fleet")
    time = [NOW]
    with FleetDatabase.open(folder, clock=lambda: time[0]) as database:
        for time[0], reason in ((NOW, "window"), (NOW + 50, "devices"), (NOW + 60, "devices")):
            database.tell("waiting", f"at {time[0]}", reason=reason)
        database.tell("note", "something else")
    replace(WAITS, since=NOW + 60).write(folder)
    status = View.of_fleet(folder, clock=lambda: NOW + 70).overview().status
    assert status is not None
    assert status.since == NOW + 50


def test_a_run_that_has_ended_misses_no_round() -> None:
    assert names(overview(now=NOW + 10 * DAY_S, rounds_planned=10)) == []


def test_alarms_are_raised_and_cleared_once_and_keep_their_time(tmp_path: Path) -> None:
    bad = alarms_of(overview(is_up=False))
    with FleetDatabase.open(tmp_path, clock=lambda: NOW) as database:
        first, second = AlarmBook(tmp_path, database), AlarmBook(tmp_path, database)  # two processes
        assert first.update(bad, now=NOW)[0].since == NOW
        assert second.update(bad, now=NOW + 50)[0].since == NOW
        assert second.dated(bad, now=NOW + 60)[0].since == NOW
        assert first.update((), now=NOW + 90) == ()
        told = [(one.kind, one.document["name"], one.document["state"]) for one in database.events()]
    assert told == [("alarm", "not-up", "raised"), ("alarm", "not-up", "cleared")]


# Who is let in


def test_passwords_are_kept_as_scrypt_alone(fleet: Path) -> None:
    credentials, token = Credentials.create(PASSWORD)
    assert credentials.is_password(PASSWORD)
    assert not credentials.is_password(PASSWORD + " ")
    assert credentials.is_token(token)
    assert not credentials.is_token("")
    assert PASSWORD not in str(credentials)
    assert token not in str(credentials)
    with pytest.raises(ConsoleError, match="11 characters"):
        Credentials.create("x" * 11)
    with pytest.raises(ConsoleError, match="console-password"):
        Credentials.read(FleetFolder(fleet))


def test_the_password_is_set_by_a_command_that_is_noted(fleet: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(fleet, tmp_path / "fleet")
    command = ["console-password", str(folder), "--stdin", "--json"]
    done = CliRunner().invoke(cli, command, input=f"{PASSWORD}\n")
    assert done.exit_code == 0
    credentials = Credentials.read(FleetFolder(folder))
    assert credentials.is_password(PASSWORD)
    assert credentials.is_token(json.loads(done.stdout)["token"])
    assert (folder / "keys" / "console.json").stat().st_mode & 0o077 == 0
    assert AuditLog(folder).entries()[-1].action == "console-password"
    assert FleetFolder(folder).digests.problems() == []


def test_a_session_ends_and_cannot_be_made_up() -> None:
    time = [NOW]
    sessions = Sessions("ab" * 32, clock=lambda: time[0])
    cookie = sessions.begin()
    assert sessions.holds(cookie)
    later, _, rest = cookie.partition(".")
    for other in ("", "x", "1.2.3", f"{int(later) + 99}.{rest}", cookie[:-1], Sessions("cd" * 32).begin()):
        assert not sessions.holds(other)
    assert sessions.is_form_token(cookie, sessions.form_token(cookie))
    assert not sessions.is_form_token(cookie, sessions.form_token(sessions.begin()))
    time[0] += SESSION_S + 1
    assert not sessions.holds(cookie)


def test_wrong_passwords_are_few_a_minute() -> None:
    time = [0.0]
    tries = Tries(clock=lambda: time[0])
    for _ in range(5):
        assert tries.wait_s("a") == 0
        tries.failed("a")
    assert tries.wait_s("a") == 60
    assert tries.wait_s("b") == 0
    for place in range(45):
        tries.failed(f"c{place}")
    assert tries.wait_s("b") == 60  # so many from everywhere
    time[0] = 61
    assert tries.wait_s("a") == tries.wait_s("b") == 0


@pytest.fixture
def client(fleet: Path) -> TestClient:
    """A browser before its login."""
    app = make_app(View.of_fleet(fleet, clock=lambda: NOW), CREDENTIALS)
    return TestClient(app, base_url="http://127.0.0.1:8600", follow_redirects=False)


CREDENTIALS, TOKEN = Credentials.create(PASSWORD)


def log_in(client: TestClient, password: str = PASSWORD, **headers: str) -> int:
    form = client.get("/login").text
    found = re.search(r'name="form_token" value="([^"]+)"', form)
    assert found is not None
    fields = {"password": password, "form_token": found[1]}
    return client.post("/login", data=fields, headers=headers).status_code


def test_nothing_is_told_before_the_login(client: TestClient) -> None:
    assert client.get("/").headers["location"] == "/login"
    for path in ("/api/fleet", "/api/alarms", "/api/events", "/api/stream", "/metrics"):
        answer = client.get(path)
        assert answer.status_code == 401
        assert "kitchen" not in answer.text
    for path in ("/docs", "/openapi.json", "/static/x", "/../keys/console.json"):
        assert client.get(path).status_code == 404
    assert client.get("/api/fleet", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_the_password_lets_in_and_out_again(client: TestClient) -> None:
    assert log_in(client, "not the password") == 403
    assert log_in(client) == 303
    cookie = next(one for one in client.cookies.jar if one.name == "fedstill-console")
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "strict"
    page = client.get("/")
    assert page.status_code == 200
    assert client.get("/api/fleet").json()["run"] == "0123abcd"
    assert client.post("/logout", data={"form_token": "made up"}).status_code == 403
    found = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert found is not None
    assert client.post("/logout", data={"form_token": found[1]}).status_code == 303
    assert client.get("/api/fleet").status_code == 401


def test_a_login_from_another_site_is_refused(client: TestClient) -> None:
    assert log_in(client, origin="https://evil.example") == 403
    assert client.post("/login", data={"password": PASSWORD}).status_code == 403
    assert client.post("/login", content=b"x" * 10_000).status_code == 413
    assert client.get("/api/fleet").status_code == 401


def test_too_many_wrong_passwords_wait_even_with_the_right_one(client: TestClient) -> None:
    for _ in range(5):
        log_in(client, "wrong")
    assert log_in(client) == 429


def test_the_policy_allows_the_page_its_own_script_alone(client: TestClient) -> None:
    log_in(client)
    first, second = client.get("/"), client.get("/")
    policy = first.headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([^']+)'", policy)
    assert nonce is not None
    assert f'<script nonce="{nonce[1]}">' in first.text
    assert nonce[1] not in second.text
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert not re.search(r"\son[a-z]+=\"|style=\"|https?://(?!www\.w3\.org)", first.text)
    assert first.headers["x-content-type-options"] == "nosniff"
    assert first.headers["cache-control"] == "no-store"


def form_token(client: TestClient) -> str:
    found = re.search(r'data-form-token="([^"]+)"', client.get("/").text)
    return found[1] if found else ""


def test_nothing_is_changed_unless_it_is_allowed(client: TestClient, fleet: Path) -> None:
    log_in(client)
    assert form_token(client) == ""  # no buttons
    cookie = client.cookies["fedstill-console"]
    fields = {"what": "pause", "form_token": Sessions(CREDENTIALS.secret).form_token(cookie)}
    assert client.post("/change", data=fields).status_code == 404
    assert not (fleet / "schedule.json").exists()


def test_what_is_allowed_is_done_by_commands_that_are_noted(fleet: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(fleet, tmp_path / "fleet")
    app = make_app(View.of_fleet(folder), CREDENTIALS, allow_changes=True)
    client = TestClient(app, base_url="http://127.0.0.1:8600", follow_redirects=False)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert client.post("/change", data={"what": "pause"}, headers=bearer).status_code == 403
    log_in(client)
    fields = {"what": "pause", "form_token": form_token(client)}
    assert client.post("/change", data={**fields, "form_token": "made up"}).status_code == 403
    assert client.post("/change", data=fields, headers={"Origin": "https://evil.example"}).status_code == 403
    assert Schedule.read(folder, continuous=False).paused is False
    assert client.post("/change", data=fields).json() == {"done": "pause"}
    assert Schedule.read(folder, continuous=False).paused is True
    assert AuditLog(folder).entries()[-1].action == "pause"
    answer = client.post("/change", data={**fields, "what": "unregister"})
    assert (answer.status_code, "none of" in answer.json()["error"]) == (409, True)


# For programs


def test_a_token_reads_json_events_and_metrics(client: TestClient) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    document = client.get("/api/fleet?rounds=1&devices=2", headers=bearer).json()
    assert [one["round"] for one in document["rounds"]] == [3]
    assert (document["round_count"], document["device_count"], document["online_count"]) == (3, 3, 2)
    assert document["totals"]["left_out"] == {"bad-values": 2}
    assert client.get("/api/alarms", headers=bearer).json()[0]["name"] == "not-up"
    assert client.get("/api/events?after=0", headers=bearer).json()[0]["kind"] == "note"
    assert client.get("/api/fleet?rounds=-1", headers=bearer).status_code == 422
    text = client.get("/metrics", headers=bearer).text
    for line in (
        'fedstill_info{method="public-logits",run="0123abcd"} 1.0',
        "fedstill_round 3.0",
        'fedstill_answers_total{outcome="counted"} 7.0',
        'fedstill_left_out_total{reason="bad-values"} 2.0',
        'fedstill_accuracy{family="mlp-small",of="student"} 0.8',
        'fedstill_personal_accuracy{quantile="0.5"} 0.7',
        "fedstill_devices_online 2.0",
        'fedstill_alarm{alarm="not-up"} 2.0',
        'fedstill_alarm{alarm="disk-full"} 0.0',
    ):
        assert line in text


def test_the_board_and_the_alerts_name_metrics_that_there_are() -> None:
    spent = PrivacySpent(
        mode="local", epsilon=1, planned_epsilon=8, delta=1e-5, releases=1, planned_releases=9
    )
    expiry = Expiry(what="a", at=NOW, lifetime_s=1)
    text = metrics_text(overview(privacy=spent, expiries=(expiry,))).decode()
    known = set(re.findall(r"^# TYPE (\w+)", text, flags=re.M))
    board = json.loads((DEPLOY / "grafana" / "fedstill.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked.append((DEPLOY / "prometheus" / "alerts.yml").read_text())
    named = {name for query in asked for name in re.findall(r"\bfedstill_\w+", query)}
    assert len(named) > 10
    assert named <= known


def test_the_docs_name_each_alarm_and_metric() -> None:
    page = (DEPLOY.parent / "docs" / "how-to" / "console.md").read_text()
    text = metrics_text(overview()).decode()
    metrics = re.findall(r"^# TYPE (\w+)", text, flags=re.M)
    assert len(metrics) > 15
    assert not {name for name in (*NAMES, *metrics) if f"`{name}`" not in page}


def test_metrics_alone_are_for_this_machine(fleet: Path) -> None:
    app = metrics_app(View.of_fleet(fleet))
    assert "fedstill_round 3.0" in TestClient(app, base_url="http://127.0.0.1:9600").get("/metrics").text
    assert TestClient(app, base_url="http://evil.example").get("/metrics").status_code == 400
    assert TestClient(app, base_url="http://127.0.0.1:9600").get("/api/fleet").status_code == 404


def test_a_collector_gets_a_span_of_each_new_round_and_its_phases() -> None:
    got: dict[str, list[bytes]] = {}

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            got.setdefault(self.path, []).append(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    it = overview()
    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        telemetry = Telemetry(f"http://127.0.0.1:{server.server_port}", lambda: it)
        phases = PhaseSeconds(train=1.5, learn=0.5)
        new = RoundFacts.of(round_record(11, phase_seconds=phases), at=NOW + 60)
        telemetry.send(replace(it, rounds=(*it.rounds, new)))
        telemetry.send(replace(it, rounds=(*it.rounds, new)))  # once is enough
        telemetry.close()
        server.shutdown()
    request = ExportTraceServiceRequest.FromString(got["/v1/traces"][0])
    spans = {one.name: one for one in request.resource_spans[0].scope_spans[0].spans}
    assert sorted(spans) == ["learn", "round", "train"]
    assert spans["round"].end_time_unix_nano - spans["round"].start_time_unix_nano == 2_000_000_000
    assert spans["train"].parent_span_id == spans["round"].span_id
    assert spans["learn"].start_time_unix_nano == spans["train"].end_time_unix_nano
    metrics = ExportMetricsServiceRequest.FromString(got["/v1/metrics"][-1])
    assert "fedstill.accuracy" in {one.name for one in metrics.resource_metrics[0].scope_metrics[0].metrics}
    with pytest.raises(ConsoleError, match="no address"):
        Telemetry("collector:4318", lambda: it)


def test_a_simulation_s_page_is_for_this_machine(fleet: Path) -> None:
    app = make_app(View(fleet, phase=lambda: "training"), None)
    here = TestClient(app, base_url="http://127.0.0.1:8600")
    assert here.get("/").status_code == 200
    assert here.get("/api/fleet").json()["phase"] == "training"
    assert TestClient(app, base_url="http://evil.example").get("/api/fleet").status_code == 400


def test_inspect_shows_shares_with_what_they_are_of_and_alarms(fleet: Path) -> None:
    shown = Console(width=200, record=True, file=io.StringIO())
    shown.print(round_table(fleet_config(rounds=60), [round_record(1)]))
    text = shown.export_text()
    for part in ("mlp-small, test set", "80.0% of 500", "90.0% of 500", "70.0% of 96"):
        assert part in text
    assert "global" not in text  # nobody measured it
    done = CliRunner().invoke(cli, ["inspect", str(fleet)])
    assert "alarm, critical: the fleet is not up" in done.stdout
    document = json.loads(CliRunner().invoke(cli, ["inspect", str(fleet), "--json"]).stdout)
    assert [one["name"] for one in document["alarms"]] == ["not-up"]


def test_a_simulation_s_page_shows_its_rounds_beside_it(tmp_path: Path) -> None:
    write_run(tmp_path, fleet_config(rounds=4))
    commit(tmp_path, round_record(1))
    said = io.StringIO()
    with live_page(tmp_path, SilentProgress(), Console(file=said), keep=False) as progress:
        progress.phase("exporting")
        address = said.getvalue().split()[-1]
        document = httpx.get(f"{address}api/fleet").json()
        assert (document["kind"], document["phase"], document["round_count"]) == (
            "simulation",
            "exporting",
            1,
        )
        assert httpx.get(f"{address}api/fleet", headers={"Host": "evil.example"}).status_code == 400
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}api/fleet")


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["console", str(tmp_path)])
    assert "no fleet here" in str(done.exception)
    make_fleet(tmp_path / "fleet", rounds=0)
    done = CliRunner().invoke(cli, ["console", str(tmp_path / "fleet")])
    assert "console-password" in str(done.exception)
