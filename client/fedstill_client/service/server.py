"""Serve an agent on its home's socket until SIGTERM or SIGINT."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
from fedstill_proto.system.signals import EndSignals
from fedstill_proto.v1 import agent_pb2, agent_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fedstill_client.agent_types import AgentError, Precision
from fedstill_client.home import AgentHome
from fedstill_client.service.endpoint import serving_lock
from fedstill_client.service.handlers import AgentHandlers, ServedAgent, Watch
from fedstill_client.service.wire import MESSAGE_LIMIT_BYTES

if TYPE_CHECKING:
    from fedstill_client.agent.agent import Agent

SERVICE = agent_pb2.DESCRIPTOR.services_by_name["Agent"].full_name
_CALLS_AT_ONCE = 8
_GRACE_SECONDS = 3.0
_LIMIT = MESSAGE_LIMIT_BYTES + (1 << 16)  # what stands around the arrays


def serve(
    home: Path,
    *,
    threads: int = 1,
    precision: Precision = "float32",
    on_ready: Callable[[Path], None] = lambda socket: None,
    until: Callable[[EndSignals], object] = EndSignals.wait,
    interceptors: Sequence[grpc.ServerInterceptor] = (),
    watch: Watch = nullcontext,
    at_once: bool = True,
) -> None:
    """Answer at home/agent.sock until a signal ends it.

    Args:
        home: The folder of the agent's home.
        threads: Processor threads of each answer.
        precision: The precision of the weights that answer, see Agent.open.
        on_ready: Called with the socket once apps can connect.
        until: What to do meanwhile; it returns when a signal has come.
        interceptors: What sees each call.
        watch: Each answer is given within what it returns.
        at_once: Whether to open the agent before anybody asks, to know that it can be opened.

    Raises:
        AgentError: Another service answers there.
    """
    stopping = threading.Event()
    agent_home = AgentHome(home)
    with (
        serving_lock(agent_home) as address,
        OpenedWhenAsked(home, threads=threads, precision=precision) as agent,
        EndSignals() as signals,
    ):
        if at_once:
            agent.opened()
        served = cast("ServedAgent", agent)
        with running(served, address, agent_home.socket, stopping, interceptors, watch=watch):
            on_ready(agent_home.socket)
            until(signals)


class OpenedWhenAsked:
    """A home's agent, opened by the first call of it: until then, nothing of a student is loaded."""

    def __init__(self, home: Path, *, threads: int, precision: Precision) -> None:
        self._home, self._threads, self._precision = home, threads, precision
        self._agent: Agent | None = None
        self._lock = threading.Lock()

    def opened(self) -> Agent:
        """The agent; raises what Agent.open raises."""
        with self._lock:
            if self._agent is None:
                from fedstill_client.agent.agent import Agent

                self._agent = Agent.open(self._home, threads=self._threads, precision=self._precision)
            return self._agent

    def __getattr__(self, name: str) -> Any:
        return getattr(self.opened(), name)

    def __enter__(self) -> OpenedWhenAsked:
        return self

    def __exit__(self, *_: object) -> None:
        if self._agent is not None:
            self._agent.close()


@contextmanager
def running(
    agent: ServedAgent,
    address: str,
    socket: Path,
    stopping: threading.Event,
    interceptors: Sequence[grpc.ServerInterceptor] = (),
    *,
    watch: Watch = nullcontext,
) -> Iterator[None]:
    """A service of `agent` at `address`, with health and reflection; it ends what runs when it is left."""
    server = grpc.server(
        ThreadPoolExecutor(_CALLS_AT_ONCE, thread_name_prefix="call"),
        interceptors=interceptors,
        options=[
            ("grpc.max_receive_message_length", _LIMIT),
            ("grpc.max_send_message_length", _LIMIT),
            ("grpc.so_reuseport", 0),
        ],
        maximum_concurrent_rpcs=4 * _CALLS_AT_ONCE,
    )
    checks = health.HealthServicer()
    agent_pb2_grpc.add_AgentServicer_to_server(AgentHandlers(agent, stopping, watch=watch), server)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    _listen(server, address, socket)
    server.start()
    for name in ("", SERVICE):
        checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    try:
        yield
    finally:
        stopping.set()
        checks.enter_graceful_shutdown()
        server.stop(_GRACE_SECONDS).wait()


def _listen(server: grpc.Server, address: str, socket: Path) -> None:
    # The umask is the process's: no other thread makes files yet.
    before = os.umask(0o177)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise AgentError(f"{socket}: cannot listen there: {error}") from None
    finally:
        os.umask(before)
    socket.chmod(0o600)
