"""`report.html`: one self-contained file, made from a `RunResult` and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedstill_sim.report.page import render, write_page
from fedstill_sim.report.table import method_rows
from fedstill_sim.results.readable import (
    NONE,
    readable_bytes,
    readable_percent,
    readable_ratio,
    readable_seconds,
)
from fedstill_sim.results.run_result import FinalResult, QuarantinedReply, RunResult
from fedstill_sim.results.settings import setting_rows
from fedstill_sim.results.verdict import verdicts

REPORT_FILE = "report.html"
MOST_QUARANTINED_ROWS = 40
_WIDE_CHARTS = ("Accuracy by round", "Accuracy against bytes")


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A large figure at the head of a report."""

    name: str
    value: str
    note: str = ""


def write_report(result: RunResult, path: Path) -> None:
    """Write the report of a run, whole or not at all."""
    write_page(render_report(result), path)


def render_report(result: RunResult) -> str:
    """Render the report of a run as HTML."""
    # matplotlib takes half a second to import, which a run without a report need not spend.
    from fedstill_sim.report.run_charts import run_charts

    finals = {name: baseline.final for name, baseline in result.baselines.items()}
    quarantined = _quarantined(result)
    return render(
        "run.html",
        result=result,
        tiles=_tiles(result),
        verdicts=verdicts(result.method, result.final, finals),
        methods=method_rows([result, *result.baselines.values()]),
        charts=run_charts(result),
        wide=_WIDE_CHARTS,
        quarantined=[
            {"round": round_, "device": reply.device, "reason": reply.reason, "text": reply.text}
            for round_, reply in itertools.islice(quarantined, MOST_QUARANTINED_ROWS)
        ],
        more_quarantined=max(0, result.final.quarantined - MOST_QUARANTINED_ROWS),
        accepted=sum(finished.accepted for finished in result.rounds),
        asked=sum(finished.asked for finished in result.rounds),
        took_part=took_part(result),
        measured=result.final.measured_on(result.data.devices),
        configuration=setting_rows(result.config),
        engine=_engine_rows(result),
        command=result.config["simulation"]["command"],
    )


def took_part(result: RunResult) -> bool:
    """Return whether participation is worth a table: a device was left out, or virtual time passed."""
    return any(finished.accepted < len(result.devices) or finished.clock_s for finished in result.rounds)


def _tiles(result: RunResult) -> list[Tile]:
    final = result.final
    fedavg = result.baselines.get("fedavg")
    saved = "a device-round"
    if fedavg is not None and fedavg.final.total_bytes_per_device_round > 0:
        ratio = final.total_bytes_per_device_round / fedavg.final.total_bytes_per_device_round
        saved += f", {readable_ratio(ratio)} of fedavg's"
    return [
        Tile(
            name="Personal accuracy",
            value=readable_percent(final.personal_accuracy),
            note=_beside_fleet(final, "personal_accuracy"),
        ),
        Tile(
            name="Global accuracy",
            value=readable_percent(final.global_accuracy),
            note=_beside_fleet(final, "global_accuracy"),
        ),
        Tile(
            name="Worst device", value=readable_percent(final.worst_device_accuracy), note="personal accuracy"
        ),
        Tile(name="Bytes", value=readable_bytes(final.total_bytes_per_device_round), note=saved),
        Tile(
            name="Up and down",
            value=f"{readable_bytes(final.uplink_bytes_per_device_round)} + "
            f"{readable_bytes(final.downlink_bytes_per_device_round)}",
            note="a device-round",
        ),
        *_privacy_tiles(result),
        *_energy_tiles(result),
        *_attack_tiles(result),
        Tile(
            name="Took",
            value=readable_seconds(result.timing.total_seconds),
            note=f"{result.engine.device_rounds_per_second:,.0f} device-rounds/s",
        ),
    ]


def _privacy_tiles(result: RunResult) -> list[Tile]:
    spent = result.privacy
    if spent is None:
        return []
    return [Tile(name="Epsilon", value=f"{spent.epsilon:.2f}", note=f"{spent.mode}, delta {spent.delta:g}")]


def _energy_tiles(result: RunResult) -> list[Tile]:
    energy = result.energy
    if energy is None:
        return []
    note = f"a task; {100 * energy.battery_share:.2g} % of a battery in all"
    return [Tile(name="Energy", value=f"{energy.joules_per_task:.3g} J", note=note)]


def _attack_tiles(result: RunResult) -> list[Tile]:
    attack = result.attack
    if attack is None:
        return []
    note = f"{attack.attack}; {attack.lies:,} lies counted, accuracies are of the others"
    tiles = [Tile(name="Adversaries", value=f"{len(attack.adversaries)} of {result.data.devices}", note=note)]
    if attack.success is not None:
        tiles.append(
            Tile(name="Attack success", value=readable_percent(attack.success), note="of its trials")
        )
    return tiles


def _beside_fleet(final: FinalResult, name: str) -> str:
    """The same accuracy of the fleet's student alone, where that was measured."""
    fleet = final.by_scope.get("everyone")
    alone = None if fleet is None else getattr(fleet, name)
    note = "mean over devices" if alone is None else f"the fleet's student alone {readable_percent(alone)}"
    half_width = getattr(final, f"{name.removesuffix('_accuracy')}_half_width")
    return f"± {100 * half_width:.1f} points; {note}" if half_width else note


def _quarantined(result: RunResult) -> Iterator[tuple[int, QuarantinedReply]]:
    return ((finished.round, reply) for finished in result.rounds for reply in finished.quarantined)


def _engine_rows(result: RunResult) -> list[tuple[str, str]]:
    engine, timing = result.engine, result.timing
    stacks = ", ".join(f"{family} {size}" for family, size in engine.stack_sizes.items())
    rows = [
        ("engine", engine.name),
        ("answers come together", engine.path),
        ("processes", str(engine.processes)),
        ("devices trained together, by family", stacks or NONE),
        ("device-rounds a second", f"{engine.device_rounds_per_second:,.0f}"),
        ("peak memory, all processes", f"{engine.peak_memory_mb:,.0f} MB"),
        ("total", readable_seconds(timing.total_seconds)),
    ]
    return rows + [(f"{phase}", readable_seconds(seconds)) for phase, seconds in timing.phase_seconds.items()]
