"""Joins a Ray cluster, or starts one on this machine, and checks that its machines can do the work."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fedstill_proto.errors import FedstillError
from fedstill_proto.system.extras import explain_missing

from fedstill_sim.cluster import node_facts as facts_module
from fedstill_sim.cluster.node_facts import node_facts

LOCAL, AUTO, CLIENT = "local", "auto", "ray://"
CLIENT_PORT = 10001  # where `ray start --head` serves drivers that are on no node
_ADDRESS = re.compile(r"(ray://)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):(\d{1,5})")
_REACH_S = 5.0
_FACTS_S = 60.0
_LONGEST_TEMPORARY_FOLDER = 28  # as for Flower's Ray: a socket's path has at most 107 characters
_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or it warns about graphics cards
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # of results that nobody asks for, since the call has failed
}
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # "0": Ray listens on 127.0.0.1 alone

log = logging.getLogger("fedstill.sim")


class ClusterError(FedstillError):
    """The cluster is not there, or cannot do the run's work."""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster: Ray's name for it, its address, and how many workers it can have."""

    name: str
    address: str
    workers: int


def check_address(address: str) -> None:
    """Refuse what is no address of a cluster, before anything is imported.

    Raises:
        ClusterError: It is none.
    """
    if address in (LOCAL, AUTO):
        return
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match[3]) < 65536:
        raise ClusterError(
            f"--cluster {address}: name HOST:PORT of a cluster that this machine is a node of, ray://HOST:"
            f"{CLIENT_PORT} of any other, auto for the one that runs on this machine, or local to start one"
        )


def check_reachable(address: str) -> None:
    """Refuse, in seconds, an address at which nobody listens; Ray itself tries for much longer.

    Raises:
        ClusterError: Nobody answers there.
    """
    check_address(address)
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return
    host, port = match[2].strip("[]"), int(match[3])
    try:
        socket.create_connection((host, port), timeout=_REACH_S).close()
    except OSError as error:
        reason = error.strerror or str(error)
        start = "ray start --head" + ("" if match[1] else f" --port={port}")
        raise ClusterError(
            f"--cluster {address}: nobody answers there ({reason}); start the cluster with `{start}` on "
            f"{host}, and see that no firewall is between"
        ) from None


@contextlib.contextmanager
def joined(address: str, *, workers: int | None = None) -> Iterator[Any]:
    """Join a cluster for as long as the block runs, and yield the module `ray`.

    Args:
        address: HOST:PORT, ray://HOST:PORT, "auto", or "local" to start Ray here and stop it in the end.
        workers: How many processors a Ray that is started here may use; None is all.

    Raises:
        ClusterError: There is no cluster at the address, or it is of another version.
    """
    check_reachable(address)
    os.environ.update(_VARIABLES)
    with contextlib.ExitStack() as stack:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address == LOCAL:
            os.environ.setdefault(_LOOPBACK, "0")
            short = None if len(tempfile.gettempdir()) <= _LONGEST_TEMPORARY_FOLDER else "/tmp"
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="ray-", dir=short, ignore_cleanup_errors=True)
            )
            options |= {"num_cpus": workers, "include_dashboard": False, "_temp_dir": folder}
        else:
            options["address"] = address
        with explain_missing("--cluster", extra="ray"):
            import ray
        if ray.is_initialized():
            if address == LOCAL:
                yield ray
                return
            raise ClusterError(
                "--cluster: this program is a driver of Ray already; end that with ray.shutdown()"
            )
        try:
            ray.init(**options)
        except (ConnectionError, TimeoutError, RuntimeError, ValueError, OSError) as error:
            raise _not_joined(address, error) from error
        stack.callback(ray.shutdown)
        stack.enter_context(_no_words_between(ray))
        yield ray


@contextlib.contextmanager
def _no_words_between(ray: Any) -> Iterator[None]:
    """Keep Ray from printing what it says of lost workers on stdout, where results go; it is logged."""
    module = ray._private.worker
    before = getattr(module, "print_to_stdstream", None)

    def told(data: Mapping[str, Any], **_: Any) -> None:
        log.debug("ray: %s", "\n".join(data.get("lines", ())))

    if before is not None:
        module.print_to_stdstream = told
    try:
        yield
    finally:
        if before is not None:
            module.print_to_stdstream = before


def nodes_of(ray: Any) -> list[Node]:
    """Return the machines that can have workers, in the order of their addresses and names."""
    nodes = [
        Node(node["NodeID"], node["NodeManagerAddress"], int(node["Resources"].get("CPU", 0)))
        for node in ray.nodes()
        if node["Alive"]
    ]
    return sorted((node for node in nodes if node.workers), key=lambda node: (node.address, node.name))


def check_nodes(ray: Any, nodes: list[Node]) -> None:
    """Refuse machines whose versions differ from this one's; warn of other processors.

    Raises:
        ClusterError: A machine has another Python, numpy, ONNX Runtime or fedstill, or none.
    """
    if not nodes:
        raise ClusterError("--cluster: no node of the cluster has a processor to work with (--num-cpus)")
    here = node_facts()
    for node, there in zip(nodes, _facts(ray, nodes), strict=True):
        differ = [name for name in here if name != "processor" and here[name] != there[name]]
        if differ:
            said = ", ".join(f"{name} {there[name]} (here {here[name]})" for name in differ)
            raise ClusterError(
                f"--cluster: node {node.address} has {said}; results would differ: install the same there, "
                "and start Ray on it again"
            )
        if there["processor"] != here["processor"]:
            log.warning(
                "node %s has another processor than this machine (%s, here %s): ONNX Runtime may choose "
                "other code there, and results may differ from a run here in the last bits",
                node.address,
                there["processor"],
                here["processor"],
            )


def on_node(ray: Any, node: Node) -> Any:
    """Say that something runs on one node, and nowhere else."""
    return ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id=node.name, soft=False)


def _facts(ray: Any, nodes: list[Node]) -> list[Mapping[str, str]]:
    """What each node is; its own fedstill may be another one, or missing, so the function is sent."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(facts_module)  # type: ignore[no-untyped-call]
    try:
        ask = ray.remote(num_cpus=0, max_retries=0)(node_facts)
        asked = [ask.options(scheduling_strategy=on_node(ray, node)).remote() for node in nodes]
        found: list[Mapping[str, str]] = ray.get(asked, timeout=_FACTS_S)
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"--cluster: a node does not say what it is ({_first_line(error)}); `ray status` says "
            "whether all are alive"
        ) from error
    finally:
        cloudpickle.unregister_pickle_by_value(facts_module)  # type: ignore[no-untyped-call]
    return found


def _not_joined(address: str, error: Exception) -> ClusterError:
    said = _first_line(error)
    if "ersion" in said or "ersion mismatch" in str(error):
        hint = "use the same Python and Ray on all machines"
    elif address == AUTO:
        hint = "start one with `ray start --head`, or name HOST:PORT"
    elif address == LOCAL:
        hint = "Ray could not start on this machine"
    elif address.startswith(CLIENT):
        hint = f"it must be the port of Ray's client server ({CLIENT_PORT}), and Ray there have grpcio"
    else:
        hint = (
            f"this machine must be a node of it (`ray start --address={address}`); from any other, give "
            f"ray://HOST:{CLIENT_PORT}"
        )
    return ClusterError(f"--cluster {address}: no cluster can be joined ({said}); {hint}")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
