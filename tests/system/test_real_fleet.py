"""A real fleet on loopback: real processes, TLS, registered keys, signed packages; killed in the middle."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fedstill_client.fleet.node import read_node
from fedstill_client.fleet.supernode import access_of
from fedstill_proto.v1 import fleet_pb2
from fedstill_server.operations.database import FleetDatabase
from fedstill_server.rounds.rounds_status import RoundsStatus

from benchmarks.fleet_on_loopback.fleet import Fleet, Shape, bring_up, read_port
from benchmarks.fleet_on_loopback.processes import wait_until
from benchmarks.real_fleet import examine, rounds_done

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
DEVICES, ROUNDS = 4, 3


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # A socket's path is short: pytest's own folders are too deep.
    with tempfile.TemporaryDirectory(prefix="fs") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def ran(folder: Path) -> Iterator[tuple[Fleet, dict[str, Any]]]:
    """Four devices and three rounds; in the second, one device loses power and the SuperLink is killed."""
    shape = Shape(devices=DEVICES, rounds=ROUNDS, proxy=NGINX is not None)
    with bring_up(folder / "real", shape) as fleet:
        rounds_done(fleet, kill=True)
        yield fleet, examine(fleet, folder / "simulated")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_summary_is_counted_once_and_the_consensus_is_the_simulator_s(
    ran: tuple[Fleet, dict[str, Any]],
) -> None:
    _, result = ran
    assert result["wrong"] == []
    assert result["holds"]
    assert [one["accepted"] for one in result["rounds"]] == [DEVICES] * ROUNDS
    assert result["personal_accuracy"] == pytest.approx(result["personal_accuracy_simulated"])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_devices_reach_the_fleet_s_routes_and_nothing_else(ran: tuple[Fleet, dict[str, Any]]) -> None:
    fleet, _ = ran
    authority = ssl.create_default_context(cafile=str(fleet.folder / "certificates" / "ca.pem"))
    server = f"https://127.0.0.1:{read_port(fleet.folder / 'enrolment')}"
    with httpx.Client(verify=authority, base_url=server) as device:
        for route in ("control/list-runs", "control/register-node", "runtime/pull-app-inputs", "fleet/x"):
            assert device.post(f"/v1/{route}").status_code == 404, route
        someone = {"flwr-public-key": "c29tZW9uZQ=="}
        assert device.get("/v1/fleet/pull-messages", headers=someone).status_code == 403
        # Without a key nothing is read; the SuperLink's guard refuses whom it does not know.
        assert device.post("/v1/fleet/pull-messages").status_code == 401
        assert device.post("/v1/fleet/pull-messages", headers=someone).status_code == 401
        large = device.post("/v1/fleet/push-messages", headers=someone, content=bytes(300 << 10))
        assert large.status_code == 413
        assert device.get("/repository/metadata/timestamp.json").status_code == 200
        for path in ("/repository/../keys/ca.pem", "/keys/ca.pem", "/config.json", "/"):
            assert device.get(path).status_code in (400, 404), path
        assert device.post("/repository/metadata/timestamp.json").status_code == 403
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(server)  # a public authority does not know the fleet


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_no_private_example_is_on_the_wire(ran: tuple[Fleet, dict[str, Any]]) -> None:
    fleet, _ = ran
    assert fleet.wire is not None
    wire = fleet.wire.sent()
    # What must be there, is: the wire is read in the clear.
    for name, agent in fleet.agents.items():
        (first, *_) = fleet.summaries(name)
        assert first.bytes > 0
        assert any(name.encode() in sent for sent in wire), agent.home
    assert sum(b"mlp-small" in sent for sent in wire) > 0
    for device in range(DEVICES):
        for x in np.asarray(fleet.data.x[fleet.data.train[device]]):
            for values in (x.astype("<f4"), x.astype(">f4"), x.astype("<f8"), x.astype("<f2")):
                rows = values.reshape(-1, 8)
                row = rows[np.argmax((rows != 0).sum(axis=1))].tobytes()  # eight pixels in a row
                assert not any(row in sent for sent in wire)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_operator_sees_who_took_part_and_that_rounds_are_over(ran: tuple[Fleet, dict[str, Any]]) -> None:
    fleet, _ = ran

    def said() -> list[str]:
        return [one["note"] for one in fleet.server.events("note") if "rounds are done" in one["note"]]

    (text,) = wait_until(said, seconds=60.0, what="the word that all rounds are done")
    assert text.startswith(f"all {ROUNDS} rounds are done, and devices are asked nothing more")
    status = RoundsStatus.read(fleet.folder)
    assert status is not None
    assert status.waiting_for == "end"
    with FleetDatabase.open(fleet.folder) as database:
        states = database.devices()
    assert [(one.willing, one.last_outcome, one.counted_rounds) for one in states] == [
        (True, "counted", ROUNDS)
    ] * DEVICES
    # Any answer tells a device when to look again, and which release is the newest.
    home = next(iter(fleet.agents.values())).home
    with access_of(home).client() as client:
        request = fleet_pb2.PullMessagesRequest(node=fleet_pb2.Node(node_id=read_node(home)))
        client.call("pull-messages", request, fleet_pb2.PullMessagesResponse)
    timestamp = json.loads((fleet.folder / "repository" / "metadata" / "timestamp.json").read_text())
    assert client.heard.release == timestamp["signed"]["version"]
    assert 3.0 <= client.heard.look_after_s <= 3.75
