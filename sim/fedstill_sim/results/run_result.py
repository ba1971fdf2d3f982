"""`result.json`: everything that a run measured; docs/result.md says what each field means.

Two runs with the same configuration and seed, killed and resumed or not, on one process or many, give the
same document once `without_times` has dropped the keys that hold clocks and machines.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedstill_proto.privacy import divergence_bound
from fedstill_proto.secure_sums.graph import MOST_MEMBERS
from fedstill_proto.system.sealed import SEAL
from fedstill_server.config.codec import from_json

from fedstill_sim.folder import file_name
from fedstill_sim.results.device_columns import COLUMNS_FILE
from fedstill_sim.results.device_results import (
    BaselineDevice,
    BaselineTable,
    DeviceFile,
    DeviceResult,
    DeviceTable,
    keep_devices,
    kept_columns,
)
from fedstill_sim.results.json_files import Json, ResultError, read_json, write_json
from fedstill_sim.results.readable import readable_bytes, readable_percent

SCHEMA_VERSION = 2
READ_VERSIONS = (1, 2)  # in 1, all devices are listed
RESULT_FILE = "result.json"
TIMED_KEYS = frozenset({"timing", "engine", SEAL})


@dataclass(frozen=True, kw_only=True)
class QuarantinedReply:
    """A reply that the server left out of a round, and why; the round went on without it."""

    device: str
    reason: str
    text: str


@dataclass(frozen=True, kw_only=True)
class ScopeAccuracy:
    """Both accuracies of one kind of answers, 0 to 1."""

    personal_accuracy: float | None
    global_accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class RoundResult:
    """One round. Accuracies are 0 to 1, and None in a round that was not evaluated.

    `personal_accuracy` and `global_accuracy` are of the same answers, those that an app gets by default;
    `by_scope` has those of "owner", which they are, and of "everyone", the fleet's student alone.
    """

    round: int
    asked: int
    replied: int
    accepted: int
    late: int
    quarantined: tuple[QuarantinedReply, ...]
    evaluation_failures: tuple[QuarantinedReply, ...]
    personal_accuracy: float | None
    personal_p10: float | None
    personal_median: float | None
    personal_p90: float | None
    global_accuracy: float | None
    worst_device_accuracy: float | None
    teacher_accuracy: float | None
    uplink_bytes: int
    downlink_bytes: int
    evaluation_bytes: int
    uplink_bytes_per_device_round: float
    downlink_bytes_per_device_round: float
    consensus_digest: str
    present: int = 0
    overdue: int = 0
    silent: int = 0
    stale: int = 0
    mean_age: float | None = None
    clock_s: float | None = None
    notice: str = ""
    by_scope: dict[str, ScopeAccuracy] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    measured_devices: int = 0
    personal_half_width: float | None = None
    global_half_width: float | None = None

    @property
    def left_out_answers(self) -> int:
        """How many answers were left out."""
        return sum(self.left_out.values()) if self.left_out else len(self.quarantined)

    @property
    def total_bytes_per_device_round(self) -> float:
        """What a device sends and what it is sent, on average."""
        return self.uplink_bytes_per_device_round + self.downlink_bytes_per_device_round

    def __str__(self) -> str:
        """Describe the round in a line."""
        up, down = self.uplink_bytes_per_device_round, self.downlink_bytes_per_device_round
        return (
            f"round {self.round}: personal {readable_percent(self.personal_accuracy)}, global "
            f"{readable_percent(self.global_accuracy)}, {self.accepted} of {self.asked} answers, up "
            f"{readable_bytes(up)}, down {readable_bytes(down)}{self.notice and f'; {self.notice}'}"
        )


@dataclass(frozen=True, kw_only=True)
class FinalResult:
    """Where a run ended: the accuracies of its last evaluated round, and the bytes of all rounds.

    The accuracies are of the same answers, those that an app gets by default, as in RoundResult.
    """

    personal_accuracy: float | None
    global_accuracy: float | None
    worst_device_accuracy: float | None
    teacher_accuracy: float | None
    retention: float | None
    uplink_bytes: int
    downlink_bytes: int
    uplink_bytes_per_device_round: float
    downlink_bytes_per_device_round: float
    quarantined: int
    max_abs_logit_difference: float | None
    by_scope: dict[str, ScopeAccuracy] = field(default_factory=dict)
    measured_devices: int = 0
    personal_half_width: float | None = None
    global_half_width: float | None = None

    def measured_on(self, devices: int) -> str:
        """Say on how many of a fleet's devices accuracies were measured; nothing where it was all of them."""
        if not 0 < self.measured_devices < devices:
            return ""
        told = f"measured on {self.measured_devices:,} of {devices:,} devices"
        if self.personal_half_width is None:
            return f"{told}, too few for an interval"
        return f"{told}, ± {100 * self.personal_half_width:.1f} points"

    @property
    def total_bytes_per_device_round(self) -> float:
        """What a device sends and what it is sent in a round, on average."""
        return self.uplink_bytes_per_device_round + self.downlink_bytes_per_device_round


@dataclass(frozen=True, kw_only=True)
class DataResult:
    """The data that the fleet learned from."""

    name: str
    description: str
    devices: int
    classes: int
    input_shape: tuple[int, ...]
    train_examples: int
    test_examples: int
    public_examples: int
    public_labelled: bool
    global_test_examples: int


@dataclass(frozen=True, kw_only=True)
class StudentResult:
    """A family's final student as exported for ONNX Runtime, checked against torch."""

    family: str
    devices: int
    parameters: int
    opset: int
    inference_bytes: int
    inference_sha256: str
    parameters_sha256: str
    global_accuracy: float
    torch_global_accuracy: float
    personal_students_checked: int
    max_abs_logit: float
    max_abs_logit_difference: float


@dataclass(frozen=True, kw_only=True)
class TradeoffPoint:
    """Accuracies after devices personalized the fleet's final student at one soft_weight.

    A soft_weight of None is the student before it is personalized.
    """

    soft_weight: float | None
    personal_accuracy: float
    global_accuracy: float
    worst_device_accuracy: float


@dataclass(frozen=True, kw_only=True)
class EngineResult:
    """The engine that ran the virtual devices, and how fast it was."""

    name: str
    processes: int
    stack_sizes: dict[str, int]
    device_rounds_per_second: float
    peak_memory_mb: float
    path: str = "messages"  # or "stacks": how answers came together


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds on the clock: in all, in each phase, in each round and in each part of the rounds."""

    finished: str
    total_seconds: float
    phase_seconds: dict[str, float]
    round_seconds: tuple[float, ...]
    round_part_seconds: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class BaselineResult:
    """What the same students with the same local training came to under another method."""

    method: str
    final: FinalResult
    rounds: tuple[RoundResult, ...]
    devices: Sequence[BaselineDevice]
    engine: EngineResult
    timing: Timing
    device_file: DeviceFile | None = None


@dataclass(frozen=True, kw_only=True)
class PrivacyResult:
    """The privacy budget that a run spent of the device that it asked most often; epsilons are at `delta`."""

    mode: str
    noise_multiplier: float
    clip: float
    delta: float
    rounds: int
    rho: float
    epsilon: float
    zcdp_epsilon: float

    @property
    def summary(self) -> str:
        """The budget that was spent, and the mechanism, in one sentence."""
        return (
            f"differential privacy of devices, {self.mode}: epsilon {self.epsilon:.2f} at delta "
            f"{self.delta:g} in {self.rounds} rounds ({self.zcdp_epsilon:.2f} by zCDP, the bound of devices "
            f"themselves); noise multiplier {self.noise_multiplier:.3g}, clip {self.clip:g}; {self._shared}"
            "measuring the accuracies shown here is not part of the budget"
        )

    @property
    def _shared(self) -> str:
        """What distributed noise rests on."""
        if self.mode != "distributed":
            return ""
        tau = divergence_bound(MOST_MEMBERS)
        return (
            "it holds if no more of a group help the server than is assumed; the sum of shared noise "
            f"differs from one Gaussian's by tau = {tau:.1g}, or less than a float can hold; "
        )


@dataclass(frozen=True, kw_only=True)
class EnergyResult:
    """What a run cost its devices' batteries, by stated coefficients (fedstill_sim.energy.coefficients).

    Attributes:
        joules: Of all devices, by phase: training, answering, down, up.
        joules_per_task: Of a device for a round, on average.
        tasks: How many devices' rounds are counted.
        joules_per_gflop: The coefficient of arithmetic.
        battery_wh: Of a full battery.
        battery_share: Of a full battery, that a device gave to the whole run, on average.
        busiest_battery_share: That of the device that gave the most.
        days: How long the run took, where time passed.
        file: Each device's joules by phase, as columns in a file beside the result.
    """

    joules: dict[str, float]
    joules_per_task: float
    tasks: int
    joules_per_gflop: float
    battery_wh: float
    battery_share: float
    busiest_battery_share: float
    days: float | None
    file: str

    @property
    def summary(self) -> str:
        """The energy in one sentence."""
        phases = ", ".join(f"{phase} {joules:,.3g} J" for phase, joules in self.joules.items())
        days = "" if self.days is None else f" in {self.days:.2f} days"
        return (
            f"energy by stated coefficients: {self.joules_per_task:.3g} J a task; all devices{days}: "
            f"{phases}; "
            f"{100 * self.battery_share:.2g} % of a battery of {self.battery_wh:g} Wh a device, "
            f"{100 * self.busiest_battery_share:.2g} % of the busiest one's"
        )


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """The devices that lied, and what became of it; all accuracies of the run are the others'."""

    attack: str
    options: dict[str, Any]
    adversaries: tuple[str, ...]
    lies: int
    quarantined: int
    success: float | None

    def who(self, devices: int) -> str:
        """Say how many lied, and how: "4 of 20 devices lie (sign-flip; scale 4.0)"."""
        named = "; ".join([self.attack, *(f"{name} {value}" for name, value in self.options.items())])
        return f"{len(self.adversaries)} of {devices} devices lie ({named})"

    def describe(self, devices: int) -> str:
        """Describe the attack in one sentence."""
        text = (
            f"{self.who(devices)}; {self.lies:,} of their answers counted, the gate left out "
            f"{self.quarantined:,}"
        )
        if self.success is not None:
            text += f"; the attack succeeds on {readable_percent(self.success)} of its trials"
        return f"{text}; all accuracies are the honest devices'"


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A finished run."""

    schema_version: int = SCHEMA_VERSION
    method: str
    seed: int
    final: FinalResult
    rounds: tuple[RoundResult, ...]
    baselines: dict[str, BaselineResult]
    tradeoff: tuple[TradeoffPoint, ...]
    students: dict[str, StudentResult]
    data: DataResult
    devices: Sequence[DeviceResult]
    engine: EngineResult
    timing: Timing
    config: dict[str, Any]
    versions: dict[str, str] = field(default_factory=dict)
    privacy: PrivacyResult | None = None
    evaluation: dict[str, Any] = field(default_factory=dict)  # what the task measures beside accuracy
    attack: AttackResult | None = None
    energy: EnergyResult | None = None
    device_file: DeviceFile | None = None


def write_result(result: RunResult, path: Path) -> RunResult:
    """Write a result.json whole: a reader sees the old file or the new one, never a part.

    More than MOST_INLINE devices become columns in files beside it, which are written before.

    Returns:
        The result, which knows these files.
    """
    baselines = {}
    for method, baseline in result.baselines.items():
        file = keep_devices(baseline.devices, path.with_name(f"devices-{file_name(method)}.npz"))
        baselines[method] = dataclasses.replace(baseline, device_file=file)
    own = keep_devices(result.devices, path.with_name(COLUMNS_FILE))
    written = dataclasses.replace(result, baselines=baselines, device_file=own)
    write_json(path, result_document(written))
    return written


def result_document(result: RunResult) -> Json:
    """A result as result.json has it, which lists no devices that are in files of columns."""
    baselines = {
        method: dataclasses.replace(baseline, devices=_listed(baseline))
        for method, baseline in result.baselines.items()
    }
    return dataclasses.asdict(dataclasses.replace(result, devices=_listed(result), baselines=baselines))


def _listed(result: RunResult | BaselineResult) -> tuple[Any, ...]:
    return tuple(result.devices) if result.device_file is None else ()


def read_result(path: Path) -> RunResult:
    """Read a result.json, and the columns of devices that it names.

    Raises:
        ResultError: There is no such file, another version wrote it, or a file that it names is damaged.
        ConfigError: A field does not hold what it should; the message names it.
    """
    document = read_json(path)
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version not in READ_VERSIONS:
        raise ResultError(
            f"{path}: schema_version is {version!r}, this fedstill reads {SCHEMA_VERSION}; read it with "
            "the version that wrote it, or run again"
        )
    result = from_json(RunResult, document, where=str(path))
    baselines = dict(result.baselines)
    for method, baseline in baselines.items():
        if baseline.device_file is not None:
            devices = BaselineTable(kept_columns(baseline.device_file, path.parent))
            baselines[method] = dataclasses.replace(baseline, devices=devices)
    result = dataclasses.replace(result, baselines=baselines)
    if result.device_file is not None:
        return dataclasses.replace(result, devices=DeviceTable(kept_columns(result.device_file, path.parent)))
    return result


def without_times(document: Json) -> Json:
    """Return a result document without what changes from run to run (TIMED_KEYS), at any depth."""
    if isinstance(document, dict):
        return {key: without_times(value) for key, value in document.items() if key not in TIMED_KEYS}
    if isinstance(document, list):
        return [without_times(value) for value in document]
    return document
