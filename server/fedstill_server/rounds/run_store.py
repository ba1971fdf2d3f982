"""The run's memory on disk: after each round its state (safetensors) and its record (SQLite).

A round's file is written whole and synced before the row that names it, with its digest, is committed. So a
run that dies at any moment finds its last committed round, bit for bit. The file before is kept: if the
newest one is damaged, the run goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import safetensors.numpy
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.files import SHARED, replace_file
from sqlalchemy import Engine, ForeignKey, create_engine, delete, event, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from fedstill_server.rounds.base_tables import BaseTables
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.state import Arrays, FleetState

_KEPT_FILES = 2

log = logging.getLogger("fedstill.checkpoint")


class RunStoreError(FedstillError):
    """The run's folder cannot be read or does not belong to this run."""


class _Table(DeclarativeBase):
    pass


class _Round(_Table):
    """A committed round; round 0 is the preparation and has no record."""

    __tablename__ = "rounds"
    round: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[str]
    sha256: Mapped[str]
    record: Mapped[str | None]  # JSON


class _Device(_Table):
    """A device that has a student, since the round in which it first answered."""

    __tablename__ = "devices"
    name: Mapped[str] = mapped_column(primary_key=True)
    round: Mapped[int] = mapped_column(ForeignKey("rounds.round"))


class _Question(_Table):
    """A question that was open when a round was committed; node numbers are too large for SQLite's."""

    __tablename__ = "questions"
    committed: Mapped[int] = mapped_column(ForeignKey("rounds.round"), primary_key=True)
    message_id: Mapped[str] = mapped_column(primary_key=True)
    place: Mapped[int]
    device: Mapped[str]
    family: Mapped[str]
    node: Mapped[str]
    round: Mapped[int]
    newcomer: Mapped[bool]
    asked_s: Mapped[float]
    overdue: Mapped[bool]


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A task without an answer; `overdue` where nobody waits for the answer any more."""

    message_id: str
    device: str
    family: str
    node: int
    round: int
    newcomer: bool
    asked_s: float
    overdue: bool


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a run goes on from.

    Attributes:
        round: The last committed round.
        state: The state after it.
        installed: The devices that have a student.
        pending: Questions that were open.
        clock_s: The time of a Grid that has a clock of its own; else 0.
        base_tables: What is held of the devices for delta coding.
    """

    round: int
    state: FleetState
    installed: frozenset[str]
    pending: tuple[Pending, ...] = ()
    clock_s: float = 0.0
    base_tables: BaseTables = field(default_factory=BaseTables)


class RunStore:
    """The rounds of a run on disk, in <run>/server: state.db, checkpoints/, final/."""

    def __init__(self, folder: Path) -> None:
        """Open the store of a run, which changes nothing that was committed.

        Args:
            folder: The run's folder.

        Raises:
            RunStoreError: Its database cannot be opened.
        """
        self.folder = Path(folder) / "server"
        self._kept = _KEPT_FILES
        self._checkpoints = self.folder / "checkpoints"
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        self._engine = _open(self.folder / "state.db")
        try:
            _Table.metadata.create_all(self._engine)
        except SQLAlchemyError as error:
            raise RunStoreError(f"{self.folder / 'state.db'}: cannot be opened ({error})") from None

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def keep_states(self, rounds: int) -> None:
        """Keep the states of so many rounds before the last two: slow devices still answer their tasks."""
        self._kept = _KEPT_FILES + rounds

    def state_after(self, round_number: int) -> FleetState | None:
        """The state after a round, as long as it is kept and intact."""
        with Session(self._engine) as session:
            row = session.get(_Round, round_number)
            return None if row is None else self._state_of(row)

    def _state_of(self, row: _Round) -> FleetState | None:
        blob = _read(self._checkpoints / row.file)
        if blob is None or hashlib.sha256(blob).hexdigest() != row.sha256:
            return None
        return FleetState.from_flat(_from_bytes(blob))

    def commit(
        self,
        round_number: int,
        state: FleetState,
        *,
        record: RoundRecord | None = None,
        newly_installed: Iterable[str] = (),
        lost: Iterable[str] = (),
        pending: Iterable[Pending] = (),
        base_tables: BaseTables | None = None,
    ) -> None:
        """Make `state` the state after a round; when this returns, a crash cannot undo it.

        Args:
            round_number: The round; 0 is the preparation.
            state: What the server has learned.
            record: What happened; None for the preparation.
            newly_installed: Devices that got their first student.
            pending: Questions that are still open.
            base_tables: What is held of the devices for delta coding.
        """
        file = f"round-{round_number:06d}.safetensors"
        blob = _to_bytes(state.flat())
        if base_tables is not None and base_tables.tables:
            replace_file(self._checkpoints / _tables_file(round_number), base_tables.to_bytes(), mode=SHARED)
        replace_file(self._checkpoints / file, blob, mode=SHARED)
        row = _Round(
            round=round_number,
            file=file,
            sha256=hashlib.sha256(blob).hexdigest(),
            record=None if record is None else json.dumps(record.to_json(), allow_nan=False),
        )
        with Session(self._engine) as session:
            session.add(row)
            session.flush()
            session.execute(delete(_Device).where(_Device.name.in_(list(lost))))
            session.add_all(_Device(name=name, round=round_number) for name in sorted(newly_installed))
            session.add_all(_rows_of(pending, round_number))
            session.execute(delete(_Question).where(_Question.committed <= round_number - _KEPT_FILES))
            session.commit()
        self._remove_files_before(round_number)

    def forget_devices(self) -> None:
        """Take no device to have a student any more: each gets one with its next task, if it needs one."""
        with Session(self._engine) as session:
            session.execute(delete(_Device))
            session.commit()

    def replace_state(self, round_number: int, state: FleetState) -> None:
        """Make another state the one after the newest round; a crash leaves the old one or the new one.

        Raises:
            RunStoreError: There is no such round.
        """
        blob = _to_bytes(state.flat())
        digest = hashlib.sha256(blob).hexdigest()
        file = f"round-{round_number:06d}.{digest[:8]}.safetensors"
        replace_file(self._checkpoints / file, blob, mode=SHARED)
        with Session(self._engine) as session:
            row = session.get(_Round, round_number)
            if row is None:
                raise RunStoreError(
                    f"{self.folder}: there is no round {round_number} to replace the state of"
                )
            row.file, row.sha256 = file, digest
            session.commit()

    def latest(self) -> Checkpoint | None:
        """The newest round whose file is intact; later rows, whose files are not, are forgotten."""
        with Session(self._engine) as session:
            rows = session.scalars(select(_Round).order_by(_Round.round.desc())).all()
            if not rows:
                return None
            for row in rows[:_KEPT_FILES]:
                if (state := self._state_of(row)) is not None:
                    number, record = row.round, row.record
                    self._forget_after(session, number)
                    names = session.scalars(select(_Device.name)).all()
                    clock_s = json.loads(record).get("clock_s") if record is not None else None
                    return Checkpoint(
                        number,
                        state,
                        frozenset(names),
                        _pending_after(session, number),
                        clock_s or 0.0,
                        self._base_tables(number),
                    )
        raise RunStoreError(
            f"{self._checkpoints}: none of the last {_KEPT_FILES} checkpoints is intact; "
            "start the run again in a new folder"
        )

    def _base_tables(self, round_number: int) -> BaseTables:
        """The answers held after a round; nothing where they are damaged, so that devices answer whole."""
        file = self._checkpoints / _tables_file(round_number)
        blob = _read(file)
        if blob is None:
            return BaseTables()
        try:
            return BaseTables.from_bytes(blob)
        except FedstillError as error:
            log.warning("%s: cannot be read, devices answer whole: %s", file, error)
            return BaseTables()

    def last_round(self) -> int:
        """The newest committed round; 0 is the preparation, and nothing at all."""
        with Session(self._engine) as session:
            return session.scalar(select(func.max(_Round.round))) or 0

    def records(self) -> list[RoundRecord]:
        """All committed rounds, first to last."""
        with Session(self._engine) as session:
            rows = session.scalars(select(_Round).order_by(_Round.round)).all()
            return [
                RoundRecord.from_json(json.loads(row.record), where=f"round {row.round}")
                for row in rows
                if row.record is not None
            ]

    def write_final(self, state: FleetState) -> Path:
        """<run>/server/final: teacher.safetensors and students/<family>.safetensors."""
        final = self.folder / "final"
        (final / "students").mkdir(parents=True, exist_ok=True)
        replace_file(final / "teacher.safetensors", _to_bytes(dict(state.teacher)), mode=SHARED)
        for family, student in state.students.items():
            replace_file(final / "students" / f"{family}.safetensors", _to_bytes(dict(student)), mode=SHARED)
        return final

    def _forget_after(self, session: Session, round_number: int) -> None:
        session.execute(delete(_Device).where(_Device.round > round_number))
        session.execute(delete(_Question).where(_Question.committed > round_number))
        session.execute(delete(_Round).where(_Round.round > round_number))
        session.commit()

    def _remove_files_before(self, round_number: int) -> None:
        with Session(self._engine) as session:
            newest = select(_Round.file).where(_Round.round > round_number - self._kept)
            kept = set(session.scalars(newest).all())
        kept |= {_tables_file(round_number - back) for back in range(_KEPT_FILES)}
        for path in self._checkpoints.iterdir():
            if path.name not in kept:
                path.unlink(missing_ok=True)


def _rows_of(pending: Iterable[Pending], round_number: int) -> list[_Question]:
    return [
        _Question(committed=round_number, place=place, **{**vars(question), "node": str(question.node)})
        for place, question in enumerate(pending)
    ]


def _pending_after(session: Session, round_number: int) -> tuple[Pending, ...]:
    """The open questions of a checkpoint, in the order of their commit: it decides who is asked first."""
    query = select(_Question).where(_Question.committed == round_number).order_by(_Question.place)
    return tuple(
        Pending(
            message_id=row.message_id,
            device=row.device,
            family=row.family,
            node=int(row.node),
            round=row.round,
            newcomer=row.newcomer,
            asked_s=row.asked_s,
            overdue=row.overdue,
        )
        for row in session.scalars(query)
    )


def _tables_file(round_number: int) -> str:
    return f"round-{round_number:06d}.tables"


def load_parameters_file(path: Path) -> Arrays:
    """The arrays of a file that a RunStore wrote, in the order of the model.

    Raises:
        RunStoreError: There is no such file, or it is damaged.
    """
    blob = _read(path)
    if blob is None:
        raise RunStoreError(f"{path}: no such file")
    return _from_bytes(blob)


def _to_bytes(arrays: Arrays) -> bytes:
    # safetensors sorts its entries; parameters must come back in the order of the model.
    return safetensors.numpy.save(arrays, metadata={"order": json.dumps(list(arrays))})


def _from_bytes(blob: bytes) -> Arrays:
    try:
        arrays = safetensors.numpy.load(blob)
        header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
        return {name: arrays[name] for name in json.loads(header["__metadata__"]["order"])}
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise RunStoreError(f"a checkpoint's bytes are not those that were written ({error})") from None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _open(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def durable(connection: object, _: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    return engine
