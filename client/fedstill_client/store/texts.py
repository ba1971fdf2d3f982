"""Texts that were typed on the device: kept among its examples, as examples of kind "text".

So they are held out, pruned and forgotten as all examples are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from fedstill_client.model.student_store import DeviceStoreError
from fedstill_client.store.database import Database
from fedstill_client.store.examples import is_held_out, next_id

KIND, _CODE = "text", "utf-8"


@dataclass(frozen=True)
class StoredText:
    """A text, and whether it is one of the fifth that is never trained on."""

    id: int
    text: str
    held_out: bool


def add_text(database: Database, text: str, *, observed_at: float, held_out: bool | None = None) -> int:
    """Keep one text, within a transaction; gives its id."""
    number = next_id(database)
    content = text.encode(_CODE)
    database.execute(
        "INSERT INTO examples (id, kind, held_out, observed_at, element_type, shape, x, label_shape, labels) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, '[0]', X'')",
        (
            number,
            KIND,
            int(is_held_out(number) if held_out is None else held_out),
            observed_at,
            _CODE,
            json.dumps([len(content)]),
            content,
        ),
    )
    return number


def read_texts(database: Database, *, after: int = 0) -> Iterator[StoredText]:
    """The texts whose id is above `after`, in the order in which they were typed; raises DeviceStoreError."""
    rows = database.rows(
        "SELECT id, x, held_out FROM examples WHERE kind = ? AND id > ? ORDER BY id", (KIND, after)
    )
    for number, content, held_out in rows:
        try:
            yield StoredText(int(number), bytes(content).decode(_CODE), bool(held_out))
        except (TypeError, UnicodeDecodeError):
            raise DeviceStoreError(
                f"{database.file}: text {number} is damaged; run: fedstill-agent forget --id {number}"
            ) from None


def count_texts(database: Database) -> int:
    """How many texts are kept."""
    return int(database.value("SELECT COUNT(*) FROM examples WHERE kind = ?", (KIND,)))
