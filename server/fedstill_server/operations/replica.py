"""A copy of a fleet's folder in its shared database, so that a second machine can take its place.

The machine that serves the fleet holds a lease in the database, and renews it. Everything that it commits is
in the database before anybody learns of it: a machine that takes over, once the lease has run out, finds the
last committed round. Not copied are private keys (they come with a backup), what Flower keeps for messages
on their way, and logs.

A lease is checked in the transaction of each write (a fencing token; Kleppmann 2016): who has lost it writes
nothing any more.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedstill_proto.system.files import SHARED, replace_file
from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Float,
    LargeBinary,
    MetaData,
    String,
    Table,
    delete,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.engine import Connection

from fedstill_server.operations.address import ADDRESS_FILE, FACTS_FILE, engine_of, shown
from fedstill_server.operations.errors import OperationsError
from fedstill_server.operations.transactions import create_tables, transaction

LEASE_S = 30.0
"""How long a machine may be silent before another takes its place."""
HOLDER_VARIABLE = "FEDSTILL_LEASE"
"""The environment variable by which the processes of a fleet that is up know its lease."""

_metadata = MetaData()
_files = Table(
    "fleet_file",
    _metadata,
    Column("path", String(500), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),
)
_leases = Table(
    "fleet_lease",
    _metadata,
    Column("fleet", String(64), primary_key=True),
    Column("holder", String(200), nullable=False),
    Column("until", Float, nullable=False),
)
_OF_A_MACHINE = {"logs", "flower", "nginx", "bundle", "reply-limit", "nodes.json"}
_OPEN = ("superlink.db", FACTS_FILE)  # SQLite has files of their names beside them


class LeaseLost(OperationsError):
    """Another machine serves the fleet now."""


@dataclass(frozen=True)
class Copied:
    """How many files a copy changed, and how many it removed."""

    changed: int
    removed: int


class FleetReplica:
    """The copy of one fleet's folder, and the lease of the machine that serves it."""

    def __init__(self, folder: Path, run: str, engine: Engine) -> None:
        """Open the copy.

        Args:
            folder: The fleet's folder on this machine.
            run: The fleet's run, by which the database knows it.
            engine: Of the shared database.

        Raises:
            OperationsError: The database does not answer, or holds another fleet.
        """
        self.folder, self._run, self._engine = folder, run, engine
        self._known: dict[str, tuple[int, int, str]] = {}  # modification time, size and digest by path
        create_tables(engine, _metadata)
        with transaction(self._engine) as connection:
            others = connection.execute(select(_leases.c.fleet).where(_leases.c.fleet != run)).scalars().all()
        if others:
            raise OperationsError(
                f"{shown(engine)}: this is the database of fleet {others[0]}; give each fleet one of its own."
            )

    @classmethod
    def of(cls, folder: Path, run: str, address: str = "") -> FleetReplica:
        """The copy in the database that the folder names, or at another address."""
        return cls(folder, run, engine_of(folder, address))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def take_lease(self, holder: str, *, instead_of: str = "") -> bool:
        """Become the machine that serves the fleet, or stay it; False while another one is.

        Args:
            holder: Whose lease it is, as `new_holder` made it.
            instead_of: Whose lease may be taken before it ends, since it serves the fleet no more: that of a
                process of this folder that was killed.
        """
        with transaction(self._engine) as connection:
            now = _now(connection)
            row = connection.execute(select(_leases).where(_leases.c.fleet == self._run).with_for_update())
            lease = row.mappings().first()
            values = {"holder": holder, "until": now + LEASE_S}
            if lease is None:
                connection.execute(insert(_leases).values(fleet=self._run, **values))
                return True
            if lease["holder"] not in (holder, instead_of) and lease["until"] > now:
                return False
            mine = update(_leases).where(_leases.c.fleet == self._run, _leases.c.holder == lease["holder"])
            return connection.execute(mine.values(**values)).rowcount == 1

    def give_lease_back(self, holder: str) -> None:
        """Let another machine take over at once."""
        with transaction(self._engine) as connection:
            where = _leases.c.fleet == self._run, _leases.c.holder == holder
            connection.execute(update(_leases).where(*where).values(until=0.0))

    def holder(self) -> tuple[str, float]:
        """Whose the lease is, and for how many seconds more; "" and 0 where it is nobody's."""
        with transaction(self._engine) as connection:
            lease = connection.execute(select(_leases).where(_leases.c.fleet == self._run)).mappings().first()
            if lease is None:
                return "", 0.0
            left = lease["until"] - _now(connection)
        return (lease["holder"], left) if left > 0 else ("", 0.0)

    def push(self, holder: str) -> Copied:
        """Copy what has changed in the folder into the database, in one transaction.

        Args:
            holder: Who holds the lease.

        Raises:
            LeaseLost: Another machine serves the fleet; nothing was written.
            OperationsError: The database is gone; nothing was written.
        """
        here = {path: self._digest(path) for path in self._paths()}
        with transaction(self._engine) as connection:
            lease = connection.execute(
                select(_leases.c.holder).where(_leases.c.fleet == self._run).with_for_update()
            ).scalar()
            if lease != holder:
                raise LeaseLost(
                    f"{shown(self._engine)}: {lease or 'nobody'} serves the fleet now; nothing more is "
                    "written from here."
                )
            there = _digests(connection)
            gone = there.keys() - here.keys()
            changed = [path for path, digest in here.items() if there.get(path) != digest]
            for path in changed:
                try:
                    content = (self.folder / path).read_bytes()
                except FileNotFoundError:  # it went meanwhile
                    gone = gone | ({path} & there.keys())
                    continue
                row = {"sha256": _sha256(content), "size": len(content), "content": content}
                if path in there:
                    connection.execute(update(_files).where(_files.c.path == path).values(**row))
                else:
                    connection.execute(insert(_files).values(path=path, **row))
            if gone:
                connection.execute(delete(_files).where(_files.c.path.in_(sorted(gone))))
        return Copied(len(changed), len(gone))

    def pull(self) -> Copied:
        """Make the folder what the database has; private keys, logs and the like stay as they are.

        Raises:
            OperationsError: The database is gone, holds no fleet, or a file in it is damaged.
        """
        here = {path: self._digest(path) for path in self._paths()}
        with transaction(self._engine) as connection:
            there = _digests(connection)
            if not there:
                raise OperationsError(f"{shown(self._engine)}: no fleet was ever copied there.")
            changed = sorted(path for path, digest in there.items() if here.get(path) != digest)
            # What vouches for others comes last: rounds' records name their checkpoints.
            for path in sorted(changed, key=lambda path: (path.startswith("server/rounds/"), path)):
                content = connection.execute(select(_files.c.content).where(_files.c.path == path)).scalar()
                if content is None or _sha256(bytes(content)) != there[path]:
                    raise OperationsError(
                        f"{shown(self._engine)}: {path} is damaged (SHA-256); restore the database."
                    )
                replace_file(self._inside(path), bytes(content), mode=SHARED)
        gone = here.keys() - there.keys()
        for path in gone:
            (self.folder / path).unlink(missing_ok=True)
        return Copied(len(changed), len(gone))

    def _inside(self, path: str) -> Path:
        """A file of the folder; whoever can write the database cannot name one elsewhere."""
        file, parts = self.folder / path, Path(path).parts
        if not parts or Path(path).is_absolute() or ".." in parts or _is_left_out(Path(path)):
            raise OperationsError(f"{shown(self._engine)}: {path!r:.80} is no file of a fleet's folder.")
        return file

    def _paths(self) -> Iterator[str]:
        for folder, folders, files in os.walk(self.folder):
            inside = Path(folder).relative_to(self.folder)
            if inside == Path():
                folders[:] = [name for name in folders if not _is_left_out(Path(name))]
            for name in files:
                path = inside / name
                if not _is_left_out(path):
                    yield path.as_posix()

    def _digest(self, path: str) -> str:
        """The digest of a file, read again only where it has changed; empty where it is gone."""
        try:
            status = (self.folder / path).stat()
            known = self._known.get(path)
            if known is not None and known[:2] == (status.st_mtime_ns, status.st_size):
                return known[2]
            digest = _sha256((self.folder / path).read_bytes())
        except FileNotFoundError:
            return ""
        self._known[path] = status.st_mtime_ns, status.st_size, digest
        return digest


def is_of_this_machine(path: Path) -> bool:
    """Whether a file of a fleet's folder means nothing elsewhere: logs, locks, databases that are open.

    Args:
        path: The file, from the folder on.
    """
    return path.parts[0] in _OF_A_MACHINE or path.name.startswith((".", *_OPEN))


def _is_left_out(path: Path) -> bool:
    """Whether a file is not copied: private keys, too, and where the database is."""
    return path.parts[0] in ("keys", ADDRESS_FILE) or is_of_this_machine(path)


def new_holder() -> str:
    """A name for a lease that no other process has."""
    return f"{socket.gethostname()[:100]}:{os.getpid()}:{secrets.token_hex(8)}"


def _now(connection: Connection) -> float:
    """The database's own clock, in seconds since 1970: machines' clocks differ."""
    clock = "extract(epoch from clock_timestamp())"
    if connection.dialect.name == "sqlite":
        clock = "(julianday('now') - 2440587.5) * 86400.0"
    return float(connection.execute(text(f"SELECT {clock}")).scalar_one())


def _digests(connection: Connection) -> dict[str, str]:
    return {row.path: row.sha256 for row in connection.execute(select(_files.c.path, _files.c.sha256))}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
