"""A device's weights in the private store: those in use, those from before the round, and the fleet's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace

import numpy as np
from fedstill_proto.arrays import Parameters
from fedstill_proto.errors import FedstillError
from fedstill_proto.package.artifact import StudentManifest, decode_parameters, encode_parameters

from fedstill_client.model.student_store import CONTROL_VARIATES, FLEET, DeviceStoreError, OwnStudent
from fedstill_client.packages.installed import KeptStudent
from fedstill_client.store.database import Database

_CURRENT, _PREVIOUS = "current", "previous"


class StoredStudents:
    """The students of one package version; see StudentHistory for what its methods promise."""

    def __init__(
        self,
        database: Database,
        manifest: StudentManifest,
        package_version: int,
        *,
        locked: Callable[[], AbstractContextManager[None]],
        check_not_forgotten: Callable[[], None],
    ) -> None:
        self._database = database
        self._manifest = manifest
        self._version = package_version
        self._locked = locked
        self._check_not_forgotten = check_not_forgotten

    def before(self, run: str, round: int) -> OwnStudent | None:
        """The student that this round starts from; none when the device had none yet."""
        current = self._read(_CURRENT)
        if current is None or current.is_before(run, round):
            return current
        previous = self._read(_PREVIOUS)
        if previous is None or previous.is_before(run, round):
            return previous
        raise DeviceStoreError(
            f"{self._database.file}: asked for round {round} of run {run}, but the students kept are of "
            f"rounds {previous.round} and {current.round}; a device goes back by one round only. "
            "Forget what this device learned to start it afresh."
        )

    def after(self, run: str, round: int) -> OwnStudent | None:
        """The student as this round left it, or an earlier one."""
        return self.before(run, round + 1)

    def latest(self) -> OwnStudent | None:
        """The student that the device answers with."""
        return self._read(_CURRENT)

    def fleet(self) -> Parameters | None:
        """The fleet's student [*shape], which the last round started from; None where it gave none."""
        kept = self._read(FLEET)
        return None if kept is None else kept.parameters

    def save(
        self, student: OwnStudent, *, before: OwnStudent | None, fleet: Parameters | None = None
    ) -> None:
        """Keep `student`, the one `before` it and the fleet's: all or nothing, on disk when this returns."""
        with self._database.transaction():
            self._check_not_forgotten()
            self._database.execute("DELETE FROM students WHERE package_version = ?", (self._version,))
            put_student(self._database, self._version, _CURRENT, student)
            if before is not None:
                put_student(self._database, self._version, _PREVIOUS, before)
            if fleet is not None:
                given = OwnStudent(student.run, student.round, fleet)
                put_student(self._database, self._version, FLEET, given)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training this device at the same time."""
        with self._locked():
            yield

    def _read(self, role: str) -> OwnStudent | None:
        student, beside = self._read_row(role), self._read_row(role + CONTROL_VARIATES)
        if student is None or beside is None or (student.run, student.round) != (beside.run, beside.round):
            return student
        return replace(student, control_variates=beside.parameters)

    def _read_row(self, role: str) -> OwnStudent | None:
        rows = self._database.rows(
            "SELECT run, round, weights FROM students WHERE package_version = ? AND role = ?",
            (self._version, role),
        )
        if not rows:
            return None
        run, round, weights = rows[0]
        try:
            parameters = decode_parameters(bytes(weights), self._manifest.parameters, field="weights")
            if not all(np.isfinite(array).all() for array in parameters.values()):
                raise DeviceStoreError("they are not all finite numbers.")
        except FedstillError as error:
            raise DeviceStoreError(
                f"{self._database.file}: the {role} weights of package {self._version} are damaged: {error} "
                "Forget what this device learned to start it afresh."
            ) from None
        return OwnStudent(run, round, parameters)


def keep_students(database: Database, kept: KeptStudent, *, under: int, beside: int = 0) -> None:
    """Copy a package version's students to another version that has none, within a transaction.

    The fleet's student is the newer package's own from then on. What is damaged is not copied, and what
    packages of earlier still had is removed, as their files are, but for that of the version `beside`.
    """
    for table in ("students", "soft_labels"):
        database.execute(
            f"DELETE FROM {table} WHERE package_version NOT IN (?, ?, ?)", (kept.version, under, beside)
        )
    roles = [_CURRENT, _PREVIOUS]
    if kept.same_generation:
        roles += [role + CONTROL_VARIATES for role in roles]
        database.execute(
            "INSERT OR IGNORE INTO soft_labels SELECT ?, run, round, labels FROM soft_labels "
            "WHERE package_version = ?",
            (under, kept.version),
        )
    for role in roles:
        for run, round, weights in database.rows(
            "SELECT run, round, weights FROM students WHERE package_version = ? AND role = ?",
            (kept.version, role),
        ):
            with suppress(FedstillError):
                decode_parameters(bytes(weights), kept.parameters, field="weights")
                database.execute(
                    "INSERT OR IGNORE INTO students (package_version, role, run, round, weights) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (under, role, run, round, weights),
                )


def put_student(database: Database, package_version: int, role: str, student: OwnStudent) -> None:
    """Add a student whose role is free, and its control variates, within a transaction."""
    rows = {role: student.parameters, role + CONTROL_VARIATES: student.control_variates}
    for name, arrays in rows.items():
        if arrays:
            database.execute(
                "INSERT INTO students (package_version, role, run, round, weights) VALUES (?, ?, ?, ?, ?)",
                (package_version, name, student.run, student.round, encode_parameters(arrays)),
            )
