"""Erases rows so that no byte of them is left in the database's files, also where the disk is full.

What is large is overwritten with zeros where it stands, piece by piece; then rows are deleted, few at a time,
and SQLite overwrites them (secure_delete). After each piece the write-ahead file begins anew: so it stays
small. Where there is no room for a piece, smaller ones are tried, down to one row or page: they fit into what
the write-ahead file has already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedstill_client.store.database import Database, DiskFull

_PIECE_BYTES = 1 << 18  # that one transaction changes at most, but for SQLite's own pages
_LEAST_BYTES = 1 << 12
_ROWS = 500


@dataclass(frozen=True)
class Erasing:
    """Erases in one database; each method may be cut off at any moment, and be called again."""

    database: Database

    def delete(self, table: str, columns: Sequence[str], where: str, values: tuple[Any, ...] = ()) -> None:
        """Delete the rows of a table that `where` says.

        Args:
            table: Its name.
            columns: Those that hold what is to be erased.
            where: An SQL condition.
            values: Those of its parameters.

        Raises:
            DiskFull: There is no room for the smallest piece.
        """
        size = " + ".join(f"COALESCE(LENGTH({column}), 0)" for column in columns)
        question = f"SELECT rowid, {size} FROM {table} WHERE {where} ORDER BY rowid LIMIT {_ROWS}"
        while rows := self.database.rows(question, values):
            number, many = rows[0]
            if many > _PIECE_BYTES:
                self._delete_large(table, columns, number)
                continue
            together: list[int] = []
            total = 0
            for number, many in rows:
                total += many
                if together and total > _PIECE_BYTES:
                    break
                together.append(number)
            self._delete_rows(table, together)

    def clear(self, table: str, column: str) -> None:
        """Make a column null in all rows of a table."""
        for (number,) in self.database.rows(f"SELECT rowid FROM {table} WHERE {column} IS NOT NULL"):
            self._overwrite(table, column, number)
            self._do(f"UPDATE {table} SET {column} = NULL WHERE rowid = ?", (number,))

    def _delete_rows(self, table: str, numbers: Sequence[int]) -> None:
        """Delete rows together, or half of them at a time where there is no room for all."""
        marks = ", ".join("?" * len(numbers))
        try:
            self._do(f"DELETE FROM {table} WHERE rowid IN ({marks})", tuple(numbers))
        except DiskFull:
            if len(numbers) == 1:
                raise
            half = len(numbers) // 2
            self._delete_rows(table, numbers[:half])
            self._delete_rows(table, numbers[half:])

    def _delete_large(self, table: str, columns: Sequence[str], number: int) -> None:
        for column in columns:
            self._overwrite(table, column, number)
        # There are only zeros left: to write them once more would take as much room as the row.
        self.database.execute("PRAGMA secure_delete=OFF")
        try:
            self._do(f"DELETE FROM {table} WHERE rowid = ?", (number,))
        finally:
            self.database.execute("PRAGMA secure_delete=ON")

    def _overwrite(self, table: str, column: str, number: int) -> None:
        """Put zeros in place of a value: of the same length, so that SQLite writes only what changes."""
        question = f"SELECT LENGTH({column}) FROM {table} WHERE rowid = ?"
        length = int(self.database.value(question, (number,)) or 0)
        start, piece = 0, _PIECE_BYTES
        while start < length:
            many = min(piece, length - start)
            try:
                # What stands before and after is the same, and pages that do not change are not written.
                self._do(
                    f"UPDATE {table} SET {column} = CAST(substr({column}, 1, ?) || zeroblob(?) || "
                    f"substr({column}, ?) AS BLOB) WHERE rowid = ?",
                    (start, many, start + many + 1, number),
                )
                start += many
            except DiskFull:
                if piece <= _LEAST_BYTES:
                    raise
                piece //= 2

    def _do(self, statement: str, values: tuple[Any, ...]) -> None:
        """Change something; the write-ahead file begins anew, so that it stays as small as it is."""
        self.database.execute(statement, values)
        self.database.begin_log_anew()
