"""The figures of an overview as Prometheus reads them: made anew at each scrape, and kept nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from fedstill_server.console.alarms import CRITICAL, NAMES
from fedstill_server.console.overview import Overview
from fedstill_server.console.round_facts import RoundFacts

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def metrics_text(it: Overview) -> bytes:
    """An overview in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(it))
    return generate_latest(registry)


class _Figures:
    """What an overview says, as metrics."""

    def __init__(self, it: Overview) -> None:
        self._it = it

    def collect(self) -> Iterator[Metric]:
        """Each metric with its samples."""
        it = self._it
        yield _gauge("fedstill_info", "What the fleet is.", [((it.run, it.method), 1)], ("run", "method"))
        if it.is_up is not None:
            yield _gauge("fedstill_up", "Whether fedstill-server up serves the fleet.", [((), it.is_up)])
        yield _gauge("fedstill_generation", "The configuration in force.", [((), it.generation)])
        yield from self._of_rounds(it.rounds)
        yield from self._of_devices()
        yield from self._of_folder()

    def _of_rounds(self, rounds: Sequence[RoundFacts]) -> Iterator[Metric]:
        last = rounds[-1] if rounds else None
        yield _gauge("fedstill_round", "The last committed round.", [((), last.round if last else 0)])
        totals = self._it.totals
        yield _counter("fedstill_answers", "Answers by what became of them.", totals.answers, "outcome")
        yield _counter("fedstill_left_out", "Answers left out, by reason.", totals.left_out, "reason")
        yield _counter("fedstill_bytes", "Bytes of summaries (up) and tasks (down).", totals.bytes, "way")
        if last is None:
            return
        yield _gauge("fedstill_round_committed_seconds", "When, since 1970.", [((), last.at)])
        yield _gauge("fedstill_round_seconds", "How long the last round took.", [((), last.seconds)])
        yield _gauge("fedstill_round_asked", "Devices asked in the last round.", [((), last.asked)])
        yield _gauge("fedstill_round_counted", "Answers counted in the last round.", [((), last.accepted)])
        known: dict[tuple[str, str], float] = {}
        for one in rounds:  # the newest of each that was measured
            known |= {("student", family): share for family, share in one.student_accuracy.items()}
            for kind, share in (
                ("teacher", one.teacher_accuracy),
                ("personal", one.personal_accuracy),
                ("worst_device", one.worst_device_accuracy),
                ("global", one.global_accuracy),
            ):
                if share is not None:
                    known[kind, ""] = share
        yield _gauge("fedstill_accuracy", "Shares of 1, by whose.", known.items(), ("of", "family"))
        measured = next((one for one in reversed(rounds) if one.deciles), None)
        if measured is not None:
            tenths = [((f"{tenth / 10:g}",), share) for tenth, share in enumerate(measured.deciles)]
            yield _gauge(
                "fedstill_personal_accuracy",
                "Personal accuracy by quantile of devices.",
                tenths,
                ("quantile",),
            )

    def _of_devices(self) -> Iterator[Metric]:
        devices = self._it.registered
        if self._it.kind != "fleet":
            return
        yield _gauge("fedstill_devices_registered", "Registered devices.", [((), len(devices))])
        online = sum(one.state.online for one in devices)
        yield _gauge("fedstill_devices_online", "Devices that are there.", [((), online)])
        willing = sum(one.state.online and one.state.willing is not False for one in devices)
        yield _gauge("fedstill_devices_willing", "Of these, who have not said no.", [((), willing)])
        yield _gauge("fedstill_devices_wanted", "Devices that a round takes.", [((), self._it.least_devices)])
        versions: dict[tuple[str, ...], float] = {}
        for one in (device.state for device in devices):
            if one.package_version:
                key = (str(one.package_version),)
                versions[key] = versions.get(key, 0) + 1
        yield _gauge(
            "fedstill_devices_on_package", "Devices by the package they use.", versions.items(), ("version",)
        )

    def _of_folder(self) -> Iterator[Metric]:
        it = self._it
        raised = {one.name: 1 + (one.severity == CRITICAL) for one in it.alarms}
        alarms = [((name,), raised.get(name, 0)) for name in NAMES]
        yield _gauge("fedstill_alarm", "0; 1 for a warning, 2 if critical.", alarms, ("alarm",))
        if it.expiries:
            expiries = [((one.what,), one.at) for one in it.expiries]
            yield _gauge("fedstill_expiry_seconds", "When it expires, since 1970.", expiries, ("what",))
        if it.disk is not None:
            yield _gauge("fedstill_disk_free_bytes", "Free on the disk.", [((), it.disk.free_bytes)])
            yield _gauge("fedstill_disk_bytes", "The disk's size.", [((), it.disk.total_bytes)])
        if it.privacy is not None:
            epsilons = [(("spent",), it.privacy.epsilon), (("planned",), it.privacy.planned_epsilon)]
            yield _gauge("fedstill_epsilon", "Of the device that was asked most.", epsilons, ("what",))
        plan = it.plan or {}
        candidate = plan.get("candidate") or {}
        yield _gauge(
            "fedstill_rounds_off", "1 where the kill switch is on.", [((), bool(plan.get("rounds_off")))]
        )
        yield _gauge(
            "fedstill_candidate_share",
            "Share of the devices that may use the candidate.",
            [((str(candidate.get("package_version", "")),), float(candidate.get("share", 0.0)))],
            ("version",),
        )


def _gauge(
    name: str,
    help_text: str,
    samples: Iterable[tuple[tuple[str, ...], float]],
    labels: tuple[str, ...] = (),
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for values, value in samples:
        family.add_metric(values, float(value))
    return family


def _counter(name: str, help_text: str, counts: Mapping[str, int], label: str) -> CounterMetricFamily:
    family = CounterMetricFamily(name, help_text, labels=(label,))
    for value, count in sorted(counts.items()):
        family.add_metric((value,), count)
    return family
