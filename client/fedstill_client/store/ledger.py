"""The device's privacy ledger: what has left it. A release is written here before its first byte leaves.

The ledger may count a release that never arrived (the power failed in between), and never misses one.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from fedstill_proto.errors import InvalidValue
from fedstill_proto.messages import check_integer, check_name

from fedstill_client.store.database import Database

_LARGEST = (1 << 63) - 1


@dataclass(frozen=True)
class Release:
    """A message made of private data. `epsilon` is infinite where no mechanism bounds what it tells."""

    run: str
    round: int
    kind: str  # the summary's, or "evaluation": counts of right answers
    values: int  # numbers in it
    bytes: int  # as sent
    digest: str  # SHA-256 of the bytes, hexadecimal
    mechanism: str = "none"
    epsilon: float = math.inf
    delta: float = 0.0

    def __post_init__(self) -> None:
        for name in ("run", "kind", "mechanism"):
            check_name(name, getattr(self, name))
        for name in ("round", "values", "bytes"):
            check_integer(name, getattr(self, name), 0, _LARGEST)
        if len(self.digest) != 64 or set(self.digest) - set("0123456789abcdef"):
            raise InvalidValue("digest", f"{self.digest[:70]!r} is not 64 hexadecimal digits")
        if not self.epsilon >= 0:
            raise InvalidValue("epsilon", f"{self.epsilon} is not 0 or more")
        if not 0 <= self.delta <= 1:
            raise InvalidValue("delta", f"{self.delta} is not a probability")


@dataclass(frozen=True)
class Spent:
    """All releases together; epsilon and delta by basic composition (Dwork et al. 2006): their sums."""

    releases: int
    values: int
    bytes: int
    epsilon: float
    delta: float


class Ledger:
    """The releases in the private store's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def debit(self, release: Release) -> None:
        """Write a release down; on disk when this returns. The very same bytes again tell nothing new."""
        epsilon = None if math.isinf(release.epsilon) else release.epsilon
        fields = (release.run, release.round, release.kind, release.values, release.bytes, release.digest)
        with self._database.transaction():
            self._database.execute(
                "INSERT OR IGNORE INTO releases (run, round, kind, amount, bytes, digest, mechanism, "
                "epsilon, delta, released_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*fields, release.mechanism, epsilon, release.delta, time.time()),
            )

    def releases(self) -> list[Release]:
        """First to last."""
        rows = self._database.rows(
            "SELECT run, round, kind, amount, bytes, digest, mechanism, delta, epsilon FROM releases "
            "ORDER BY id"
        )
        names = ("run", "round", "kind", "values", "bytes", "digest", "mechanism", "delta", "epsilon")
        found = [dict(zip(names, row, strict=True)) for row in rows]
        return [
            Release(**fields | {"epsilon": math.inf if fields["epsilon"] is None else fields["epsilon"]})
            for fields in found
        ]

    def spent(self) -> Spent:
        releases = self.releases()
        return Spent(
            releases=len(releases),
            values=sum(release.values for release in releases),
            bytes=sum(release.bytes for release in releases),
            epsilon=math.fsum(release.epsilon for release in releases),
            delta=min(math.fsum(release.delta for release in releases), 1.0),
        )
