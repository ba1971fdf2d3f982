"""The device's privacy ledger: what has left it. A release is written here before its first byte leaves.

The ledger may count a release that never arrived (the power failed in between), and never misses one. What
noised releases cost adds up, in zCDP (fedstill_proto.privacy.zcdp).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from fedstill_proto.checks import check_integer, check_name
from fedstill_proto.errors import FedstillError, InvalidValue

from fedstill_client.store.database import Database

_LARGEST = (1 << 63) - 1
_KEPT_ANSWERS = 4  # noised ones that can be sent again: a server that asks for older ones has moved on
_ROUNDING = 1e-9  # of a budget: rounds that fit to the last digit are not refused for float64's sake


class BudgetSpent(FedstillError):
    """The budget does not cover a release."""


@dataclass(frozen=True)
class Release:
    """A message made from private data. `rho` is infinite where no mechanism bounds what it reveals."""

    run: str
    round: int
    kind: str  # the summary's, or "evaluation": counts of right answers
    values: int  # numbers in it
    bytes: int  # as sent
    digest: str  # SHA-256 of the bytes, hexadecimal
    mechanism: str = "none"
    rho: float = math.inf

    def __post_init__(self) -> None:
        for name in ("run", "kind", "mechanism"):
            check_name(name, getattr(self, name))
        for name in ("round", "values", "bytes"):
            check_integer(name, getattr(self, name), 0, _LARGEST)
        if len(self.digest) != 64 or set(self.digest) - set("0123456789abcdef"):
            raise InvalidValue("digest", f"{self.digest[:70]!r} is not 64 hexadecimal digits")
        if not self.rho >= 0:
            raise InvalidValue("rho", f"{self.rho} is not 0 or more")


@dataclass(frozen=True)
class ReleaseTotals:
    """All releases together. rho: of those that are bounded; `unbounded` ones are not."""

    releases: int
    values: int
    bytes: int
    rho: float
    unbounded: int


class Ledger:
    """The releases in the private store's database."""

    def __init__(self, database: Database, *, check_not_forgotten: Callable[[], None] = lambda: None) -> None:
        """Open the ledger.

        Args:
            database: The private store's.
            check_not_forgotten: Raises where what is about to be released came from examples that were
                forgotten meanwhile.
        """
        self._database = database
        self._check_not_forgotten = check_not_forgotten

    def debit(self, release: Release) -> None:
        """Write a release down; on disk when this returns. The very same bytes again reveal nothing new."""
        with self._database.transaction():
            self._check_not_forgotten()
            self._insert(release, None)

    def debit_noised(self, release: Release, summary: bytes, *, budget: float | None) -> bytes:
        """Write a noised release down with its bytes.

        Args:
            release: What leaves the device.
            summary: Its bytes.
            budget: The most rho of all noised releases together; None is no limit.

        Returns:
            What is to be sent: the answer to the same round from before, if there was one, which costs
            nothing again.

        Raises:
            BudgetSpent: The budget does not cover this release; nothing is written.
        """
        with self._database.transaction():
            self._check_not_forgotten()
            sent = self.noised_answer(release.run, release.round)
            if sent is not None:
                return sent
            if budget is not None and not self.covers(release.rho, budget):
                raise BudgetSpent("the budget does not cover another release")
            self._insert(release, summary)
            self._database.execute(
                "UPDATE releases SET summary = NULL WHERE summary IS NOT NULL AND id NOT IN "
                "(SELECT id FROM releases WHERE summary IS NOT NULL ORDER BY id DESC LIMIT ?)",
                (_KEPT_ANSWERS,),
            )
        return summary

    def noised_answer(self, run: str, round: int) -> bytes | None:
        """The noised answer to a round: empty where it is not kept any more, None where there was none."""
        rows = self._database.rows(
            "SELECT summary FROM releases WHERE run = ? AND round = ? AND rho IS NOT NULL ORDER BY id",
            (run, round),
        )
        return bytes(rows[0][0] or b"") if rows else None

    def covers(self, rho: float, budget: float) -> bool:
        """Whether a budget of rho has so much left."""
        return self.totals().rho + rho <= budget * (1 + _ROUNDING)

    def change_note(self, name: str, change: Callable[[str], str]) -> None:
        """Keep a note about the ledger in place of the last one of that name, all in one transaction.

        Args:
            name: The note's.
            change: Makes the new note of the last one, which is empty at first; what it raises leaves that.
        """
        with self._database.transaction():
            text = change(self.noted(name))
            self._database.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, text))

    def noted(self, name: str) -> str:
        """What `change_note` kept; empty if nothing."""
        return str(self._database.value("SELECT value FROM settings WHERE name = ?", (name,)) or "")

    def releases(self) -> list[Release]:
        """All releases, first to last."""
        rows = self._database.rows(
            "SELECT run, round, kind, amount, bytes, digest, mechanism, rho FROM releases ORDER BY id"
        )
        names = ("run", "round", "kind", "values", "bytes", "digest", "mechanism", "rho")
        records = [dict(zip(names, row, strict=True)) for row in rows]
        return [
            Release(**record | {"rho": math.inf if record["rho"] is None else record["rho"]})
            for record in records
        ]

    def last_answer(self) -> tuple[str, int, float] | None:
        """The run and round of the newest release that answers a round, and when, in seconds since 1970."""
        rows = self._database.rows(
            "SELECT run, round, released_at FROM releases WHERE kind != 'evaluation' ORDER BY id DESC LIMIT 1"
        )
        return (str(rows[0][0]), int(rows[0][1]), float(rows[0][2])) if rows else None

    def totals(self) -> ReleaseTotals:
        """All releases together."""
        releases = self.releases()
        return ReleaseTotals(
            releases=len(releases),
            values=sum(release.values for release in releases),
            bytes=sum(release.bytes for release in releases),
            rho=math.fsum(release.rho for release in releases if math.isfinite(release.rho)),
            unbounded=sum(math.isinf(release.rho) for release in releases),
        )

    def _insert(self, release: Release, summary: bytes | None) -> None:
        rho = None if math.isinf(release.rho) else release.rho
        fields = (release.run, release.round, release.kind, release.values, release.bytes, release.digest)
        self._database.execute(
            "INSERT OR IGNORE INTO releases (run, round, kind, amount, bytes, digest, mechanism, rho, "
            "summary, released_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*fields, release.mechanism, rho, summary, time.time()),
        )
