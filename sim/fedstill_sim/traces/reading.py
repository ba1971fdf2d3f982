"""Reads traces from files, as CSV or as JSON in FedScale's shape, and tells of holes before a run begins.

A folder holds devices.csv and sessions.csv, or client_device_capacity.json and client_behave_trace.json; a
single JSON file holds both of FedScale's entries for each device. FedScale's own files are pickles, which
can run code when they are read: they are never read here, and docs/how-to/traces.md says how their owner
writes them as JSON.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fedstill_proto.arrays import IntArray
from fedstill_proto.errors import FedstillError

from fedstill_sim.traces.columns import DAY_S, NETWORKS, FleetTrace, Floats

DEVICES_FILE, SESSIONS_FILE, ABOUT_FILE = "devices.csv", "sessions.csv", "trace.json"
BEHAVIOUR_FILE, CAPACITY_FILE = "client_behave_trace.json", "client_device_capacity.json"
SESSION_COLUMNS = ("device", "start_s", "end_s", "charging")
DEVICE_COLUMNS = ("device", "gflops", "down_mbps", "up_mbps", "network", "zone_h", "joined_s", "left_s")

# A sample of FedScale's capacities is one example through MobileNetV2, as AI Benchmark measures it: 0.3 G
# multiply-adds.
GFLOP_OF_A_SAMPLE = 0.6
_LONGEST_HOLE_S = DAY_S  # nobody at all is there for so long: the recording stopped
_PICKLES = (".pkl", ".pickle")


class TraceError(FedstillError):
    """A trace cannot be read, or has a hole."""


@dataclass(frozen=True)
class _Place:
    """Where a value stands, for people."""

    path: Path
    line: int
    device: str

    def refuse(self, field: str, value: object, problem: str, remedy: str) -> TraceError:
        return TraceError(
            f"{self.path}, line {self.line}, device {self.device!r}: {field} {value!r} {problem}; {remedy}"
        )


def read_trace(path: Path) -> FleetTrace:
    """Read a trace.

    Args:
        path: A folder of CSV files, one of FedScale's dictionaries as JSON, or a JSON file with both.

    Raises:
        TraceError: It is not there, or it has a hole: the text names the file, the line, the device, the
            value and the remedy.
    """
    if path.suffix in _PICKLES or path.name in ("client_behave_trace", "client_device_capacity"):
        raise TraceError(
            f"{path}: pickles can run code when they are read, and are not; write it as JSON first "
            "(docs/how-to/traces.md has the lines for those who trust it)"
        )
    if path.is_file():
        return _of_fedscale(path, path)
    if not path.is_dir():
        raise TraceError(f"{path}: no such trace; name a folder, a .json file, or generated")
    if (path / SESSIONS_FILE).exists() or (path / DEVICES_FILE).exists():
        return _of_tables(path)
    if (path / BEHAVIOUR_FILE).exists() or (path / CAPACITY_FILE).exists():
        return _of_fedscale(path / BEHAVIOUR_FILE, path / CAPACITY_FILE)
    raise TraceError(
        f"{path}: holds no trace; it needs {DEVICES_FILE} and {SESSIONS_FILE}, or {BEHAVIOUR_FILE} and "
        f"{CAPACITY_FILE}"
    )


# Tables


def _of_tables(folder: Path) -> FleetTrace:
    devices = _Table.read(folder / DEVICES_FILE, DEVICE_COLUMNS, required=4)
    sessions = _Table.read(folder / SESSIONS_FILE, SESSION_COLUMNS, required=3)
    names = devices.texts("device")
    numbers = {name: number for number, name in enumerate(names)}
    if len(numbers) < len(names):
        row = next(row for row, name in enumerate(names) if numbers[name] != row)
        raise devices.place(row).refuse("device", names[row], "stands in two lines", "keep one of them")
    for row, name in enumerate(sessions.texts("device")):
        if name not in numbers:
            raise sessions.place(row).refuse(
                "device", name, f"is not in {devices.path.name}", "add its line there, or remove its sessions"
            )
    owners = np.array([numbers[name] for name in sessions.texts("device")], np.int64)
    charging = sessions.numbers("charging", default=1.0)
    sessions.check("charging", charging, np.isin(charging, (0.0, 1.0)), "is not 0 or 1", "write one of them")
    start, end = sessions.numbers("start_s"), sessions.numbers("end_s")
    span_s = _span_of(folder / ABOUT_FILE, end)
    counts = np.bincount(owners, minlength=len(names))
    if (counts == 0).any():
        row = int(np.argmin(counts))
        raise devices.place(row).refuse(
            "device", names[row], f"has no session in {SESSIONS_FILE}", "add one, or remove its line"
        )
    _check_sessions(owners, start, end, span_s, sessions.place)
    network = devices.texts("network", default=NETWORKS[0])
    for row, name in enumerate(network):
        if name not in NETWORKS:
            raise devices.place(row).refuse(
                "network", name, "is unknown", f"write one of {', '.join(NETWORKS)}"
            )
    amounts = {}
    for name in ("gflops", "down_mbps", "up_mbps"):
        amounts[name] = devices.numbers(name)
        devices.check(
            name,
            amounts[name],
            amounts[name] > 0,
            "is not above 0",
            "write what was measured, or remove the device",
        )
    joined, left = devices.numbers("joined_s", default=0.0), devices.numbers("left_s", default=math.inf)
    devices.check("left_s", left, left > joined, "is not after joined_s", "correct one of the two")
    return FleetTrace(
        names=tuple(names),
        span_s=span_s,
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        start_s=start,
        end_s=end,
        charging=charging == 1.0,
        network=np.array([NETWORKS.index(name) for name in network], np.uint8),
        zone_h=devices.numbers("zone_h", default=0.0),
        joined_s=joined,
        left_s=left,
        **amounts,
    )


@dataclass(frozen=True, eq=False)
class _Table:
    """A CSV file by column."""

    path: Path
    columns: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls, path: Path, known: Sequence[str], *, required: int) -> _Table:
        try:
            with path.open(newline="", encoding="utf-8") as file:
                lines = csv.reader(file)
                header = [name.strip() for name in next(lines, [])]
                rows = list(lines)
        except FileNotFoundError:
            raise TraceError(f"{path}: missing; write it with the columns {','.join(known)}") from None
        except (UnicodeDecodeError, csv.Error) as error:
            raise TraceError(f"{path}: is no CSV file in UTF-8 ({error}); write it as one") from None
        for name in known[:required]:
            if name not in header:
                raise TraceError(
                    f"{path}, line 1: column {name} is missing; the columns are {','.join(known)}"
                )
        for name in header:
            if name not in known:
                raise TraceError(f"{path}, line 1: column {name!r} is unknown; there are {', '.join(known)}")
        if not rows:
            raise TraceError(f"{path}: has no line beside its header; add the devices' lines")
        for number, row in enumerate(rows):
            if len(row) != len(header):
                raise TraceError(
                    f"{path}, line {number + 2}: has {len(row)} values where the header has {len(header)}; "
                    "correct the line"
                )
        return cls(path, dict(zip(header, zip(*rows, strict=True), strict=True)))

    def place(self, row: int) -> _Place:
        return _Place(self.path, row + 2, self.columns["device"][row])

    def texts(self, name: str, *, default: str | None = None) -> Sequence[str]:
        if name in self.columns or default is None:
            return self.columns[name]
        return [default] * len(self.columns["device"])

    def numbers(self, name: str, *, default: float | None = None) -> Floats:
        """A column as numbers; an empty cell of a column with a default is the default."""
        if name not in self.columns and default is not None:
            return np.full(len(self.columns["device"]), default)
        texts = self.columns[name]
        if default is not None:
            texts = [text or repr(default) for text in texts]
        try:
            values = np.array(texts, np.float64)
        except ValueError:
            row = next(row for row, text in enumerate(texts) if not _is_number(text))
            raise self.place(row).refuse(name, texts[row], "is no number", "write one") from None
        bounded = ~np.isnan(values) & (np.isfinite(values) | (values == default))
        self.check(
            name, values, bounded, "is no finite number", "write what was measured, or remove the line"
        )
        return values

    def check(self, name: str, values: Floats, holds: Any, problem: str, remedy: str) -> None:
        if not holds.all():
            row = int(np.argmin(holds))
            raise self.place(row).refuse(name, float(values[row]), problem, remedy)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _span_of(path: Path, end: Floats) -> float:
    """The span that trace.json states, else whole days that hold all sessions."""
    if not path.exists():
        return max(math.ceil(float(end.max()) / DAY_S), 1) * DAY_S
    span_s: Any = _document(path).get("span_s")
    if not _is_amount(span_s):
        raise TraceError(
            f"{path}: span_s {span_s!r} is no number of seconds above 0; write the trace's length"
        )
    return float(span_s)


def _check_sessions(
    owners: IntArray, start: Floats, end: Floats, span_s: float, place: Callable[[int], _Place]
) -> None:
    """Refuse sessions that are not within the span, not in order, or that overlap; and a hole of them all."""

    def check(holds: Any, field: str, values: Floats, problem: str, remedy: str) -> None:
        if not holds.all():
            row = int(np.argmin(holds))
            raise place(row).refuse(field, float(values[row]), problem, remedy)

    check(start >= 0, "start_s", start, "is before the trace's beginning", "count seconds from there")
    check(end > start, "end_s", end, "is not after start_s", "correct the session, or remove it")
    check(
        end <= span_s,
        "end_s",
        end,
        f"is after the trace's end at {span_s:g}",
        f"cut the session, or state a longer span_s in {ABOUT_FILE}",
    )
    same = owners[1:] == owners[:-1]
    first = np.ones(1, np.bool_)
    rising = np.concatenate([first, (owners[1:] >= owners[:-1])])
    check(
        rising,
        "start_s",
        start,
        "stands apart from the device's other sessions, or not in the order of the devices",
        "sort the sessions by device, in the order of the devices' file, and start_s",
    )
    check(
        np.concatenate([first, ~same | (start[1:] >= start[:-1])]),
        "start_s",
        start,
        "is before that of the line above",
        "sort the device's sessions by start_s",
    )
    check(
        np.concatenate([first, ~same | (start[1:] >= end[:-1])]),
        "start_s",
        start,
        "is before the end of the session above: they overlap",
        "join the two, or cut one",
    )
    order = np.argsort(start, kind="stable")
    reached = np.concatenate([[0.0], np.maximum.accumulate(end[order])])
    holes = np.append(start[order], span_s) - reached
    if (worst := int(np.argmax(holes))) >= 0 and holes[worst] > _LONGEST_HOLE_S:
        row = int(order[min(worst, len(order) - 1)])
        raise place(row).refuse(
            "start_s",
            float(start[row]),
            f"is beside a hole: no device at all is there from second {reached[worst]:g} for "
            f"{holes[worst] / DAY_S:.1f} days",
            "cut the trace to the days that were recorded",
        )


# FedScale's dictionaries as JSON


def _of_fedscale(behaviour_path: Path, capacity_path: Path) -> FleetTrace:
    """A trace of FedScale's dictionaries.

    An entry says `active` and `inactive`, the seconds at which its device becomes so, `finish_time`, the
    seconds after which they repeat, `computation`, the milliseconds of an example in inference, and
    `communication`, kilobits a second both ways.
    """
    for path in (behaviour_path, capacity_path):
        if not path.is_file():
            raise TraceError(f"{path}: missing; FedScale's traces are two files, write both as JSON")
    behaviour, capacity = _document(behaviour_path), _document(capacity_path)
    finish: list[float] = []
    parts: list[tuple[list[float], list[float]]] = []
    speeds: list[tuple[float, float]] = []
    for name, entry in behaviour.items():
        at = _lazy_place(behaviour_path, name)
        starts, ends = (_seconds(entry, field, at) for field in ("active", "inactive"))
        if len(starts) != len(ends):
            raise at().refuse(
                "inactive", len(ends), f"are not as many times as active, {len(starts)}", "complete the lists"
            )
        if not starts:
            raise at().refuse("active", starts, "has no session", "add one, or remove the device")
        finish.append(_positive(entry, "finish_time", at))
        parts.append((starts, ends))
        if name not in capacity:
            raise at().refuse(
                "device", name, f"is not in {capacity_path.name}", "add its capacity, or remove the device"
            )
        of_capacity = _lazy_place(capacity_path, name)
        speeds.append(
            (
                GFLOP_OF_A_SAMPLE / (_positive(capacity[name], "computation", of_capacity) / 1000),
                _positive(capacity[name], "communication", of_capacity) / 1000,
            )
        )
    names = tuple(behaviour)
    # Devices whose recordings are of different lengths repeat after their own in FedScale; here, all do
    # after the longest, and the shorter ones are repeated until there.
    span_s = max(finish)
    repeated = [
        (
            [start + n * length for n in range(math.ceil(span_s / length)) for start in starts],
            [end + n * length for n in range(math.ceil(span_s / length)) for end in ends],
        )
        for (starts, ends), length in zip(parts, finish, strict=True)
    ]
    kept = [
        [
            (start, min(end, span_s) if repeats else end)
            for start, end in zip(*part, strict=True)
            if start < span_s
        ]
        for part, repeats in ((part, length < span_s) for part, length in zip(repeated, finish, strict=True))
    ]
    owners = np.repeat(np.arange(len(names)), [len(part) for part in kept])
    start = np.array([each for part in kept for each, _ in part])
    end = np.array([each for part in kept for _, each in part])
    _check_sessions(
        owners, start, end, span_s, lambda row: _lazy_place(behaviour_path, names[int(owners[row])])()
    )
    gflops, mbps = (np.array([pair[place] for pair in speeds]) for place in range(2))
    devices = len(names)
    return FleetTrace(
        names=names,
        span_s=span_s,
        offsets=np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=devices))]).astype(np.int64),
        start_s=start,
        end_s=end,
        charging=np.ones(len(start), np.bool_),  # active is charging, on WiFi and idle there
        gflops=gflops,
        down_mbps=mbps,
        up_mbps=mbps.copy(),
        network=np.zeros(devices, np.uint8),
        zone_h=np.zeros(devices),
        joined_s=np.zeros(devices),
        left_s=np.full(devices, math.inf),
    )


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise TraceError(f"{path}: is no JSON ({error}); write it as JSON") from None
    if not isinstance(document, dict) or not document:
        raise TraceError(f"{path}: is no JSON object of devices; write it as one")
    return document


def _lazy_place(path: Path, name: str) -> Callable[[], _Place]:
    """Where a device's entry stands; the line is looked for where there is something to tell."""

    def place() -> _Place:
        text = path.read_text(encoding="utf-8")
        at = text.find(f"{json.dumps(name)}:")
        return _Place(path, text.count("\n", 0, max(at, 0)) + 1, name)

    return place


def _seconds(entry: Any, field: str, at: Callable[[], _Place]) -> list[float]:
    values = entry.get(field) if isinstance(entry, dict) else None
    if not isinstance(values, list):
        raise at().refuse(field, values, "is no list of seconds", "write one")
    for value in values:
        if type(value) not in (int, float) or not math.isfinite(value):
            raise at().refuse(field, value, "is no finite number", "write seconds")
    return [float(value) for value in values]


def _positive(entry: Any, field: str, at: Callable[[], _Place]) -> float:
    value: Any = entry.get(field) if isinstance(entry, dict) else None
    if not _is_amount(value):
        raise at().refuse(
            field, value, "is no number above 0", "write what was measured, or remove the device"
        )
    return float(value)


def _is_amount(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf
