"""Turns the server's records of a run into the parts of result.json."""

from __future__ import annotations

import dataclasses
import datetime
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from fedstill_server.rounds import round_record
from fedstill_server.rounds.gate import Reason
from fedstill_server.rounds.round_record import RoundRecord

from fedstill_sim.attacks.registry import AttackPlan
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.results.run_result import (
    AttackResult,
    BaselineDevice,
    BaselineResult,
    DataResult,
    DeviceResult,
    EngineResult,
    FinalResult,
    QuarantinedReply,
    RoundResult,
    ScopeAccuracy,
    Timing,
)


def round_result(record: RoundRecord) -> RoundResult:
    """Summarize a round, without its times and its devices."""
    p10, median, p90 = _tenths(
        [accuracy.personal for accuracy in record.devices.values() if accuracy.personal is not None]
    )
    return RoundResult(
        round=record.round,
        asked=record.asked,
        replied=record.replied,
        accepted=record.accepted,
        late=record.late,
        quarantined=_left_out(record.quarantined),
        evaluation_failures=_left_out(record.evaluation_failures),
        personal_accuracy=record.personal_accuracy,
        personal_p10=p10,
        personal_median=median,
        personal_p90=p90,
        global_accuracy=record.global_accuracy,
        worst_device_accuracy=record.worst_device_accuracy,
        teacher_accuracy=record.teacher_accuracy,
        uplink_bytes=record.uplink_bytes,
        downlink_bytes=record.downlink_bytes,
        evaluation_bytes=record.evaluation_bytes,
        uplink_bytes_per_device_round=record.uplink_bytes_per_device,
        downlink_bytes_per_device_round=record.downlink_bytes_per_device,
        consensus_digest=record.consensus_digest,
        present=record.present,
        overdue=record.overdue,
        silent=_left_out_for(record, Reason.NO_ANSWER),
        stale=_left_out_for(record, Reason.STALE),
        mean_age=statistics.fmean(record.ages) if record.ages else None,
        clock_s=record.clock_s,
        notice=record.notice,
        by_scope=_by_scope(record),
    )


def _by_scope(record: RoundRecord) -> dict[str, ScopeAccuracy]:
    """The accuracies of both kinds of answers; nothing of a round that was not evaluated."""
    if not record.devices:
        return {}
    return {
        "owner": ScopeAccuracy(
            personal_accuracy=record.personal_accuracy, global_accuracy=record.global_accuracy
        ),
        "everyone": ScopeAccuracy(
            personal_accuracy=record.fleet_personal_accuracy, global_accuracy=record.fleet_global_accuracy
        ),
    }


def _left_out_for(record: RoundRecord, reason: Reason) -> int:
    return sum(reply.reason == reason.value for reply in record.quarantined)


def final_result(records: Sequence[RoundRecord], *, max_abs_logit_difference: float | None) -> FinalResult:
    """Summarize where a run ended: the last evaluated round's accuracies, and all rounds' bytes."""
    last = last_evaluated(records)
    teacher = next(
        (record.teacher_accuracy for record in reversed(records) if record.teacher_accuracy is not None), None
    )
    everyone = last.global_accuracy if last else None
    uplink, downlink = (
        sum(getattr(record, name) for record in records) for name in ("uplink_bytes", "downlink_bytes")
    )
    return FinalResult(
        personal_accuracy=last.personal_accuracy if last else None,
        global_accuracy=everyone,
        worst_device_accuracy=last.worst_device_accuracy if last else None,
        teacher_accuracy=teacher,
        retention=everyone / teacher if everyone is not None and teacher else None,
        uplink_bytes=uplink,
        downlink_bytes=downlink,
        uplink_bytes_per_device_round=uplink
        / max(1, sum(record.replied + record.overdue for record in records)),
        downlink_bytes_per_device_round=downlink / max(1, sum(record.asked for record in records)),
        quarantined=sum(len(record.quarantined) for record in records),
        max_abs_logit_difference=max_abs_logit_difference,
        by_scope=_by_scope(last) if last else {},
    )


def last_evaluated(records: Sequence[RoundRecord]) -> RoundRecord | None:
    """Return the last round in which devices were measured."""
    return next((record for record in reversed(records) if record.devices), None)


def device_results(data: FleetData, records: Sequence[RoundRecord]) -> tuple[DeviceResult, ...]:
    """Summarize each device's data, and how its student ended."""
    counts = data.class_counts()
    tests = data.test.counts.tolist()
    counted = Counter(name for record in records for name in record.counted)
    return tuple(
        DeviceResult(
            name=ended.name,
            family=data.families[device],
            train_examples=int(data.train.counts[device]),
            test_examples=tests[device],
            class_counts=tuple(counts[device].tolist()),
            personal_accuracy=ended.personal_accuracy,
            global_accuracy=ended.global_accuracy,
            summaries_counted=counted[ended.name],
        )
        for device, ended in enumerate(device_accuracies(data, records))
    )


def device_accuracies(data: FleetData, records: Sequence[RoundRecord]) -> tuple[BaselineDevice, ...]:
    """Summarize how each device's student ended, in the fleet's order."""
    last = last_evaluated(records)
    unknown = round_record.DeviceAccuracy(personal=None, everyone=None)
    measured = [last.devices.get(name, unknown) if last else unknown for name in data.device_names]
    return tuple(
        BaselineDevice(name=name, personal_accuracy=accuracy.personal, global_accuracy=accuracy.everyone)
        for name, accuracy in zip(data.device_names, measured, strict=True)
    )


def baseline_result(
    method: str,
    data: FleetData,
    records: Sequence[RoundRecord],
    *,
    engine: EngineResult,
    seconds: Mapping[str, float],
) -> BaselineResult:
    """Summarize a baseline, whose students are not exported.

    Args:
        method: The baseline.
        data: The fleet's data.
        records: The server's records of the baseline's rounds.
        engine: What ran them.
        seconds: How long the baseline's phases took.
    """
    return BaselineResult(
        method=method,
        final=final_result(records, max_abs_logit_difference=None),
        rounds=tuple(round_result(record) for record in records),
        devices=device_accuracies(data, records),
        engine=engine,
        timing=timing(records, seconds),
    )


def data_result(data: FleetData) -> DataResult:
    """Summarize the data that the fleet learned from."""
    return DataResult(
        name=data.name,
        description=data.description,
        devices=data.devices,
        classes=data.classes,
        input_shape=data.input_shape,
        train_examples=len(data.train.rows),
        test_examples=len(data.test.rows),
        public_examples=len(data.public_x),
        public_labelled=data.public_y is not None,
        global_test_examples=len(data.global_x),
    )


def attack_result(
    plan: AttackPlan | None,
    data: FleetData,
    records: Sequence[RoundRecord],
    *,
    seed: int,
    success: float | None,
) -> AttackResult | None:
    """Summarize who lied, and how many of the lies the server took.

    Args:
        plan: The attack; None where all are honest.
        data: The fleet's data.
        records: The server's records of the run's rounds.
        seed: The run's.
        success: Share of the attack's own trials that came out as it wants them.
    """
    if plan is None:
        return None
    names = tuple(data.device_names[device] for device in plan.adversaries(data.devices, seed=seed))
    liars = frozenset(names)
    return AttackResult(
        attack=plan.attack.name,
        options=dict(plan.attack.options),
        adversaries=names,
        lies=sum(name in liars for record in records for name in record.counted),
        quarantined=sum(reply.device in liars for record in records for reply in record.quarantined),
        success=success,
    )


def device_rounds_per_second(records: Sequence[RoundRecord]) -> float:
    """Return the tasks of all rounds divided by the seconds of all rounds."""
    return sum(record.asked for record in records) / max(1e-9, sum(record.seconds for record in records))


def timing(records: Sequence[RoundRecord], seconds: Mapping[str, float]) -> Timing:
    """Summarize the times of a run; seconds are by phase."""
    parts = [field.name for field in dataclasses.fields(round_record.PhaseSeconds)]
    return Timing(
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        total_seconds=sum(seconds.values()),
        phase_seconds=dict(seconds),
        round_seconds=tuple(record.seconds for record in records),
        round_part_seconds={
            part: sum(getattr(record.phase_seconds, part) for record in records) for part in parts
        },
    )


def _left_out(replies: Sequence[round_record.Quarantined]) -> tuple[QuarantinedReply, ...]:
    return tuple(
        QuarantinedReply(device=reply.device, reason=reply.reason, text=reply.text) for reply in replies
    )


def _tenths(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    if not values:
        return None, None, None
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return float(low), float(middle), float(high)
