"""Where a fleet's database is: database.json in its folder, and how it is reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedstill_proto.system.files import PRIVATE
from fedstill_proto.system.sealed import read_sealed_json, write_sealed_json
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from fedstill_server.operations.errors import OperationsError

ADDRESS_FILE = "database.json"
FACTS_FILE = "operations.db"
_BUSY_S = 10.0
_CONNECT_WITHIN_S = 10
_POSTGRESQL = "postgresql+psycopg"


def database_address(folder: Path) -> str:
    """The address of a fleet's shared database; empty where it has none, and keeps its state on its disk.

    Raises:
        DamagedFile: database.json is not what was written.
    """
    try:
        document = read_sealed_json(
            folder / ADDRESS_FILE, remedy="run: fedstill-server database FLEET ADDRESS"
        )
    except FileNotFoundError:
        return ""
    return str(document.get("address", "")) if isinstance(document, dict) else ""


def write_database_address(folder: Path, address: str) -> None:
    """Note where the fleet's shared database is; raises OperationsError for what is no address."""
    write_sealed_json(folder / ADDRESS_FILE, {"address": checked_address(address)}, mode=PRIVATE)


def checked_address(address: str) -> str:
    """An address as SQLAlchemy takes it; raises OperationsError for what is none, or another database's."""
    try:
        url = make_url(address)
    except ArgumentError:
        url = None
    if url is None or url.get_backend_name() not in ("postgresql", "sqlite"):
        shown = address if "@" not in address else f"...@{address.rsplit('@', 1)[1]}"
        raise OperationsError(
            f"database: {shown!r} is no address of a database; give postgresql://user@host/name "
            "(the password from PGPASSWORD or ~/.pgpass)."
        )
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername=_POSTGRESQL)
    return url.render_as_string(hide_password=False)


def engine_of(folder: Path, address: str = "") -> Engine:
    """The engine of a fleet's database.

    Args:
        folder: The fleet's folder.
        address: Takes the place of what database.json says.

    Raises:
        OperationsError: The address is none, or what reaches it is not installed.
    """
    address = address or database_address(folder)
    if not address:
        engine = create_engine(f"sqlite:///{folder / FACTS_FILE}", connect_args={"timeout": _BUSY_S})
        event.listen(engine, "connect", _quick)
        return engine
    address = checked_address(address)
    if address.startswith("sqlite"):
        return create_engine(address, connect_args={"timeout": _BUSY_S})
    try:
        # A connection for each transaction: nothing holds one that a database which was away has forgotten.
        return create_engine(address, poolclass=NullPool, connect_args={"connect_timeout": _CONNECT_WITHIN_S})
    except (ImportError, NoSuchModuleError):
        raise OperationsError(
            "database: PostgreSQL needs psycopg; run: pip install 'fedstill[postgresql]'"
        ) from None


def shown(engine: Engine) -> str:
    """The address for people, without its password."""
    return engine.url.render_as_string(hide_password=True)


def _quick(connection: Any, record: object) -> None:
    """SQLite for several processes: readers beside a writer, and few syncs, as facts may be lost."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
