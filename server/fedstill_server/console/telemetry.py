"""Rounds as OpenTelemetry's spans, and a few figures as its metrics, to a collector over OTLP and HTTP.

A round is a span from its beginning to its commit, with one below it for each phase: train, ingest, learn,
evaluate. Only rounds that are committed while the console runs are sent, each once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fedstill_proto.system.extras import require_extra

from fedstill_server.console.errors import ConsoleError
from fedstill_server.console.overview import Overview
from fedstill_server.console.round_facts import RoundFacts

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation

_METRICS_EVERY_MS = 15_000


class Telemetry:
    """What is sent of one fleet to a collector."""

    def __init__(
        self, endpoint: str, look: Callable[[], Overview], *, every_ms: int = _METRICS_EVERY_MS
    ) -> None:
        """Begin with the rounds that come from now on.

        Args:
            endpoint: The collector's address, such as http://127.0.0.1:4318.
            look: Gives the overview.
            every_ms: Milliseconds between two sendings of metrics.

        Raises:
            ConsoleError: It is no address.
            MissingExtra: OpenTelemetry is not installed.
        """
        if urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).netloc:
            raise ConsoleError(f"otel: {endpoint!r} is no address such as http://127.0.0.1:4318")
        require_extra("otel", what="fedstill-server console --otel")
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        base, first = endpoint.rstrip("/"), look()
        resource = Resource.create({"service.name": "fedstill-server", "fedstill.run": first.run})
        self._look, self._after = look, first.rounds[-1].round if first.rounds else 0
        self._spans = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{base}/v1/traces")))
        self._tracer = self._spans.get_tracer("fedstill")
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(endpoint=f"{base}/v1/metrics"), export_interval_millis=every_ms
        )
        self._metrics = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        meter = self._metrics.get_meter("fedstill")
        for name, unit, value in (
            ("fedstill.round", "{round}", lambda it: it.rounds[-1].round if it.rounds else 0),
            (
                "fedstill.devices.online",
                "{device}",
                lambda it: sum(one.state.online for one in it.devices),
            ),
            ("fedstill.accuracy", "1", lambda it: _newest_accuracy(it.rounds)),
            ("fedstill.alarms", "{alarm}", lambda it: len(it.alarms)),
        ):
            meter.create_observable_gauge(name, [self._observed(value)], unit=unit)

    def send(self, it: Overview) -> None:
        """Send the rounds that are new."""
        for one in it.rounds:
            if one.round > self._after:
                self._after = one.round
                self._send_round(one)

    def close(self) -> None:
        """Send what is left, and end."""
        self._spans.shutdown()
        self._metrics.shutdown(timeout_millis=5000)

    def _send_round(self, one: RoundFacts) -> None:
        from opentelemetry.trace import set_span_in_context

        begun = one.at - one.seconds
        counts = {"asked": one.asked, "counted": one.accepted, "left_out": one.quarantined, "late": one.late}
        attributes: dict[str, float] = {f"fedstill.{name}": count for name, count in counts.items()}
        attributes["fedstill.round"] = one.round
        if one.fleet_accuracy is not None:
            attributes["fedstill.accuracy"] = one.fleet_accuracy
        span = self._tracer.start_span("round", start_time=_ns(begun), attributes=attributes)
        at, inside = begun, set_span_in_context(span)
        for phase, seconds in one.phases.items():
            if seconds > 0:
                part = self._tracer.start_span(phase, context=inside, start_time=_ns(at))
                at = min(at + seconds, one.at)
                part.end(_ns(at))
        span.end(_ns(one.at))

    def _observed(
        self, value: Callable[[Overview], float | None]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            from opentelemetry.metrics import Observation

            found = value(self._look())
            return [] if found is None else [Observation(found)]

        return observe


def _newest_accuracy(rounds: Iterable[RoundFacts]) -> float | None:
    known = [one.fleet_accuracy for one in rounds if one.fleet_accuracy is not None]
    return known[-1] if known else None


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
