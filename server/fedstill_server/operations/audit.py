"""What operators did to a fleet, in a log that shows whether somebody has changed it.

FLEET/audit.jsonl has a line for each act: {"number", "at", "who", "action", "details", "before", "digest"}.
`digest` is SHA-256 over the line without it, and `before` that of the line before (a hash chain; Haber
and Stornetta 1991). Whoever can write the file can write all of it anew: a copy of the last digest elsewhere
shows that, too.
"""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedstill_server.operations.errors import OperationsError

FILE = "audit.jsonl"
BLANK = "0" * 64
"""What the first line has as the digest before it."""


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """An act of an operator; `at` is in seconds since 1970."""

    number: int
    at: float
    who: str
    action: str
    details: dict[str, object]
    before: str
    digest: str

    @classmethod
    def of(cls, line: bytes) -> AuditEntry:
        """Read a line; raises OperationsError where it is none, or was changed."""
        try:
            document = json.loads(line)
            entry = cls(**document)
            del document["digest"]
        except (ValueError, TypeError, KeyError):
            raise OperationsError("it is no entry of an audit log") from None
        if _digest(document) != entry.digest:
            raise OperationsError("it is not what was written (SHA-256)")
        return entry


class AuditLog:
    """The log of a fleet's folder."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.file, self._clock = folder / FILE, clock

    def append(self, action: str, **details: object) -> AuditEntry:
        """Write down what an operator does; on the disk when this returns.

        Args:
            action: One word, such as "register"; the command's name.
            details: What JSON holds.

        Raises:
            OperationsError: The log cannot be written.
        """
        try:
            with self.file.open("a+b") as log:
                fcntl.flock(log, fcntl.LOCK_EX)
                last = self._last(log.seek(0, os.SEEK_END))
                document = {
                    "number": 1 if last is None else last.number + 1,
                    "at": round(self._clock(), 3),
                    "who": _who(),
                    "action": action,
                    "details": json.loads(json.dumps(details, default=str)),
                    "before": BLANK if last is None else last.digest,
                }
                whole = {**document, "digest": _digest(document)}
                log.write(json.dumps(whole).encode() + b"\n")
                log.flush()
                os.fsync(log.fileno())
        except OSError as error:
            raise OperationsError(f"{self.file}: cannot be written: {error.strerror}.") from None
        return AuditEntry(**whole)

    def entries(self) -> list[AuditEntry]:
        """All entries that can be read, first to last."""
        found = []
        for line in self._lines():
            try:
                found.append(AuditEntry.of(line))
            except OperationsError:
                continue
        return found

    def check(self) -> list[str]:
        """What is wrong with the log, in words that name the line; empty where nothing is."""
        problems, before, number = [], BLANK, 0
        for place, line in enumerate(self._lines(), start=1):
            try:
                entry = AuditEntry.of(line)
            except OperationsError as error:
                problems.append(f"{self.file}: line {place}: {error}")
                continue
            if (entry.before, entry.number) != (before, number + 1):
                problems.append(f"{self.file}: line {place}: it does not follow on the line before")
            before, number = entry.digest, entry.number
        return problems

    def _last(self, size: int) -> AuditEntry | None:
        """The last whole entry, after cutting off what a killed writer left."""
        if size == 0:
            return None
        content = self.file.read_bytes()
        if not content.endswith(b"\n"):
            whole = content[: content.rfind(b"\n") + 1]
            os.truncate(self.file, len(whole))
            content = whole
        for line in reversed(content.splitlines()):
            try:
                return AuditEntry.of(line)
            except OperationsError:
                continue  # check() names it
        return None

    def _lines(self) -> list[bytes]:
        try:
            return self.file.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise OperationsError(f"{self.file}: cannot be read: {error.strerror}.") from None


def _digest(document: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"user {os.getuid()}"
