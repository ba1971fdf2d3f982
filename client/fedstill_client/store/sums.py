"""The sum that a device takes part in (see fedstill_client.secure_sums), in the private store's database.

There is one at a time: the secrets of the last one are gone when the next begins.
"""

from __future__ import annotations

from collections.abc import Callable

from fedstill_client.store.database import Database
from fedstill_client.store.erasing import Erasing

_TABLE = (
    "CREATE TABLE IF NOT EXISTS sums "
    "(only INTEGER PRIMARY KEY CHECK (only = 1), run TEXT NOT NULL, round INTEGER NOT NULL, "
    "state BLOB NOT NULL)"
)


class SumTable:
    """What a device keeps of a sum between two messages."""

    def __init__(self, database: Database, *, check_not_forgotten: Callable[[], None]) -> None:
        """Open the table; `check_not_forgotten` raises where a sum's numbers came of forgotten examples."""
        self._database = database
        self._check_not_forgotten = check_not_forgotten

    def keep(self, run: str, round: int, state: bytes) -> None:
        """Keep the state of a round's sum in place of any other; within a transaction."""
        self._check_not_forgotten()
        self._database.execute(_TABLE)
        self._database.execute("INSERT OR REPLACE INTO sums VALUES (1, ?, ?, ?)", (run, round, state))

    def state(self) -> bytes | None:
        """The state of the last round's sum; None where there is none."""
        return self._found()

    def state_of(self, run: str, round: int) -> bytes | None:
        """The same, if it is of this round."""
        return self._found("WHERE run = ? AND round = ?", (run, round))

    def erase(self, erasing: Erasing) -> None:
        """Keep nothing, and leave no byte of it; not within a transaction."""
        if self._is_there():
            erasing.delete("sums", ("state",), "TRUE")

    def _found(self, where: str = "", values: tuple[str | int, ...] = ()) -> bytes | None:
        if not self._is_there():
            return None
        blob = self._database.value(f"SELECT state FROM sums {where}", values)
        return None if blob is None else bytes(blob)

    def _is_there(self) -> bool:
        return bool(self._database.rows("SELECT 1 FROM sqlite_master WHERE name = 'sums'"))
