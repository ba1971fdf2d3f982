"""The private store's database: SQLite as a device wants it, encrypted by SQLCipher when there is a key.

WAL with synchronous=FULL: a transaction that returned has been fsynced. secure_delete: what is deleted is
overwritten with zeros. Beside it lies a reserve, <file>.reserve, that is given up where the disk is full and
something is to be erased.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedstill_proto.system.extras import explain_missing
from fedstill_proto.system.files import sync_folder

from fedstill_client.model.student_store import DeviceStoreError
from fedstill_client.store.keys import check_private

SCHEMA_VERSION = 4
LAST_EXAMPLE = "last example"
"""The setting that holds the highest id of an example that was ever deleted: none is given twice."""
_BUSY_S = 30.0
RESERVE_BYTES = 1 << 20
"""Set aside for erasing on a full disk."""
_STEP_BYTES = 1 << 18  # of the reserve that is used at once
_LOG_BYTES = 1 << 17  # of them for the write-ahead file; to open a database takes less than the rest
_PLENTY = 8  # times the reserve: who has less keeps none, and others have the room
_PLAIN_HEADER = b"SQLite format 3\0"
_WORD_TABLES = """
CREATE TABLE IF NOT EXISTS dictionary (
    word TEXT PRIMARY KEY,                 -- its key: lower case and so on
    written TEXT NOT NULL,
    count INTEGER NOT NULL,                -- how often it is used, as far as its owner says
    added_at REAL NOT NULL                 -- seconds since 1970
);
CREATE TABLE IF NOT EXISTS blocked (word TEXT PRIMARY KEY, blocked_at REAL NOT NULL)
"""
_SCHEMA = f"""
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE examples (
    id INTEGER PRIMARY KEY,                -- never given twice (see examples.py)
    kind TEXT NOT NULL,
    held_out INTEGER NOT NULL,
    observed_at REAL NOT NULL,             -- seconds since 1970
    element_type TEXT NOT NULL,            -- of x: float32 or int64
    shape TEXT NOT NULL,
    x BLOB NOT NULL,
    label_shape TEXT NOT NULL,
    labels BLOB NOT NULL                   -- int64
);
CREATE TABLE students (
    package_version INTEGER NOT NULL,
    role TEXT NOT NULL,                    -- current, previous, fleet; .control behind it: what is beside
    run TEXT NOT NULL,
    round INTEGER NOT NULL,
    weights BLOB NOT NULL,                 -- safetensors
    PRIMARY KEY (package_version, role)
);
CREATE TABLE learning (only INTEGER PRIMARY KEY CHECK (only = 1), progress BLOB NOT NULL);
CREATE TABLE soft_labels (
    package_version INTEGER PRIMARY KEY, run TEXT NOT NULL, round INTEGER NOT NULL, labels BLOB NOT NULL
);
CREATE TABLE releases (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run TEXT NOT NULL,
    round INTEGER NOT NULL,
    kind TEXT NOT NULL,
    amount INTEGER NOT NULL,               -- numbers released
    bytes INTEGER NOT NULL,
    digest TEXT NOT NULL,                  -- SHA-256 of the bytes
    mechanism TEXT NOT NULL,
    rho REAL,                              -- what it cost, in zCDP; null: no bound
    summary BLOB,                          -- a noised answer, for as long as it may be sent again
    released_at REAL NOT NULL,
    UNIQUE (run, round, digest)
);
CREATE TABLE installations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    version INTEGER NOT NULL,
    family TEXT NOT NULL,
    folder TEXT NOT NULL,
    manifest_sha256 TEXT NOT NULL,
    installed_at REAL NOT NULL
);
{_WORD_TABLES}"""
_UPGRADES = {
    # Version 1 knew of no noise.
    1: """
ALTER TABLE releases DROP COLUMN epsilon;
ALTER TABLE releases DROP COLUMN delta;
ALTER TABLE releases ADD COLUMN rho REAL;
ALTER TABLE releases ADD COLUMN summary BLOB
""",
    # In version 2, SQLite counted the examples, in a page of its own that each of them wrote anew.
    2: f"""
INSERT OR REPLACE INTO settings SELECT '{LAST_EXAMPLE}', seq FROM sqlite_sequence WHERE name = 'examples'
""",
    # Version 3 knew no words but those of texts.
    3: _WORD_TABLES,
}
# Each example writes a few pages, however small it is. SQLCipher's are of a size that it has to be told.
_PAGE_BYTES = 1024

log = logging.getLogger("fedstill.store")


class DiskFull(DeviceStoreError):
    """There is no room for a change."""


class Database:
    """An open database; every error of SQLite becomes a DeviceStoreError that names the file."""

    def __init__(self, file: Path, key: bytes | None) -> None:
        self.file = file
        self._module = _sqlcipher() if key is not None else sqlite3
        with self._as_store_errors():
            self._connection = self._module.connect(
                str(file), timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            if key is not None:
                self._connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
            else:
                self._connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a new one
        pragmas = (
            "journal_mode=WAL",
            "synchronous=FULL",
            "secure_delete=ON",
            "foreign_keys=ON",
            "wal_autocheckpoint=4000",  # pages
        )
        try:
            for pragma in pragmas:
                self.rows(f"PRAGMA {pragma}")
        except DiskFull:
            # Even to read takes a little room beside the database.
            if not self.use_reserve():
                raise
            for pragma in pragmas:
                self.rows(f"PRAGMA {pragma}")

    @classmethod
    def create(cls, file: Path, key: bytes | None) -> Database:
        """A new database with empty tables, made beside its place and renamed: there is never half of it."""
        if file.exists():
            raise DeviceStoreError(f"{file}: there is a private store already.")
        new = file.with_name(file.name + ".new")
        try:
            for leftover in (new, *_companions(new)):
                leftover.unlink(missing_ok=True)
            os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            cls(new, key)._fill()
            new.rename(file)
            sync_folder(file.parent)
        except OSError as error:
            raise DeviceStoreError(f"{file}: cannot be made: {error.strerror}.") from None
        return cls(file, key)

    @classmethod
    def open(cls, file: Path, key: bytes | None) -> Database:
        """A database that is there; refused when it is of another version, or others may read it."""
        check_private(file)
        try:
            database = cls(file, key)
        except DeviceStoreError:
            _check_header(file, key)
            raise
        while database.value("PRAGMA user_version") in _UPGRADES:
            database._upgrade()
        database.make_reserve()
        version = database.value("PRAGMA user_version")
        if version != SCHEMA_VERSION:
            database.close()
            raise DeviceStoreError(
                f"{file}: is a private store of version {version}, this agent reads {SCHEMA_VERSION}; "
                "install the agent that wrote it."
            )
        return database

    def close(self) -> None:
        with self._as_store_errors():
            self._connection.close()

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        """A cursor over the rows."""
        with self._as_store_errors():
            return self._connection.execute(statement, values)

    def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._as_store_errors():
            return list(self._connection.execute(statement, values).fetchall())

    def value(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        """The first column of the first row; None where there is no row."""
        rows = self.rows(statement, values)
        return rows[0][0] if rows else None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that happens within is there after the end, fsynced, or none of it."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself where there was no room for the change.
            if self._connection.in_transaction:
                self.execute("ROLLBACK")
            raise

    @property
    def generation(self) -> int:
        """Another number after every committed write, of this process or another."""
        others = int(self.value("PRAGMA data_version"))
        return others << 40 | int(self._connection.total_changes)

    def begin_log_anew(self) -> None:
        """Move what was written to its place, and let the write-ahead file begin anew, unless others read."""
        self.rows("PRAGMA wal_checkpoint(RESTART)")

    def make_reserve(self, *, scarce: bool = False) -> None:
        """Set room aside for erasing.

        Args:
            scarce: Whether to do so also where there is little room.
        """
        file, plenty = self._reserve, 1 if scarce else _PLENTY
        try:
            if file.exists() and file.stat().st_size >= RESERVE_BYTES:
                return
            if shutil.disk_usage(file.parent).free < plenty * RESERVE_BYTES:
                return
            _allocate(file, RESERVE_BYTES)
        except OSError:
            return  # erasing needs it only on a full disk, and tries without it, too

    def use_reserve(self) -> bool:
        """Give a part of the room that was set aside to the write-ahead file; gives whether there was any."""
        file, log_file = self._reserve, _companions(self.file)[0]
        try:
            left = file.stat().st_size - _STEP_BYTES
            if left < 0:
                return False
            os.truncate(file, left)
            # At once, before somebody else takes it. SQLite reads a log up to the last good page: no zeros.
            if log_file.exists() and log_file.stat().st_size < _LOG_BYTES:
                _allocate(log_file, _LOG_BYTES)
        except OSError:
            return False
        return True

    @property
    def _reserve(self) -> Path:
        return self.file.with_name(self.file.name + ".reserve")

    def erase_deleted(self) -> None:
        """Leave no byte of what was deleted in the files, and give their room back where that can be done."""
        try:
            self.execute("VACUUM")
        except DiskFull:
            # It needs as much room as the whole database; what was deleted has been overwritten already.
            log.warning("%s: everything was erased; the file is made smaller when there is room", self.file)
        busy = self.value("PRAGMA wal_checkpoint(TRUNCATE)")
        if busy:
            raise DeviceStoreError(
                f"{self.file}: deleted, but another process is reading, so that old pages are still in the "
                "write-ahead file; forget once more when it has ended."
            )

    def _upgrade(self) -> None:
        """Bring a store of an earlier version up by one; another process may be first."""
        with self.transaction():
            version = int(self.value("PRAGMA user_version"))
            if version in _UPGRADES:
                for statement in _UPGRADES[version].split(";\n"):
                    self.execute(statement)
                self.execute(f"PRAGMA user_version = {version + 1}")

    def _fill(self) -> None:
        """Make the tables, and close."""
        with self.transaction():
            for statement in _SCHEMA.split(";\n"):
                self.execute(statement)
            self.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self.value("PRAGMA wal_checkpoint(TRUNCATE)")  # all of it is in the one file that is renamed
        self.close()

    @contextmanager
    def _as_store_errors(self) -> Iterator[None]:
        try:
            yield
        except self._module.Error as error:
            if self._is_for_want_of_room(error):
                raise DiskFull(
                    f"{self.file}: the disk is full ({error}). Nothing was changed; make room, and try again."
                ) from None
            raise DeviceStoreError(
                f"{self.file}: {error}. Nothing was changed; keep the file, and check disk and key."
            ) from None

    def _is_for_want_of_room(self, error: Exception) -> bool:
        """SQLite says so itself, but where it cannot make the file that its processes share."""
        if "is full" in str(error):
            return True
        return "disk I/O error" in str(error) and shutil.disk_usage(self.file.parent).free < _STEP_BYTES


def _check_header(file: Path, key: bytes | None) -> None:
    """Say why a file cannot be opened, where its first bytes tell.

    Only then: to close a file that SQLite has open, too, takes the locks off it that this process holds. The
    next process to end would take itself for the last one, and remove the write-ahead file under us.
    """
    with file.open("rb") as opened:
        plain = opened.read(len(_PLAIN_HEADER)) == _PLAIN_HEADER
    if plain and key is not None:
        raise DeviceStoreError(f"{file}: is not encrypted, although a key for it is there.")
    if not plain and key is None:
        raise DeviceStoreError(f"{file}: is encrypted or damaged, and no key for it is there.")


def _allocate(file: Path, size: int) -> None:
    """Give a file so many bytes on the disk; what it holds stays."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(handle, 0, size)
    finally:
        os.close(handle)


def _companions(file: Path) -> tuple[Path, Path]:
    """What SQLite keeps beside a database that is open."""
    return file.with_name(file.name + "-wal"), file.with_name(file.name + "-shm")


def _sqlcipher() -> Any:
    with explain_missing("an encrypted private store"):
        from sqlcipher3 import dbapi2
    return dbapi2
