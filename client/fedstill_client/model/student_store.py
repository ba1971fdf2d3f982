"""A device's own student on disk, with the one it was before its last round, and the fleet's.

Both live in one safetensors file that is replaced by a rename, so whatever moment the power fails at, the
file is the old one or the new one. The student from before is kept since a server that was killed asks for
its last round again: the device then starts that round from where it first started it, and gives the same
answer.
"""

from __future__ import annotations

import fcntl
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import safetensors
import safetensors.numpy
from fedstill_proto.arrays import Parameters
from fedstill_proto.errors import FedstillError
from fedstill_proto.package.artifact import StudentManifest
from fedstill_proto.system.files import replace_file

from fedstill_client.model.student_shapes import check_student

STUDENTS_FILE = "students.safetensors"
LEARNED_RUN = "offline"  # the run that a student learned without the fleet is of
_CURRENT, _PREVIOUS = "current", "previous"
CONTROL_VARIATES = ".control"  # behind the role of a student: what is kept beside it
FLEET = "fleet"  # the role of the student that the last round started from


class DeviceStoreError(FedstillError):
    """The device's state cannot be read, or has no student for what is asked."""


@dataclass(frozen=True)
class OwnStudent:
    """A device's student as it was after a round of a run."""

    run: str
    round: int
    parameters: Parameters  # [*shape]
    control_variates: Parameters = field(default_factory=dict)  # in the same shapes, if the round left any

    def control_variates_in(self, run: str) -> Parameters | None:
        """Those for a round of this run; none of another run have a meaning there."""
        return self.control_variates if self.control_variates and self.run == run else None

    def is_before(self, run: str, round: int) -> bool:
        """Whether the round can start from this student; students of other runs are always from before."""
        return self.run != run or self.round < round


class StudentHistory(Protocol):
    """Where a device keeps its student and the one before: a folder here, the private store on an agent."""

    def before(self, run: str, round: int) -> OwnStudent | None:
        """The student that this round starts from; none when the device had none yet."""

    def after(self, run: str, round: int) -> OwnStudent | None:
        """The student as this round left it, or an earlier one."""

    def latest(self) -> OwnStudent | None:
        """The student that the device answers with."""

    def fleet(self) -> Parameters | None:
        """The fleet's student [*shape], which the last round started from; None where it gave none."""

    def save(
        self, student: OwnStudent, *, before: OwnStudent | None, fleet: Parameters | None = None
    ) -> None:
        """Keep `student`, the one `before` it, and the fleet's student that its round started from."""

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from training this device at the same time."""


@dataclass(frozen=True)
class KeptStudents(ABC):
    """A device's student of the family in `manifest`, and the one before it, as bytes kept somewhere."""

    manifest: StudentManifest

    @property
    @abstractmethod
    def place(self) -> str:
        """Where they are kept, for a person."""

    @abstractmethod
    def _load(self) -> bytes | None:
        """The bytes that were kept last; None while there are none."""

    @abstractmethod
    def _keep(self, blob: bytes) -> None:
        """Keep these bytes, and no others."""

    def before(self, run: str, round: int) -> OwnStudent | None:
        """The student that this round starts from; none when the device had none yet."""
        current, previous, _ = self._read()
        if current is None or current.is_before(run, round):
            return current
        if previous is None or previous.is_before(run, round):
            return previous
        raise DeviceStoreError(
            f"{self.place}: asked for round {round} of run {run}, but the students kept are of rounds "
            f"{previous.round} and {current.round}; a device goes back by one round only. "
            "Delete it to start this device afresh."
        )

    def after(self, run: str, round: int) -> OwnStudent | None:
        """The student as this round left it (or an earlier one, if the device had no part in this round)."""
        return self.before(run, round + 1)

    def latest(self) -> OwnStudent | None:
        """The student that the device answers with."""
        return self._read()[0]

    def fleet(self) -> Parameters | None:
        """The fleet's student [*shape], which the last round started from; None where it gave none."""
        kept = self._read()[2]
        return None if kept is None else kept.parameters

    def save(
        self, student: OwnStudent, *, before: OwnStudent | None, fleet: Parameters | None = None
    ) -> None:
        """Keep `student`, the one `before` it, and the fleet's student that its round started from."""
        arrays: Parameters = {}
        metadata: dict[str, str] = {}
        given = None if fleet is None else OwnStudent(student.run, student.round, fleet)
        for role, kept in ((_CURRENT, student), (_PREVIOUS, before), (FLEET, given)):
            if kept is not None:
                metadata |= {f"{role}.run": kept.run, f"{role}.round": str(kept.round)}
                parts = {role: kept.parameters, role + CONTROL_VARIATES: kept.control_variates}
                for part, own in parts.items():
                    arrays |= {f"{part}/{name}": np.ascontiguousarray(v) for name, v in own.items()}
        self._keep(safetensors.numpy.save(arrays, metadata))

    def _read(self) -> tuple[OwnStudent | None, OwnStudent | None, OwnStudent | None]:
        try:
            blob = self._load()
            if blob is None:
                return None, None, None
            header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
            metadata: dict[str, str] = header.get("__metadata__") or {}
            arrays = safetensors.numpy.load(blob)
            current, previous, fleet = (
                self._student(role, arrays, metadata) for role in (_CURRENT, _PREVIOUS, FLEET)
            )
            return current, previous, fleet
        except (OSError, ValueError, AttributeError, safetensors.SafetensorError, FedstillError) as error:
            raise DeviceStoreError(
                f"{self.place}: this is not a state of student family {self.manifest.family!r}: {error} "
                "Delete it to start this device afresh."
            ) from None

    def _student(self, role: str, arrays: Parameters, metadata: dict[str, str]) -> OwnStudent | None:
        if f"{role}.run" not in metadata:
            return None
        own, extra = role + "/", role + CONTROL_VARIATES + "/"
        control_variates = self._checked(extra, arrays) if any(n.startswith(extra) for n in arrays) else {}
        run, round_number = metadata[f"{role}.run"], int(metadata[f"{role}.round"])
        return OwnStudent(run, round_number, self._checked(own, arrays), control_variates)

    def _checked(self, prefix: str, arrays: Parameters) -> Parameters:
        """The arrays whose names begin so, in the order of the manifest."""
        own = {name.removeprefix(prefix): v for name, v in arrays.items() if name.startswith(prefix)}
        check_student(own, self.manifest, stacked=False)
        ordered = {spec.name: own[spec.name] for spec in self.manifest.parameters}
        if not all(v.dtype == np.float32 and np.isfinite(v).all() for v in ordered.values()):
            raise DeviceStoreError(f"{prefix.removesuffix('/')}: not of finite float32 numbers.")
        return ordered


@dataclass(frozen=True)
class StudentStore(KeptStudents):
    """The folder that holds a device's student, of the family in `manifest`."""

    folder: Path

    @property
    def place(self) -> str:
        return str(self._file)

    @property
    def _file(self) -> Path:
        return self.folder / STUDENTS_FILE

    def _load(self) -> bytes | None:
        return self._file.read_bytes() if self._file.exists() else None

    def _keep(self, blob: bytes) -> None:
        try:
            replace_file(self._file, blob)
        except OSError as error:
            problem = f"{self._file}: cannot be written: {error.strerror}; the student from before is kept."
            raise DeviceStoreError(problem) from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training this device at the same time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
