"""Replies on their way to the server, on disk: what was not due yet is not lost when a run is killed.

Flower's SuperLink keeps messages in its database; this is the database of the in-process Grid, for runs in
which virtual time passes. Replies that nobody asks for any more are harmless: the server that resumes a run
knows which ones it waits for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from fedstill_proto.flower_records import pack, unpack
from flwr.app import Error, RecordDict

PENDING_FILE = "pending_replies.db"
_MOST_BYTES = 1 << 40  # no limit: the engine's own replies are as long as they are

_TABLE = """
CREATE TABLE IF NOT EXISTS replies (
    message_id TEXT PRIMARY KEY, round INTEGER, due_s REAL, device INTEGER, code INTEGER, body BLOB
)"""

# What became of tasks in virtual time by a trace: 0 interrupted, 1 worked, 2 answered.
_WORK_TABLE = """
CREATE TABLE IF NOT EXISTS work (round INTEGER, device INTEGER, outcome INTEGER, PRIMARY KEY (round, device))
"""


@dataclass(frozen=True)
class PendingReply:
    """A device's reply to a train message of a round, and the virtual second at which it arrives."""

    message_id: str
    round: int
    due_s: float
    device: int
    content: RecordDict | Error


class PendingReplies:
    """The pending replies of a run, by the id of the message that they reply to."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / PENDING_FILE
        self._connection = sqlite3.connect(self._path)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute(_TABLE)
        self._connection.execute(_WORK_TABLE)

    def put(self, replies: Iterable[PendingReply]) -> None:
        """Keep replies; one that a killed run left under the same id is replaced."""
        with self._connection:
            self._connection.executemany(
                "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?)", map(_row, replies)
            )

    def replies(self, *, until_round: int) -> list[PendingReply]:
        """Return the replies of committed rounds, the earliest first; later rounds are done again."""
        rows = self._connection.execute(
            "SELECT message_id, round, due_s, device, code, body FROM replies WHERE round <= ? "
            "ORDER BY due_s, message_id",
            (until_round,),
        )
        return [_reply_of(*row) for row in rows]

    def note_work(self, rows: Iterable[tuple[int, int, int]]) -> None:
        """Note tasks as (round, device, outcome); those of a round that is done again are replaced."""
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO work VALUES (?, ?, ?)", rows)

    def work_counts(self, devices: int) -> dict[str, npt.NDArray[np.int64]]:
        """How many tasks each device got, worked on and answered, by these names [devices]."""
        counts = {name: np.zeros(devices, np.int64) for name in ("tasks", "worked", "answers")}
        for device, outcome, number in self._connection.execute(
            "SELECT device, outcome, COUNT(*) FROM work GROUP BY device, outcome"
        ):
            for place, name in enumerate(counts):
                counts[name][device] += number * (outcome >= place)
        return counts

    def close(self, *, remove: bool) -> None:
        """Close the file, and remove it if the run is over."""
        self._connection.close()
        if remove:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


def _row(reply: PendingReply) -> tuple[str, int, float, int, int | None, bytes]:
    content = reply.content
    if isinstance(content, Error):
        code, body = content.code, (content.reason or "").encode()
    else:
        code, body = None, unpack(content, "SoftLabelSummary", size_limit_bytes=_MOST_BYTES)
    return reply.message_id, reply.round, reply.due_s, reply.device, code, body


def _reply_of(
    message_id: str, round_number: int, due_s: float, device: int, code: int | None, body: bytes
) -> PendingReply:
    content = pack("SoftLabelSummary", body) if code is None else Error(code, body.decode())
    return PendingReply(message_id, round_number, due_s, device, content)
