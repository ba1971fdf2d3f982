"""Who is let in and who no more, what a server knows of each device, and the log of who changed that."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fedstill_proto.system.steering import REFUSED_HEADER
from fedstill_server.cli import cli
from fedstill_server.fleet import superlink as superlink_module
from fedstill_server.fleet.damage import damage_in
from fedstill_server.fleet.devices import DeviceRegister
from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.flower import FlowerNode
from fedstill_server.fleet.folder import FleetFolder, FleetSettings
from fedstill_server.fleet.nodes import write_nodes
from fedstill_server.fleet.round_notes import outcomes_of
from fedstill_server.fleet.sightings import LOAD, NodeFacts, Sightings
from fedstill_server.fleet.superlink import FleetGuard
from fedstill_server.operations.database import FleetDatabase
from fedstill_server.rounds.roster import RegisteredNode
from fedstill_server.rounds.round_record import Quarantined
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from typer.testing import CliRunner

from tests.server.test_checkpoint import record
from tests.server.test_fleet_folder import key_file

SETTINGS = FleetSettings(host="fleet.example.org", port=8443, superlink_port=8000)


@pytest.fixture
def fleet(tmp_path: Path) -> FleetFolder:
    return FleetFolder.create(tmp_path / "fleet", SETTINGS)


def invoke(*words: object, exit_code: int = 0) -> str:
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == exit_code, done.output
    return done.output


def key(folder: Path, name: str) -> tuple[ec.EllipticCurvePrivateKey, Path]:
    made = ec.generate_private_key(ec.SECP384R1())
    file = key_file(folder, comment=name, key=made).rename(folder / f"{name}.pub")
    return made, file


class TestRevoked:
    def test_a_revoked_key_comes_back_only_when_asked_for_and_a_new_one_as_it_likes(
        self, fleet: FleetFolder, tmp_path: Path
    ) -> None:
        (_, first), (_, second) = key(tmp_path, "kitchen"), key(tmp_path, "other")
        register = DeviceRegister(fleet.devices, clock=lambda: 1_000_000.0)
        register.add(first)
        before = register.changed_at()
        assert register.remove("kitchen", reason="stolen").fingerprint.startswith("SHA256:")
        assert register.changed_at() != before
        assert register.all() == []
        with pytest.raises(FleetError, match=r"revoked on 1970-01-12, as 'kitchen' \(stolen\).*--again"):
            register.add(first)
        assert register.add(second, "kitchen").name == "kitchen"
        register.remove("kitchen")
        assert [one.reason for one in register.revoked()] == ["stolen", ""]
        assert register.add(first, again=True).registered_at == 1_000_000.0
        assert [one.reason for one in register.revoked()] == [""]

    def test_the_commands_name_the_device_in_an_event_and_in_the_audit_log(
        self, fleet: FleetFolder, tmp_path: Path
    ) -> None:
        _, file = key(tmp_path, "kitchen")
        invoke("register", fleet.folder, file)
        invoke("unregister", fleet.folder, "kitchen", "--reason", "stolen")
        with FleetDatabase.open(fleet.folder) as database:
            (event,) = database.last_events(kinds=["device"])
        assert (event.text, event.document["device"]) == ("kitchen is revoked: stolen", "kitchen")
        (revoked,) = json.loads(invoke("devices", fleet.folder, "--state", "revoked", "--json"))
        assert (revoked["name"], revoked["reason"], revoked["marks"]) == ("kitchen", "stolen", ["revoked"])
        assert json.loads(invoke("devices", fleet.folder, "--json")) == []
        invoke("register", fleet.folder, file, "--again")
        done = json.loads(invoke("audit", fleet.folder, "--check", "--json"))
        assert [one["action"] for one in done["entries"]] == ["register", "unregister", "register"]
        assert [one["details"].get("reason") for one in done["entries"]] == [None, "stolen", None]
        assert done["problems"] == []

    def test_a_tampered_line_of_the_log_is_named(self, fleet: FleetFolder, tmp_path: Path) -> None:
        for name in ("attic", "kitchen"):
            invoke("register", fleet.folder, key(tmp_path, name)[1])
        file = fleet.folder / "audit.jsonl"
        file.write_text(file.read_text().replace("attic", "cellar"))
        shown = invoke("audit", fleet.folder, "--check", exit_code=1)
        assert "audit.jsonl: line 1: it is not what was written" in shown
        assert [problem for problem in damage_in(fleet.folder) if "audit.jsonl: line 1" in problem]


class TestDevices:
    def test_each_is_listed_with_what_is_known_of_it(self, fleet: FleetFolder, tmp_path: Path) -> None:
        for name in ("attic", "hall", "kitchen"):
            DeviceRegister(fleet.devices).add(key(tmp_path, name)[1])
        write_nodes(
            fleet.nodes, {7: RegisteredNode("hall", "2026-11-29T05:00:00"), 8: RegisteredNode("attic", "")}
        )
        with FleetDatabase.open(fleet.folder) as database:
            database.note_device(
                "kitchen", online=True, last_seen_at=5.0, package_version=3, generation=2, family="mlp-small"
            )
            database.count_answers(4, {"kitchen": ("not-now", "busy"), "hall": ("counted", "")})
        found = {one["name"]: one for one in json.loads(invoke("devices", fleet.folder, "--json"))}
        assert {name: one["marks"] for name, one in found.items()} == {
            "attic": ["never"],
            "hall": ["offline"],
            "kitchen": ["online", "refused"],
        }
        assert (found["kitchen"]["last_outcome"], found["kitchen"]["last_outcome_text"]) == (
            "not-now",
            "busy",
        )
        (refused,) = json.loads(invoke("devices", fleet.folder, "--state", "refused", "--json"))
        assert refused["name"] == "kitchen"
        assert "mlp-small 3, generation 2" in invoke("devices", fleet.folder, "--state", "online")

    def test_a_state_that_is_none_is_refused(self, fleet: FleetFolder) -> None:
        done = CliRunner().invoke(cli, ["devices", str(fleet.folder), "--state", "ofline"])
        assert "did you mean offline" in str(done.exception)

    def test_outcomes_are_those_of_the_record(self) -> None:
        attic = Quarantined(device="attic", node="1", reason="late", text="too late")
        nobody = Quarantined(device="", node="2", reason="unasked", text="who?")
        told = replace(record(1), quarantined=(attic, nobody), counted=("kitchen",))
        assert outcomes_of(told) == {"attic": ("late", "too late"), "kitchen": ("counted", "")}


class TestSightings:
    def test_a_device_is_written_now_and_then_and_unknown_keys_are_counted_alone(
        self, tmp_path: Path
    ) -> None:
        now = [100.0]
        sightings = Sightings(tmp_path, clock=lambda: now[0])
        for _ in range(1000):
            sightings.saw("kitchen")
            sightings.refused("unregistered")
        sightings.refused(LOAD, "kitchen")
        sightings.write()
        now[0] = 110.0
        sightings.saw("kitchen")  # ten seconds later is no news
        sightings.refused(LOAD, "kitchen")
        sightings.write()
        with FleetDatabase.open(tmp_path) as database:
            assert [(one.name, one.last_seen_at) for one in database.devices()] == [("kitchen", 100.0)]
            (event,) = database.last_events()
            assert event.document == {
                "unregistered": {"requests": 1000, "devices": {}},
                "load": {"requests": 1, "devices": {"kitchen": 1}},
            }
            now[0] = 170.0
            sightings.saw("kitchen")
            sightings.write()
            assert database.devices()[0].last_seen_at == 170.0
            assert database.last_events()[-1].text.startswith("refused requests: 1 of devices that ask too")

    def test_nodes_are_written_where_they_have_changed(self, tmp_path: Path) -> None:
        facts = NodeFacts(tmp_path, print)
        facts.note({"kitchen": FlowerNode(7)}, let_in=["kitchen"])
        facts.note({"kitchen": FlowerNode(7, "now", online=True)})
        with FleetDatabase.open(tmp_path) as database:
            (kitchen,) = database.devices()
            assert (kitchen.node, kitchen.online) == ("7", True)
            assert [one.text for one in database.last_events()] == ["kitchen is let in"]
            database.forget_device("kitchen")
            facts.note({"kitchen": FlowerNode(7, "now", online=True)})
            assert database.devices() == []  # no news, nothing written
        facts.close()


class TestGuard:
    @pytest.fixture
    def guarded(self, fleet: FleetFolder, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Asks the guard as a device would; gives the status and the word beside it."""
        monkeypatch.setattr(superlink_module, "WRITE_EVERY_S", 0.0)

        async def flower(scope: Any, receive: Any, send: Any) -> None:
            await superlink_module.Response()(scope, receive, send)

        guard = FleetGuard(flower, fleet.folder)

        def ask(device: ec.EllipticCurvePrivateKey, *, ahead: timedelta = timedelta()) -> tuple[int, str]:
            guard._read_at = 0.0
            time = (datetime.now(UTC) + ahead).isoformat()
            headers = {
                FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(public_key_to_bytes(device.public_key())),
                TIMESTAMP_HEADER: time.encode(),
                FLEET_HTTP_SIGNATURE_HEADER: b64encode(sign_message(device, time.encode("ascii"))),
                "content-length": b"0",
            }
            scope = {
                "type": "http",
                "method": "POST",
                "path": "/v1/fleet/pull-messages",
                "headers": [(name.lower().encode(), value) for name, value in headers.items()],
            }
            return asyncio.run(self.asked(guard, scope))

        return ask

    async def asked(self, guard: FleetGuard, scope: dict[str, Any]) -> tuple[int, str]:
        answers = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            answers.append(message)

        await guard(scope, receive, send)  # type: ignore[arg-type]
        assert guard._writing is not None
        await guard._writing
        headers = {name.decode(): value.decode() for name, value in answers[0]["headers"]}
        return answers[0]["status"], headers.get(REFUSED_HEADER, "")

    def test_it_says_why_a_device_is_not_let_in_and_when_one_was_seen(
        self, fleet: FleetFolder, tmp_path: Path, guarded: Any
    ) -> None:
        device, file = key(tmp_path, "kitchen")
        assert guarded(device) == (401, "unregistered")
        DeviceRegister(fleet.devices).add(file)
        assert guarded(device) == (200, "")
        assert guarded(device, ahead=timedelta(hours=3)) == (401, "clock")
        DeviceRegister(fleet.devices).remove("kitchen")
        assert guarded(device) == (401, "revoked")
        stranger = ec.generate_private_key(ec.SECP384R1())
        assert guarded(stranger) == (401, "unregistered")
        with FleetDatabase.open(fleet.folder) as database:
            assert database.devices()[0].last_seen_at is not None
            assert "1 of keys that nobody has registered" in database.last_events()[0].text
