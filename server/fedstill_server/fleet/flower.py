"""Flower's programs and its Control API, as this fleet uses them.

This module, superlink.py and bounded_grid.py are those of the server that use names which Flower keeps for
itself: with another release of Flower, look here. Those of 1.41 and 1.42 are the same.

The SuperLink keeps messages in its own database and runs no code of ours ("--isolation process"): a SuperExec
beside it starts the ServerApp. So the SuperLink can be killed and started again in the middle of a round.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before flwr: it switches flwr's telemetry and update check off.
import fedstill_proto  # noqa: F401  # isort: skip
from fedstill_proto.system.bundle import bundle, bundle_digest
from fedstill_proto.system.supervisor import ChildProcess, flower_environment, flower_program

from fedstill_server.fleet.certificates import authority_file, server_files
from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.plugins import MODULES_VARIABLE
from fedstill_server.run_folder import FOLDER_VARIABLE

if TYPE_CHECKING:
    from flwr.supercore.control.control_http_client import ControlHttpClient

LOOPBACK = "127.0.0.1"
# What a device may ask of the SuperLink, and nothing else (POST /v1/fleet/<route>).
OBJECT_ROUTE = "push-object"
FLEET_ROUTES = (
    "activate-node",
    "deactivate-node",
    "send-node-heartbeat",
    "pull-messages",
    "push-messages",
    "get-run",
    "get-fab",
    OBJECT_ROUTE,
    "pull-object",
    "confirm-message-received",
)


def superlink(fleet: FleetFolder) -> ChildProcess:
    """Flower's SuperLink on loopback, with TLS, registered devices only, and a guard (see superlink.py)."""
    certificate, key = server_files(fleet)
    port = str(fleet.settings.superlink_port)
    command = [
        *(sys.executable, "-P", "-m", "fedstill_server.fleet.superlink"),
        *("--host", LOOPBACK, "--port", port),
        *("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key)),
        *("--ssl-ca-certfile", str(authority_file(fleet))),
        *("--isolation", "process", "--database", str(fleet.folder / "superlink.db")),
        *("--enable-supernode-auth", "--disable-runtime-dependency-installation"),
        *("--superexec-auth-secret-file", str(_secret(fleet))),
    ]
    return ChildProcess("superlink", command, fleet.logs / "superlink.log", _environment(fleet))


def superexec(fleet: FleetFolder) -> ChildProcess:
    """Flower's SuperExec, which starts our ServerApp when a run is due."""
    command = [
        *(flower_program("flower-superexec"), "--runtime-api-address", superlink_address(fleet)),
        *("--root-certificates", str(authority_file(fleet))),
        *("--superexec-auth-secret-file", str(_secret(fleet))),
    ]
    return ChildProcess("serverapp", command, fleet.logs / "serverapp.log", _environment(fleet))


def superlink_address(fleet: FleetFolder) -> str:
    """host:port of the SuperLink itself; the proxy and the operator alone reach it."""
    return f"{LOOPBACK}:{fleet.settings.superlink_port}"


@dataclass(frozen=True)
class RunStatus:
    """How a Flower run stands: `pending`, `starting`, `running`, or `finished:<how>`."""

    run_id: int
    status: str

    @property
    def is_over(self) -> bool:
        return self.status.startswith("finished")

    @property
    def is_completed(self) -> bool:
        return self.status == "finished:completed"


@dataclass(frozen=True)
class FlowerNode:
    """A device as Flower knows it; `activated_at` is ISO 8601, and empty until the device has come up."""

    node_id: int
    activated_at: str = ""
    online: bool = False


class Control:
    """The operator's side of a SuperLink."""

    def __init__(self, client: ControlHttpClient) -> None:
        self._client = client

    @classmethod
    @contextmanager
    def of(cls, fleet: FleetFolder) -> Iterator[Control]:
        """Connect over TLS; each call raises httpx.HTTPError or flwr's errors where nobody answers."""
        from flwr.supercore.control.control_http_client import ControlHttpClient
        from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

        client = ControlHttpClient.from_server_address(
            server_address=superlink_address(fleet),
            insecure=False,
            root_certificates=authority_file(fleet).read_bytes(),
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI")],
        )
        try:
            yield cls(client)
        finally:
            client.close()

    def nodes(self) -> dict[bytes, FlowerNode]:
        """The node of each registered public key (PEM)."""
        from flwr.proto.control_pb2 import ListNodesRequest

        answer = self._client.ListNodes(ListNodesRequest())
        return {
            info.public_key: FlowerNode(info.node_id, info.last_activated_at, info.status == "online")
            for info in answer.nodes_info
            if not info.unregistered_at
        }

    def register(self, public_key: bytes, name: str) -> int:
        """Let a device in; returns its node."""
        from flwr.proto.control_pb2 import RegisterNodeRequest

        return int(self._client.RegisterNode(RegisterNodeRequest(public_key=public_key, name=name)).node_id)

    def unregister(self, node: int) -> None:
        """Lock a node out."""
        from flwr.proto.control_pb2 import UnregisterNodeRequest

        self._client.UnregisterNode(UnregisterNodeRequest(node_id=node))

    def runs(self) -> list[RunStatus]:
        """How each run stands, from the first to the last."""
        from flwr.proto.control_pb2 import ListRunsRequest

        runs: Mapping[int, Any] = self._client.ListRuns(ListRunsRequest()).run_dict
        return [
            RunStatus(run.run_id, ":".join(filter(None, (run.status.status, run.status.sub_status))))
            for run in sorted(runs.values(), key=lambda run: run.pending_at)
        ]

    def start_run(self) -> int:
        """Start the fleet's app; returns the run's id."""
        from flwr.common.serde import fab_to_proto
        from flwr.proto.control_pb2 import StartRunRequest
        from flwr.supercore.fab import Fab

        fab = Fab(bundle_digest(), bundle(), {})
        answer = self._client.StartRun(StartRunRequest(fab=fab_to_proto(fab)))
        if not answer.HasField("run_id"):
            raise FleetError(f"Flower did not start the run: {answer.note or 'it gives no reason'}")
        return int(answer.run_id)

    def stop_run(self, run_id: int) -> None:
        """End a run that has not ended yet."""
        from flwr.proto.control_pb2 import StopRunRequest

        self._client.StopRun(StopRunRequest(run_id=run_id))


def _environment(fleet: FleetFolder) -> dict[str, str]:
    own = {FOLDER_VARIABLE: str(fleet.folder.resolve()), MODULES_VARIABLE: str(Path.cwd())}
    return {**flower_environment(fleet.folder / "flower"), **own}


def _secret(fleet: FleetFolder) -> Path:
    """The secret by which the SuperLink knows the SuperExec; made once."""
    path = fleet.keys / "superexec.secret"
    if not path.exists():
        fleet.digests.write(path, secrets.token_hex(32).encode())
    return path
