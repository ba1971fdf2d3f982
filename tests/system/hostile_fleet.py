"""A server that does what the protocol forbids, and one device, in real processes on loopback."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from fedstill_client.fleet.membership import Membership, authority_file, device_key
from fedstill_client.fleet.run import supernode
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_proto.system.supervisor import ChildProcess, Supervisor
from fedstill_server.fleet import certificates
from fedstill_server.fleet.devices import DeviceRegister
from fedstill_server.fleet.flower import Control, superexec, superlink
from fedstill_server.fleet.folder import FleetFolder, FleetSettings
from flwr.cli.build import build_fab_from_disk
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import StartRunRequest
from flwr.supercore.fab import Fab

from benchmarks.fleet_on_loopback.processes import LOOPBACK, free_port, wait_until
from tests.client.agent_samples import trainable_package
from tests.client.samples import examples
from tests.client.test_policy import quiet

_PROJECT = """\
[project]
name = "hostile"
version = "1.0.0"
description = "An app with code of its own."
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "fedstill"

[tool.flwr.app.components]
serverapp = "hostile.server:app"
clientapp = "hostile.client:app"
"""


@dataclass
class HostileFleet:
    """A fleet of one device whose server is hostile; each run's replies are read from a file."""

    folder: Path
    fleet: FleetFolder
    home: AgentHome
    control: Control
    node: ChildProcess
    liar: AgentHome  # of another registered device, which runs nowhere

    @property
    def marker(self) -> Path:
        """What the app of a hostile bundle writes as soon as a device imports it."""
        return self.folder / "marker"

    def start_run(self, server: str) -> None:
        """Start a run with a bundle that holds code: `server` is the module of its ServerApp."""
        package = self.folder / "bundle" / "hostile"
        package.mkdir(parents=True, exist_ok=True)
        (package.parent / "pyproject.toml").write_text(_PROJECT)
        (package / "__init__.py").touch()
        (package / "server.py").write_text(server)
        (package / "client.py").write_text(
            f"open({str(self.marker)!r}, 'w').write('owned')\nfrom fedstill_client.app import app\n"
        )
        content = build_fab_from_disk(package.parent)
        fab = Fab(sha256(content).hexdigest(), content, {})
        self.control._client.StartRun(StartRunRequest(fab=fab_to_proto(fab)))

    def reply(self, name: str) -> dict[str, Any]:
        """Wait for what the run of this name wrote down of the device's reply."""
        file = self.folder / name
        content = wait_until(lambda: file.exists() and file.read_text(), seconds=30, what=name)
        document: dict[str, Any] = json.loads(content)
        return document

    @staticmethod
    def wait_a_moment() -> None:
        time.sleep(0.05)

    def log(self) -> str:
        return self.node.log.read_text()


@contextmanager
def hostile_fleet(folder: Path, installed_server: str) -> Iterator[HostileFleet]:
    """Start the SuperLink, what runs its ServerApps, and one registered device.

    Args:
        folder: Where everything lies.
        installed_server: The module that stands in for fedstill_server.app where the server's apps run, as a
            hostile operator can arrange.
    """
    settings = FleetSettings(host=LOOPBACK, port=free_port(), superlink_port=free_port(), proxy=False)
    fleet = FleetFolder.create(folder / "fleet", settings)
    certificates.create_authority(fleet)
    certificates.renew_server_certificate(fleet)
    (home, public_key), (liar, liar_key) = (_device(folder / name, fleet) for name in ("phone", "liar"))
    instead = folder / "instead" / "fedstill_server"
    instead.mkdir(parents=True)
    extended = "import pkgutil\n__path__ = pkgutil.extend_path(__path__, __name__)\n"
    (instead / "__init__.py").write_text(extended)
    (instead / "app.py").write_text(installed_server)
    with Supervisor(folder / "children.json") as children, Control.of(fleet) as control:
        children.start(superlink(fleet))
        wait_until(lambda: _answers(control), seconds=30, what="the SuperLink")
        control.register(public_key, "phone")
        control.register(liar_key, "liar")
        apps = superexec(fleet)
        path = os.pathsep.join((str(instead.parent), os.environ.get("PYTHONPATH", "")))
        children.start(replace(apps, environment={**apps.environment, "PYTHONPATH": path}))
        node = children.start(supernode(home))
        yield HostileFleet(folder, fleet, home, control, node, liar)


def _device(folder: Path, fleet: FleetFolder) -> tuple[AgentHome, bytes]:
    """Make a home as enrolment does, with a student; returns it with the public key for the server."""
    home = AgentHome(folder)
    with PrivateStore.create(home) as store:
        install(home, store, trainable_package(2))
        store.observe_all(zip(*examples(16, seed=1), strict=True))
    quiet(home)
    for part in (home.keys, home.trust):
        part.mkdir(mode=0o700)
    authority_file(home).write_bytes(certificates.authority_file(fleet).read_bytes())
    key = ec.generate_private_key(ec.SECP384R1())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    device_key(home).with_suffix(".pub").write_bytes(public + f" {folder.name}\n".encode())
    DeviceRegister(fleet.devices).add(device_key(home).with_suffix(".pub"))
    device_key(home).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    home.description.write_text(json.dumps({"name": folder.name, "family": "mlp-small"}))
    Membership(run=fleet.run, address=fleet.settings.address, repository=str(folder)).write(home)
    return home, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _answers(control: Control) -> bool:
    try:
        control.runs()
    except (httpx.HTTPError, ConnectionError):
        return False
    return True
