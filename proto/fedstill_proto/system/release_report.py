"""What came of a package on a device: the server asks those that have it, and each tells counts and times.

    query.release   ConfigRecord (package_version)  ->  ConfigRecord of ReleaseReport

Counts of right answers are told only where the device's owner lets counts out; the rest says nothing about
examples. A report is small, and everything in it is bounded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from flwr.app import ConfigRecord, RecordDict

from fedstill_proto.checks import MAX_UINT32, check_integer, check_number
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.generation import FIRST_GENERATION, check_generation

RECORD = "fedstill"
_MOST = 1 << 31
_LONGEST_MS = 1e7
_LONGEST_S = 1e10


@dataclass(frozen=True, kw_only=True)
class ReleaseReport:
    """A device's report on the package that it uses.

    Counts are of the device's held-out examples, and -1 where they are not told. "Before" is what was in use
    when the package came.

    Attributes:
        package_version: Of the package in use.
        generation: Of the fleet's configuration that it belongs to.
        installed_s: Seconds since it was installed.
        held_out: Examples that right answers are counted of.
        owner_before: Right answers of what the owner got before.
        owner_after: Right answers of what the owner gets now.
        fleet_before: Right answers of the package's own student before.
        fleet_after: Right answers of the package's own student now.
        crashes: How often answering or learning with it has ended a process.
        refusals: Rounds that the device has refused since.
        failures: How often a newer package could not be installed.
        latency_ms: The median of answers, in milliseconds; 0 where none was timed.
        latency_p95_ms: Their 95th percentile.
        latency_p95_before_ms: That of the package before.
    """

    package_version: int
    generation: int = FIRST_GENERATION
    installed_s: float = 0.0
    held_out: int = 0
    owner_before: int = -1
    owner_after: int = -1
    fleet_before: int = -1
    fleet_after: int = -1
    crashes: int = 0
    refusals: int = 0
    failures: int = 0
    latency_ms: float = 0.0
    latency_p95_ms: float = 0.0
    latency_p95_before_ms: float = 0.0

    def __post_init__(self) -> None:
        check_integer("package_version", self.package_version, 0, MAX_UINT32)
        check_generation(self.generation)
        check_number("installed_s", self.installed_s, 0, _LONGEST_S)
        for name in ("held_out", "crashes", "refusals", "failures"):
            check_integer(name, getattr(self, name), 0, _MOST)
        for name in ("owner_before", "owner_after", "fleet_before", "fleet_after"):
            check_integer(name, getattr(self, name), -1, self.held_out)
        for name in ("latency_ms", "latency_p95_ms", "latency_p95_before_ms"):
            check_number(name, getattr(self, name), 0, _LONGEST_MS)

    @property
    def is_counted(self) -> bool:
        """Whether right answers are told, before and after, of at least one example."""
        counts = (self.owner_before, self.owner_after, self.fleet_before, self.fleet_after)
        return self.held_out > 0 and min(counts) >= 0


def release_question(package_version: int) -> RecordDict:
    """The content of the question what came of a package."""
    check_integer("package_version", package_version, 1, MAX_UINT32)
    return RecordDict({RECORD: ConfigRecord({"package_version": package_version})})


def read_release_question(content: RecordDict) -> int:
    """The package version that is asked about; raises WireError."""
    version = _config(content).get("package_version")
    if type(version) is not int or not 1 <= version <= MAX_UINT32:
        raise WireError("package_version", f"{version!r:.40} is no version of a package")
    return version


def release_answer(report: ReleaseReport) -> RecordDict:
    """The content of the answer."""
    return RecordDict({RECORD: ConfigRecord(asdict(report))})


def read_release_answer(content: RecordDict) -> ReleaseReport:
    """Read a device's report; raises WireError, naming the field."""
    record = _config(content)
    values: dict[str, int | float] = {}
    for field in fields(ReleaseReport):
        value = record.get(field.name)
        if type(value) is int or (type(value) is float and field.type == "float"):
            values[field.name] = value
        else:
            raise WireError(field.name, f"{value!r:.40} is no {field.type}")
    if unknown := set(record) - values.keys():
        raise WireError(RECORD, f"unknown fields {sorted(unknown)!r:.80}")
    try:
        return ReleaseReport(**values)  # type: ignore[arg-type]
    except InvalidValue as error:
        raise WireError(error.field, error.problem) from None


def _config(content: RecordDict) -> ConfigRecord:
    record = content.get(RECORD)
    if not isinstance(record, ConfigRecord):
        raise WireError(RECORD, "the message holds no config record of this name")
    return record
