"""Flower's SuperNode, for a device that may have lost power: it first reports that its former self is gone.

This is the one module of a device that uses names which Flower keeps for itself: with another release of
Flower, look here.

A SuperLink takes a node for present until its heartbeats have been missing for a minute, and lets no second
one of the same key in. So a device that is back after ten seconds would wait for its own ghost to pass away.

    python -m fedstill_client.fleet.supernode <the options of flower-supernode>
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

# Before flwr: it switches flwr's telemetry and update check off.
import fedstill_proto  # noqa: F401  # isort: skip
from fedstill_client.fleet.membership import Membership, authority_file, device_key
from fedstill_client.fleet.node import read_node
from fedstill_client.home import DEVICE_FOLDER_VARIABLE, AgentHome


def deactivate_node(home: AgentHome) -> bool:
    """Deactivate the node that this device was; False where it was none, or was gone already."""
    # Flower's SuperNode loads a database's library, which nothing else on a device needs.
    import httpx
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key
    from flwr.proto.fleet_pb2 import DeactivateNodeRequest
    from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
    from flwr.supernode.fleet_http_client import FleetHttpClient
    from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

    node = read_node(home)
    if node is None:
        return False
    key = load_ssh_private_key(device_key(home).read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # enrol made it
    client = FleetHttpClient.from_server_address(
        server_address=Membership.read(home).address,
        insecure=False,
        root_certificates=authority_file(home).read_bytes(),
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(key, key.public_key()),
        ],
    )
    # Where the server does not answer, or knows of no ghost, the SuperNode finds out by itself.
    with client, contextlib.suppress(httpx.HTTPError, RuntimeError):
        client.DeactivateNode(DeactivateNodeRequest(node_id=node))
        return True
    return False


def main() -> None:
    from flwr.supernode.cli import flower_supernode

    deactivate_node(AgentHome(Path(os.environ[DEVICE_FOLDER_VARIABLE])))
    sys.argv[0] = "flower-supernode"
    flower_supernode()


if __name__ == "__main__":
    main()
