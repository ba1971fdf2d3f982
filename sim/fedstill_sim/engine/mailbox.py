"""Answers on their way to the server, on disk: what was not due yet is not lost when a run is killed.

Flower's SuperLink keeps messages in its database; this is that of the in-process Grid, for runs in which time
passes. Answers that nobody asks for any more are harmless: who resumes a run knows which ones it waits for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fedstill_proto.flower_records import pack, unpack
from flwr.app import Error, RecordDict

MAILBOX_FILE = "mailbox.db"
_MOST_BYTES = 1 << 40  # the engine's own answers: as long as they are

_TABLE = """
CREATE TABLE IF NOT EXISTS letters (
    message_id TEXT PRIMARY KEY, round INTEGER, due_s REAL, device INTEGER, code INTEGER, body BLOB
)"""


@dataclass(frozen=True)
class Letter:
    """A device's answer to a train message of a round, and when it arrives."""

    message_id: str
    round: int
    due_s: float
    device: int
    content: RecordDict | Error


class Mailbox:
    """The letters of a run, by the id of the message that they answer."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / MAILBOX_FILE
        self._connection = sqlite3.connect(self._path)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute(_TABLE)

    def put(self, letters: Iterable[Letter]) -> None:
        """Keep the letters; one that a killed run left under the same id is replaced."""
        with self._connection:
            self._connection.executemany(
                "INSERT OR REPLACE INTO letters VALUES (?, ?, ?, ?, ?, ?)", map(_row, letters)
            )

    def letters(self, *, until_round: int) -> list[Letter]:
        """Of rounds that are committed; what a killed run did after that is done again."""
        rows = self._connection.execute(
            "SELECT message_id, round, due_s, device, code, body FROM letters WHERE round <= ? "
            "ORDER BY due_s, message_id",
            (until_round,),
        )
        return [_letter(*row) for row in rows]

    def close(self, *, remove: bool) -> None:
        """Close the file; `remove` it when the run is over."""
        self._connection.close()
        if remove:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


def _row(letter: Letter) -> tuple[str, int, float, int, int | None, bytes]:
    content = letter.content
    if isinstance(content, Error):
        code, body = content.code, (content.reason or "").encode()
    else:
        code, body = None, unpack(content, "SoftLabelSummary", size_limit_bytes=_MOST_BYTES)
    return letter.message_id, letter.round, letter.due_s, letter.device, code, body


def _letter(
    message_id: str, round_number: int, due_s: float, device: int, code: int | None, body: bytes
) -> Letter:
    content = pack("SoftLabelSummary", body) if code is None else Error(code, body.decode())
    return Letter(message_id, round_number, due_s, device, content)
