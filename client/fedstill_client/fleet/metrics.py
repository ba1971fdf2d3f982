"""What a device tells Prometheus, on loopback alone: its rounds, refusals, releases, package and answers.

It is off unless the owner asks for it. All of it is read from the home when somebody asks; only answers are
counted as they are given. Who can reach the port of this machine can read it: figures, and no example.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import fedstill_proto
import grpc
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.extras import require_extra

from fedstill_client.agent_types import AgentError
from fedstill_client.eligibility import Eligibility
from fedstill_client.fleet.connection import read_connection
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import installed_manifest
from fedstill_client.privacy.refusals import last_refusals
from fedstill_client.store import PrivateStore

if TYPE_CHECKING:
    from prometheus_client.core import Metric

LOOPBACK = "127.0.0.1"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class DeviceMetrics:
    """The metrics of a device whose agent runs in this process."""

    def __init__(self, home: AgentHome) -> None:
        """Count nothing yet; raises MissingExtra where prometheus-client is not installed."""
        require_extra("metrics", what="fedstill-agent run --metrics-port")
        from prometheus_client import CollectorRegistry, Histogram

        self._home, self._eligibility = home, Eligibility(home.folder)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._answers = Histogram(
            "fedstill_agent_call_seconds",
            "How long the agent's answers to apps took.",
            ["call", "outcome"],
            registry=self._registry,
            buckets=_SECONDS,
        )

    @property
    def interceptor(self) -> grpc.ServerInterceptor:
        """Counts the calls of the agent's service."""
        return _CountedCalls(self._note)

    @contextmanager
    def served(self, port: int) -> Iterator[str]:
        """Serve /metrics on loopback while the block runs.

        Args:
            port: TCP; 0 takes one that is free.

        Yields:
            Its address.

        Raises:
            AgentError: The port is taken.
        """
        from prometheus_client import make_wsgi_app

        answer = make_wsgi_app(self._registry)

        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            # A page in a browser here whose name leads to this port reads nothing.
            if environ.get("HTTP_HOST", "").rpartition(":")[0] not in (LOOPBACK, "localhost"):
                start_response("403 Forbidden", [("Content-Type", "text/plain")])
                return [b"this is for 127.0.0.1\n"]
            return answer(environ, start_response)

        try:
            server = make_server(LOOPBACK, port, app, _Server, _Quiet)
        except (OSError, OverflowError) as error:
            problem = getattr(error, "strerror", None) or error
            raise AgentError(f"--metrics-port {port}: cannot be listened on: {problem}.") from None
        thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}/metrics"
        finally:
            server.shutdown()
            server.server_close()
            thread.join(timeout=5)

    def collect(self) -> Iterator[Metric]:
        """Each metric that is read from the home, with its samples."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        def gauge(name: str, text: str, value: float) -> Metric:
            return GaugeMetricFamily(f"fedstill_agent_{name}", text, value=value)

        version = GaugeMetricFamily("fedstill_agent_info", "The agent.", labels=["version"])
        version.add_metric([fedstill_proto.__version__], 1)
        yield version
        yield gauge("eligible", "Whether the device may work for its fleet now.", self._eligibility() is None)
        connection = read_connection(self._home)
        yield gauge(
            "connected",
            "Whether the server was heard a short while ago.",
            connection is not None and connection.is_connected(now=time.time()),
        )
        try:
            with PrivateStore.open(self._home) as store:
                releases, refusals = store.ledger.releases(), last_refusals(store.ledger)
                examples = store.counts()
                manifest = installed_manifest(self._home, store)[0]
        except FedstillError:
            yield gauge("readable", "Whether the home can be read.", 0)
            return
        yield gauge("readable", "Whether the home can be read.", 1)
        yield gauge("package_version", "Of the installed package.", manifest.package_version)
        yield gauge("generation", "Of the fleet's configuration it belongs to.", manifest.generation)
        yield gauge("training_examples", "Private examples to learn from.", examples.training)
        answered = {(one.run, one.round) for one in releases if one.kind != "evaluation"}
        yield CounterMetricFamily("fedstill_agent_rounds", "Rounds taken part in.", value=len(answered))
        last = max((number for _, number in answered), default=0)
        yield gauge("last_round", "The last of them.", last)
        sent: Counter[str] = Counter()
        for one in releases:
            sent[one.kind] += one.bytes
        released = CounterMetricFamily("fedstill_agent_released_bytes", "What left it.", labels=["kind"])
        for kind, count in sorted(sent.items()):
            released.add_metric([kind], count)
        yield released
        refused = GaugeMetricFamily(
            "fedstill_agent_refusals", "The last 20 tasks that were refused, by word.", labels=["word"]
        )
        for word, count in sorted(Counter(one.word for one in refusals).items()):
            refused.add_metric([word], count)
        yield refused

    def _note(self, call: str, outcome: str, seconds: float) -> None:
        self._answers.labels(call, outcome).observe(seconds)


class _CountedCalls(grpc.ServerInterceptor):  # type: ignore[misc]
    """Times each call with one answer; what streams is no answer that somebody waits for."""

    def __init__(self, note: Callable[[str, str, float], None]) -> None:
        self._note = note

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Wrap the handler of a call."""
        handler = continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        call, asked = details.method.rpartition("/")[2], handler.unary_unary

        def timed(request: Any, context: grpc.ServicerContext) -> Any:
            started, outcome = time.perf_counter(), "refused"
            try:
                answer = asked(request, context)
                outcome = "answered"
                return answer
            finally:
                self._note(call, outcome, time.perf_counter() - started)

        return grpc.unary_unary_rpc_method_handler(
            timed,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


class _Server(ThreadingMixIn, WSGIServer):
    """A server whose threads end with the process."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    """A handler that logs no request."""

    timeout = 10

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""
