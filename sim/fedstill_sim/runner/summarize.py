"""Turns the server's records of a run into the parts of result.json."""

from __future__ import annotations

import dataclasses
import datetime
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import IntArray
from fedstill_server.rounds import round_record
from fedstill_server.rounds.gate import Reason
from fedstill_server.rounds.round_record import MeasuredDevices, RoundRecord

from fedstill_sim.attacks.registry import AttackPlan
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.results.device_columns import DeviceColumns
from fedstill_sim.results.device_results import BaselineTable, DeviceTable, listed
from fedstill_sim.results.run_result import (
    AttackResult,
    BaselineResult,
    DataResult,
    EngineResult,
    FinalResult,
    QuarantinedReply,
    RoundResult,
    ScopeAccuracy,
    Timing,
)


def round_result(record: RoundRecord) -> RoundResult:
    """Summarize a round, without its times and its devices."""
    measured = _measured(record)
    return RoundResult(
        round=record.round,
        asked=record.asked,
        replied=record.replied,
        accepted=record.accepted,
        late=record.late,
        quarantined=_left_out(record.quarantined),
        evaluation_failures=_left_out(record.evaluation_failures),
        personal_accuracy=record.personal_accuracy,
        personal_p10=measured.personal_p10,
        personal_median=measured.personal_median,
        personal_p90=measured.personal_p90,
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
        mean_age=statistics.fmean(record.ages) if record.ages else record.mean_age,
        clock_s=record.clock_s,
        notice=record.notice,
        by_scope=_by_scope(record),
        left_out=record.left_out_by_reason,
        measured_devices=measured.devices,
        personal_half_width=measured.personal_half_width,
        global_half_width=measured.global_half_width,
    )


def _measured(record: RoundRecord) -> MeasuredDevices:
    """How many devices a round's accuracies are of, and how sure they are; of none nothing is known."""
    if record.measured is not None:
        return record.measured
    if not record.devices:
        return MeasuredDevices(devices=0, of_devices=0)
    known = [one.personal for one in record.devices.values() if one.personal is not None]
    low, middle, high = np.quantile(known, [0.1, 0.5, 0.9]).tolist() if known else (None, None, None)
    devices = len(record.devices)
    return MeasuredDevices(
        devices=devices,
        of_devices=devices,
        personal_half_width=None if record.personal_accuracy is None else 0.0,
        global_half_width=None if record.global_accuracy is None else 0.0,
        personal_p10=low,
        personal_median=middle,
        personal_p90=high,
    )


def _by_scope(record: RoundRecord) -> dict[str, ScopeAccuracy]:
    """The accuracies of both kinds of answers; nothing of a round that was not evaluated."""
    if not record.is_measured:
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
    return record.left_out_by_reason.get(reason.value, 0)


def final_result(records: Sequence[RoundRecord], *, max_abs_logit_difference: float | None) -> FinalResult:
    """Summarize where a run ended: the last evaluated round's accuracies, and all rounds' bytes."""
    last = last_evaluated(records)
    teacher = next(
        (record.teacher_accuracy for record in reversed(records) if record.teacher_accuracy is not None), None
    )
    everyone = last.global_accuracy if last else None
    measured = _measured(last) if last else MeasuredDevices(devices=0, of_devices=0)
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
        quarantined=sum(sum(record.left_out_by_reason.values()) for record in records),
        max_abs_logit_difference=max_abs_logit_difference,
        by_scope=_by_scope(last) if last else {},
        measured_devices=measured.devices,
        personal_half_width=measured.personal_half_width,
        global_half_width=measured.global_half_width,
    )


def last_evaluated(records: Sequence[RoundRecord]) -> RoundRecord | None:
    """Return the last round in which devices were measured."""
    return next((record for record in reversed(records) if record.is_measured), None)


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptDevices:
    """What a run has kept of its devices in columns, where its records name none.

    Attributes:
        measured: The devices that were measured in the last evaluated round, and their counts by name (see
            `DeviceColumns.add_evaluation`); None where records have that.
        summaries_counted: In how many rounds each device's summary was folded: int [devices]; None where
            records have that.
    """

    measured: tuple[IntArray, Mapping[str, IntArray]] | None = None
    summaries_counted: npt.NDArray[np.integer] | None = None


def device_columns(
    data: FleetData, records: Sequence[RoundRecord], kept: KeptDevices | None = None
) -> DeviceColumns:
    """Summarize each device's data, and how its student ended."""
    columns, kept, last = DeviceColumns.of(data), kept or KeptDevices(), last_evaluated(records)
    if kept.summaries_counted is not None:
        columns.summaries_counted[:] = kept.summaries_counted
    elif counted := Counter(name for record in records for name in record.counted):
        columns.summaries_counted[:] = [counted[name] for name in data.device_names]
    if last is None:
        return columns
    if kept.measured is not None and not last.devices:
        columns.add_evaluation(*kept.measured)
    elif last.devices:
        unknown = round_record.DeviceAccuracy(personal=None, everyone=None)
        measured = [last.devices.get(name, unknown) for name in data.device_names]
        for column, name in (
            (columns.personal_accuracy, "personal"),
            (columns.global_accuracy, "everyone"),
            (columns.fleet_personal_accuracy, "fleet_personal"),
            (columns.fleet_global_accuracy, "fleet_everyone"),
        ):
            column[:] = [np.nan if (one := getattr(each, name)) is None else one for each in measured]
    return columns


def device_results(
    data: FleetData, records: Sequence[RoundRecord], kept: KeptDevices | None = None
) -> DeviceTable:
    """Summarize each device's data, and how its student ended, in the fleet's order."""
    return DeviceTable(device_columns(data, records, kept))


def baseline_result(
    method: str,
    data: FleetData,
    records: Sequence[RoundRecord],
    *,
    engine: EngineResult,
    seconds: Mapping[str, float],
    kept: KeptDevices | None = None,
) -> BaselineResult:
    """Summarize a baseline, whose students are not exported.

    Args:
        method: The baseline.
        data: The fleet's data.
        records: The server's records of the baseline's rounds.
        engine: What ran them.
        seconds: How long the baseline's phases took.
        kept: What it has kept of its devices, where the records name none.
    """
    columns = device_columns(data, records, kept)
    return BaselineResult(
        method=method,
        final=final_result(records, max_abs_logit_difference=None),
        rounds=tuple(round_result(record) for record in records),
        devices=listed(BaselineTable(dataclasses.replace(columns, class_counts=columns.class_counts[:, :0]))),
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
