"""Texts that were typed on the device: kept among its examples, as examples of kind "text".

So they are held out, pruned and forgotten as all examples are. What must not be learned is never written:
add_text keeps the learnable text alone (fedstill_proto.text.private_text).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fedstill_proto.text.private_text import learnable

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
    observed_at: float = 0.0  # in seconds since 1970


def add_text(database: Database, text: str, *, observed_at: float, held_out: bool | None = None) -> int:
    """Keep what may be learned of one text, within a transaction; gives its id."""
    number = next_id(database)
    content = learnable(text).text.encode(_CODE)
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
        "SELECT id, x, held_out, observed_at FROM examples WHERE kind = ? AND id > ? ORDER BY id",
        (KIND, after),
    )
    for number, content, held_out, observed_at in rows:
        try:
            yield StoredText(int(number), bytes(content).decode(_CODE), bool(held_out), float(observed_at))
        except (TypeError, UnicodeDecodeError):
            raise DeviceStoreError(
                f"{database.file}: text {number} is damaged; run: fedstill-agent forget --id {number}"
            ) from None


def count_texts(database: Database) -> int:
    """How many texts are kept."""
    return int(database.value("SELECT COUNT(*) FROM examples WHERE kind = ?", (KIND,)))


def rewrite_texts(database: Database, rewrite: Callable[[str], str]) -> int:
    """Put what `rewrite` makes of each text in its place, within a transaction; gives how many changed.

    SQLite overwrites what stood there; what is damaged stays as it is.
    """
    changed = 0
    for number, content in database.rows("SELECT id, x FROM examples WHERE kind = ? ORDER BY id", (KIND,)):
        try:
            text = bytes(content).decode(_CODE)
        except (TypeError, UnicodeDecodeError):
            continue
        after = rewrite(text)
        if after != text:
            kept = after.encode(_CODE)
            database.execute(
                "UPDATE examples SET x = ?, shape = ? WHERE id = ?", (kept, json.dumps([len(kept)]), number)
            )
            changed += 1
    return changed
