"""A small made-up result, for what only reads results (reports, tables, files)."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
from fedstill_sim.results.run_result import (
    BaselineDevice,
    BaselineResult,
    DataResult,
    DeviceResult,
    EngineResult,
    FinalResult,
    QuarantinedReply,
    RoundResult,
    RunResult,
    StudentResult,
    Timing,
    TradeoffPoint,
)


def sample_result(
    *, devices: int = 10, rounds: int = 20, baselines: tuple[str, ...] = ("local", "fedavg")
) -> RunResult:
    """A run of public-logits that beats local on personal accuracy and fedavg on bytes."""
    methods = {
        name: sample_baseline(name, devices=devices, rounds=rounds, seed=1 + index)
        for index, name in enumerate(baselines)
    }
    own = sample_baseline("public-logits", devices=devices, rounds=rounds, seed=0)
    generator = np.random.default_rng(0)
    return RunResult(
        method="public-logits",
        seed=0,
        final=dataclasses.replace(own.final, max_abs_logit_difference=3.1e-6),
        rounds=own.rounds,
        baselines=methods,
        tradeoff=(
            _point(None, 0.84, 0.87),
            _point(0.0, 0.961, 0.82),
            _point(0.25, 0.963, 0.85),
            _point(0.5, 0.96, 0.873),
            _point(0.75, 0.951, 0.885),
            _point(0.9, 0.93, 0.889),
        ),
        students={"mlp-small": _student("mlp-small", devices)},
        data=DataResult(
            name="digits",
            description="digits (scikit-learn), 10 devices; natural: a device is a writer; public set: the "
            "first four writers",
            devices=devices,
            classes=10,
            input_shape=(8, 8),
            train_examples=960,
            test_examples=321,
            public_examples=516,
            public_labelled=True,
            global_test_examples=321,
        ),
        devices=tuple(
            DeviceResult(
                name=one.name,
                family="mlp-small",
                train_examples=96,
                test_examples=32,
                class_counts=tuple(
                    int(count) for count in generator.multinomial(96, generator.dirichlet([0.5] * 10))
                ),
                personal_accuracy=one.personal_accuracy,
                global_accuracy=one.global_accuracy,
            )
            for one in own.devices
        ),
        engine=own.engine,
        timing=own.timing,
        config={
            "fleet": {"method": "public-logits"},
            "simulation": {"command": "fedstill-sim run digits --out DIR", "dirichlet": None},
        },
        versions={"fedstill": "0.1.0", "python": "3.11.7"},
    )


def sample_baseline(method: str, *, devices: int, rounds: int, seed: int) -> BaselineResult:
    """One method's rounds, rising to a plateau."""
    generator = np.random.default_rng(seed)
    top = {"public-logits": (0.955, 0.885), "local": (0.93, 0.80), "fedavg": (0.92, 0.902)}.get(
        method, (0.94, 0.86)
    )
    uplink = {"public-logits": 842, "local": 38, "fedavg": 19_412}.get(method, 300)
    each = []
    for round_ in range(1, rounds + 1):
        rise = 1 - 0.25 * np.exp(-round_ / 4)
        personal, everyone = top[0] * rise, top[1] * rise
        quarantined = (
            (
                QuarantinedReply(
                    device="writer-06", reason="bad-values", text="soft_labels: row 3 sums to 1.7"
                ),
            )
            if round_ == 4
            else ()
        )
        each.append(_round(round_, devices, float(personal), float(everyone), uplink, quarantined))
    last = each[-1]
    personal = np.clip(generator.normal(top[0], 0.03, devices), 0, 1)
    everyone = np.clip(generator.normal(top[1], 0.02, devices), 0, 1)
    return BaselineResult(
        method=method,
        final=FinalResult(
            personal_accuracy=last.personal_accuracy,
            global_accuracy=last.global_accuracy,
            worst_device_accuracy=float(personal.min()),
            teacher_accuracy=0.93,
            retention=0.95,
            uplink_bytes=uplink * devices * rounds,
            downlink_bytes=uplink * devices * rounds,
            uplink_bytes_per_device_round=float(uplink),
            downlink_bytes_per_device_round=float(uplink),
            quarantined=1,
            max_abs_logit_difference=None,
        ),
        rounds=tuple(each),
        devices=tuple(
            BaselineDevice(
                name=f"writer-{index:02d}", personal_accuracy=float(one), global_accuracy=float(other)
            )
            for index, (one, other) in enumerate(zip(personal, everyone, strict=True), start=5)
        ),
        engine=EngineResult(
            name="cohort",
            processes=2,
            stack_sizes={"mlp-small": 8},
            device_rounds_per_second=1834.0,
            peak_memory_mb=412.0,
        ),
        timing=Timing(
            finished="2026-01-01T12:00:00+00:00",
            total_seconds=12.3,
            phase_seconds={"rounds": 9.0, "export": 3.3},
            round_seconds=(0.45,) * rounds,
            round_part_seconds={"train": 6.0, "evaluate": 3.0},
        ),
    )


def _round(
    round_: int,
    devices: int,
    personal: float,
    everyone: float,
    uplink: int,
    quarantined: tuple[QuarantinedReply, ...],
) -> RoundResult:
    return RoundResult(
        round=round_,
        asked=devices,
        replied=devices,
        accepted=devices - len(quarantined),
        late=0,
        quarantined=quarantined,
        evaluation_failures=(),
        personal_accuracy=personal,
        personal_p10=personal - 0.05,
        personal_median=personal,
        personal_p90=min(1.0, personal + 0.04),
        global_accuracy=everyone,
        worst_device_accuracy=personal - 0.08,
        teacher_accuracy=0.93,
        uplink_bytes=uplink * devices,
        downlink_bytes=uplink * devices,
        evaluation_bytes=0,
        uplink_bytes_per_device_round=float(uplink),
        downlink_bytes_per_device_round=float(uplink),
        consensus_digest="0" * 64,
        present=devices,
        mean_age=0.0,
    )


def _point(soft_weight: float | None, personal: float, everyone: float) -> TradeoffPoint:
    return TradeoffPoint(
        soft_weight=soft_weight,
        personal_accuracy=personal,
        global_accuracy=everyone,
        worst_device_accuracy=personal - 0.1,
    )


def _student(family: str, devices: int) -> StudentResult:
    return StudentResult(
        family=family,
        devices=devices,
        parameters=4810,
        opset=20,
        inference_bytes=19_800,
        inference_sha256="0" * 64,
        parameters_sha256="0" * 64,
        global_accuracy=0.889,
        torch_global_accuracy=0.889,
        personal_students_checked=4,
        max_abs_logit=21.5,
        max_abs_logit_difference=3.1e-6,
    )


def as_document(result: Any) -> Any:
    """As json.load would return it."""
    return json.loads(json.dumps(dataclasses.asdict(result)))
