"""Utterances that were not understood: kept for their owner to say what they mean.

They lie among the device's examples, of kind "unclear" and without a label: so they age, are pruned and are
forgotten as all examples are, and nothing learns from them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from fedstill_client.model.student_store import DeviceStoreError
from fedstill_client.store.database import Database
from fedstill_client.store.examples import UNCLEAR, next_id, note_last_id

MOST_KEPT = 500
"""Utterances; of more, the oldest go."""
_CODE = "utf-8"


@dataclass(frozen=True)
class StoredUtterance:
    """An utterance that was not understood, and when it was heard last, in seconds since 1970."""

    id: int
    text: str
    heard_at: float


def add_unclear(database: Database, text: str, *, heard_at: float) -> int:
    """Keep an utterance, within a transaction; gives its id. One that is there already is there once."""
    content = text.encode(_CODE)
    _delete(database, "x = ?", (content,))
    number = next_id(database)
    database.execute(
        "INSERT INTO examples (id, kind, held_out, observed_at, element_type, shape, x, label_shape, labels) "
        "VALUES (?, ?, 0, ?, ?, ?, ?, '[0]', X'')",
        (number, UNCLEAR, heard_at, _CODE, json.dumps([len(content)]), content),
    )
    _delete(
        database,
        "id NOT IN (SELECT id FROM examples WHERE kind = ? ORDER BY id DESC LIMIT ?)",
        (UNCLEAR, MOST_KEPT),
    )
    return number


def read_unclear(database: Database) -> list[StoredUtterance]:
    """All of them, the newest first; raises DeviceStoreError."""
    rows = database.rows(
        "SELECT id, x, observed_at FROM examples WHERE kind = ? ORDER BY id DESC", (UNCLEAR,)
    )
    found = []
    for number, content, heard_at in rows:
        try:
            found.append(StoredUtterance(int(number), bytes(content).decode(_CODE), float(heard_at)))
        except (TypeError, UnicodeDecodeError):
            raise DeviceStoreError(
                f"{database.file}: utterance {number} is damaged; run: fedstill-agent forget --id {number}"
            ) from None
    return found


def drop_unclear(database: Database, number: int) -> None:
    """Delete one of them, within a transaction."""
    _delete(database, "id = ?", (number,))


def _delete(database: Database, condition: str, values: tuple[object, ...]) -> None:
    last = next_id(database) - 1
    found = database.execute(
        f"DELETE FROM examples WHERE kind = ? AND {condition}", (UNCLEAR, *values)
    ).rowcount
    if found:
        note_last_id(database, last)
