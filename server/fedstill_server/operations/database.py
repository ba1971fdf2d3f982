"""The database of what is known of a fleet's devices and of what happened.

SQLite in the fleet's folder (operations.db), or any other database that SQLAlchemy can reach, such as
PostgreSQL, so that several machines share it. Nothing that a round needs is in it: rounds go on where it is
gone, and what would have been noted is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from fedstill_server.operations.address import engine_of
from fedstill_server.operations.device_state import DeviceState, Happening
from fedstill_server.operations.errors import OperationsError
from fedstill_server.operations.transactions import create_tables, transaction

KEPT_EVENTS = 100_000
_PRUNE_EVERY = 1000  # events
_TEXT_LIMIT = 500

_metadata = MetaData()
_devices = Table(
    "device",
    _metadata,
    Column("name", String(128), primary_key=True),
    Column("node", String(24), nullable=False, default=""),
    Column("online", Boolean, nullable=False, default=False),
    Column("last_seen_at", Float),
    Column("package_version", BigInteger, nullable=False, default=0),
    Column("generation", Integer, nullable=False, default=0),
    Column("family", String(200), nullable=False, default=""),
    Column("agent", String(200), nullable=False, default=""),
    Column("willing", Boolean),
    Column("last_round", Integer, nullable=False, default=0),
    Column("last_outcome", String(64), nullable=False, default=""),
    Column("last_outcome_text", String(_TEXT_LIMIT), nullable=False, default=""),
    Column("counted_rounds", Integer, nullable=False, default=0),
    Column("refusals", Integer, nullable=False, default=0),
)
_events = Table(
    "event",
    _metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("text", String, nullable=False),
    Column("document", JSON, nullable=False),
)
_reports = Table(
    "release_report",
    _metadata,
    Column("package_version", BigInteger, primary_key=True),
    Column("device", String(128), primary_key=True),
    Column("at", Float, nullable=False),
    Column("document", JSON, nullable=False),
)
_FACTS = frozenset(field.name for field in fields(DeviceState)) - {"name"}

Result = TypeVar("Result")


class FleetDatabase:
    """What is known of a fleet's devices, and what happened; safe to share among threads and processes."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine, self._clock = engine, clock
        create_tables(engine, _metadata)

    @classmethod
    def open(
        cls, folder: Path, *, address: str = "", clock: Callable[[], float] = time.time
    ) -> FleetDatabase:
        """Open the database of a fleet.

        Args:
            folder: The fleet's folder.
            address: That of another database than database.json in the folder names; where there is no such
                file, it is operations.db in the folder.
            clock: Gives the time in seconds since 1970.

        Raises:
            OperationsError: It cannot be reached.
        """
        return cls(engine_of(folder, address), clock=clock)

    def __enter__(self) -> FleetDatabase:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def note_device(self, name: str, **facts: object) -> None:
        """Note what was seen of a device; see `note_devices`."""
        self.note_devices({name: facts})

    def note_devices(self, facts: Mapping[str, Mapping[str, object]]) -> None:
        """Note what was seen of devices, in one transaction; what is not named stays.

        Args:
            facts: Fields of DeviceState, by the device's name.

        Raises:
            OperationsError: The database is gone, or a field is none.
        """
        for given in facts.values():
            if unknown := given.keys() - _FACTS:
                raise OperationsError(f"{sorted(unknown)}: no fact of a device; there are {sorted(_FACTS)}.")
        with transaction(self._engine) as connection:
            for name, given in facts.items():
                values = {
                    key: value[:_TEXT_LIMIT] if isinstance(value, str) else value
                    for key, value in given.items()
                }
                self._upsert(connection, _devices, {"name": name}, values)

    def count_answers(self, round_number: int, outcomes: Mapping[str, tuple[str, str]]) -> None:
        """Note what came of asking devices in a round, in one transaction.

        Args:
            round_number: The round.
            outcomes: Of each device by name: a word, of which "counted" is the good one, and details.
        """
        with transaction(self._engine) as connection:
            for name, (outcome, text) in outcomes.items():
                values = {
                    "last_round": round_number,
                    "last_outcome": outcome[:64],
                    "last_outcome_text": text[:_TEXT_LIMIT],
                }
                self._upsert(connection, _devices, {"name": name}, values)
                column = _devices.c.counted_rounds if outcome == "counted" else _devices.c.refusals
                connection.execute(
                    update(_devices).where(_devices.c.name == name).values({column.name: column + 1})
                )

    def forget_device(self, name: str) -> None:
        """Forget a device that is registered no more."""
        with transaction(self._engine) as connection:
            connection.execute(delete(_devices).where(_devices.c.name == name))

    def devices(self) -> list[DeviceState]:
        """All devices of which anything was noted, by name."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(_devices).order_by(_devices.c.name)).mappings()
            return [DeviceState(**row) for row in rows]

    def tell(self, kind: str, text: str, **document: object) -> None:
        """Note that something happened.

        Args:
            kind: One word of what it is.
            text: For a person.
            document: What a program reads: what JSON holds.
        """
        row = {"at": self._clock(), "kind": kind, "text": text, "document": document}
        with transaction(self._engine) as connection:
            number = connection.execute(insert(_events).values(row)).inserted_primary_key
            if number is not None and number[0] % _PRUNE_EVERY == 0:
                connection.execute(delete(_events).where(_events.c.number <= number[0] - KEPT_EVENTS))

    def events(self, *, after: int = 0, limit: int = 1000, kinds: Sequence[str] = ()) -> list[Happening]:
        """What happened after the event of this number, first to last.

        Args:
            after: The number of the last event that is known already.
            limit: How many at most.
            kinds: Only these; none are all.
        """
        wanted = select(_events).where(_events.c.number > after)
        if kinds:
            wanted = wanted.where(_events.c.kind.in_(kinds))
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted.order_by(_events.c.number).limit(limit)).mappings()
            return [Happening(**row) for row in rows]

    def last_events(self, limit: int = 100, kinds: Sequence[str] = ()) -> list[Happening]:
        """The newest events, first to last; of these kinds only, where some are given."""
        wanted = select(_events)
        if kinds:
            wanted = wanted.where(_events.c.kind.in_(kinds))
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted.order_by(_events.c.number.desc()).limit(limit)).mappings()
            return [Happening(**row) for row in rows][::-1]

    def note_report(self, package_version: int, device: str, report: Mapping[str, object]) -> None:
        """Keep a device's newest report on a package, in place of the one before."""
        with transaction(self._engine) as connection:
            key = {"package_version": package_version, "device": device}
            self._upsert(connection, _reports, key, {"at": self._clock(), "document": dict(report)})

    def reports(self, package_version: int) -> dict[str, dict[str, Any]]:
        """The newest report of each device on a package."""
        wanted = select(_reports).where(_reports.c.package_version == package_version)
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted.order_by(_reports.c.device)).mappings()
            return {row["device"]: row["document"] for row in rows}

    def _upsert(
        self, connection: Connection, table: Table, key: Mapping[str, object], values: Mapping[str, object]
    ) -> None:
        """Change a row, or make it."""
        where = [table.c[name] == value for name, value in key.items()]
        if values and connection.execute(update(table).where(*where).values(**values)).rowcount:
            return
        if connection.execute(select(func.count()).select_from(table).where(*where)).scalar():
            return
        try:
            with connection.begin_nested():
                connection.execute(insert(table).values(**key, **values))
        except IntegrityError:  # another process was first
            connection.execute(update(table).where(*where).values(**values))
