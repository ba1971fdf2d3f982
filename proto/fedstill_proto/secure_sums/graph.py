"""Who is whose neighbour, and how many neighbours' shares open a secret.

In a large group nobody needs to share a mask with everyone. The members are put on a ring in an order that
the roster's digest decides, and each has the k/2 nearest ones on either side as neighbours (a Harary graph on
a random order: Bell et al. 2020, section 3). To a device its neighbours are a random sample of the others.
The degree k and the threshold t are the least for which, by the tails of the hypergeometric distribution,
both hold:

    the sum comes out   every device has t neighbours left when a share `dropouts` of the group is gone, but
                        for a chance of 2^-20
    it tells no more    no device has 2 t - k neighbours among a share `colluders` of the group that helps
                        the server, but for a chance of 2^-40

A device reveals once, and one of two kinds of shares of each neighbour; a colluder reveals both. To open one
device's numbers a server needs t of either kind, which 2 t > k + colluders forbids even where it tells every
device another story. Where no such t exists, it is only above the number of colluders: that holds against a
server that keeps to the protocol and is curious, and devices refuse it unless told otherwise.
"""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass

import numpy as np

from fedstill_proto.arrays import Float64Array, IntArray
from fedstill_proto.errors import InvalidValue

LEAST_MEMBERS, MOST_MEMBERS = 3, 65_520
_FAILS, _TELLS = 2.0**-20, 2.0**-40


@dataclass(frozen=True)
class SumGraph:
    """The graph of a group.

    Attributes:
        members: The devices of the group.
        neighbours: How many neighbours each has, k.
        threshold: How many shares open a secret, t.
    """

    members: int
    neighbours: int
    threshold: int

    @property
    def colluding(self) -> int:
        """The most neighbours of a device that may help a server that lies; negative: nobody is safe."""
        return 2 * self.threshold - self.neighbours - 1

    @property
    def withstands_lies(self) -> bool:
        """Whether even a server that tells every device another story learns the sum alone."""
        return self.colluding >= 0

    @classmethod
    @functools.lru_cache(maxsize=256)
    def of(cls, members: int, *, dropouts: float, colluders: float) -> SumGraph:
        """The graph of the least degree for a group.

        Args:
            members: The devices of the group.
            dropouts: The share of them that may be gone between `deal` and the end.
            colluders: The share of them that may help the server.

        Raises:
            InvalidValue: The group is too small or too large, or no threshold is low and high enough.
        """
        if not LEAST_MEMBERS <= members <= MOST_MEMBERS:
            raise InvalidValue(
                "members", f"{members} devices; a sum is over {LEAST_MEMBERS} to {MOST_MEMBERS}"
            )
        gone, bad = math.floor(dropouts * members), math.floor(colluders * members)
        for lying in (True, False):
            if (complete := cls._complete(members, gone, bad, lying=lying)) is not None:
                sparse = (
                    cls._sparse(members, gone, bad, degree, lying=lying)
                    for degree in range(8, members - 1, 2)
                )
                return next((graph for graph in sparse if graph is not None), complete)
        raise InvalidValue(
            "dropouts",
            f"{gone} of {members} devices may be gone and {bad} help the server: no number of shares is safe",
        )

    @classmethod
    def _complete(cls, members: int, gone: int, bad: int, *, lying: bool) -> SumGraph | None:
        """Everyone is everyone's neighbour: then nothing is left to chance."""
        graph = cls(members, members - 1, members - 1 - gone)
        safe = graph.colluding >= bad if lying else graph.threshold > bad
        return graph if graph.threshold >= 1 and safe else None

    @classmethod
    def _sparse(cls, members: int, gone: int, bad: int, degree: int, *, lying: bool) -> SumGraph | None:
        """The graph of this degree with the highest threshold that dropouts allow, if colluders do, too."""
        there = _chances(members - 1, members - 1 - gone, degree)
        fewer = np.concatenate([[0.0], np.cumsum(there)])  # the chance of fewer than 0, 1, .. neighbours
        threshold = int(np.flatnonzero(members * fewer <= _FAILS)[-1])
        graph = cls(members, degree, threshold)
        enough = graph.colluding + 1 if lying else threshold
        told = members * float(_chances(members - 1, bad, degree)[max(enough, 0) :].sum())
        return graph if enough >= 1 and told <= _TELLS else None

    def ring(self, seed: bytes) -> IntArray:
        """The order of the members on the ring: [members]."""
        return _ring(self.members, seed)

    def neighbours_of(self, place: int, *, seed: bytes) -> IntArray:
        """The neighbours of the member at `place`, in increasing order: [neighbours]."""
        if self.neighbours == self.members - 1:
            return np.delete(np.arange(self.members), place)
        ring = self.ring(seed)
        at = int(np.flatnonzero(ring == place)[0])
        half = self.neighbours // 2
        steps = np.concatenate([np.arange(-half, 0), np.arange(1, half + 1)])
        return np.sort(ring[(at + steps) % self.members])


@functools.lru_cache(maxsize=16)
def _ring(members: int, seed: bytes) -> IntArray:
    keys = [hashlib.sha256(seed + place.to_bytes(4, "little")).digest() for place in range(members)]
    return np.array(sorted(range(members), key=keys.__getitem__), np.int64)


def _chances(others: int, marked: int, drawn: int) -> Float64Array:
    """The chances that 0, 1, .. drawn of the drawn are marked: [drawn + 1]."""
    whole = _log_choose(others, drawn)
    low, high = max(0, drawn - (others - marked)), min(drawn, marked)
    found = np.zeros(drawn + 1)
    for many in range(low, high + 1):
        log = _log_choose(marked, many) + _log_choose(others - marked, drawn - many)
        found[many] = math.exp(log - whole)
    return found


def _log_choose(of: int, many: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(many + 1) - math.lgamma(of - many + 1)
