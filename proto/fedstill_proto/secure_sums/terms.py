"""What a sum is of: agreed on by all members, since each signs its keys together with these terms."""

from __future__ import annotations

import enum
import hashlib
import math
from dataclasses import dataclass

from fedstill_proto.checks import MAX_UINT32, check_integer, check_name, check_number
from fedstill_proto.errors import InvalidValue
from fedstill_proto.privacy.discrete_gaussian import largest_noise
from fedstill_proto.privacy.noising import Noising
from fedstill_proto.secure_sums.graph import SumGraph
from fedstill_proto.secure_sums.sizes import bits_for

_MOST_NUMBERS = 1 << 28


class SumNoise(enum.Enum):
    """Who adds noise to what is summed."""

    NONE = "none"  # the server, to the sum
    OWN = "own"  # each device as much as hides it alone
    SHARED = "shared"  # each device a part, so that the sum carries what hides each


@dataclass(frozen=True, kw_only=True)
class Summing:
    """How a sum is made.

    Attributes:
        noise: Who adds noise. dropouts: The share of a group that may be gone after its shares are dealt, and
        the sum still comes out. colluders: The share of a group that may help the server without opening the
        others' numbers, or taking
            their noise away.
    """

    noise: SumNoise
    dropouts: float = 0.2
    colluders: float = 0.05

    def __post_init__(self) -> None:
        if not isinstance(self.noise, SumNoise):
            raise InvalidValue("noise", f"{self.noise!r} is not a SumNoise")
        check_number("dropouts", self.dropouts, 0, 0.9)
        check_number("colluders", self.colluders, 0, 0.9)

    def graph(self, members: int) -> SumGraph:
        """The graph of a group; raises InvalidValue where none is safe."""
        return SumGraph.of(members, dropouts=self.dropouts, colluders=self.colluders)

    def least_survivors(self, dealt: int) -> int:
        """How many of those who have dealt have to be in the sum."""
        return max(2, math.ceil((1 - self.dropouts) * dealt))

    def noise_parts(self, dealt: int) -> int:
        """How many equal parts of the noise are the whole: as many as there are honest survivors."""
        return max(1, math.floor((1 - self.colluders) * self.least_survivors(dealt)))

    def noises(self, survivors: int, *, dealt: int) -> float:
        """How many times the variance of the whole noise is in a sum over so many."""
        each = {SumNoise.NONE: 0.0, SumNoise.OWN: 1.0, SumNoise.SHARED: 1 / self.noise_parts(dealt)}
        return survivors * each[self.noise]


@dataclass(frozen=True, kw_only=True)
class SumTerms:
    """The terms of one sum.

    Attributes:
        run: The run's name.
        round: The round.
        summing: How it is made.
        noising: The grid of its numbers, and the noise.
        numbers: How many numbers each device's vector has.
    """

    run: str
    round: int
    summing: Summing
    noising: Noising
    numbers: int

    def __post_init__(self) -> None:
        check_name("run", self.run)
        check_integer("round", self.round, 0, MAX_UINT32)
        check_integer("numbers", self.numbers, 1, _MOST_NUMBERS)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the terms."""
        noising, summing = self.noising, self.summing
        parts = (self.run, self.round, summing.noise.value, summing.dropouts, summing.colluders)
        document = repr((*parts, float(noising.clip), float(noising.noise_multiplier), self.numbers))
        return hashlib.sha256(b"fedstill sum terms 1\0" + document.encode()).digest()

    def most_steps(self, dealt: int) -> int:
        """The largest number, either way, that a device adds where so many have dealt."""
        parts = {SumNoise.NONE: 0, SumNoise.OWN: 1, SumNoise.SHARED: self.summing.noise_parts(dealt)}
        many = parts[self.summing.noise]
        return math.isqrt(self.noising.most_square) + (largest_noise(many) if many else 0)

    def bits(self, dealt: int) -> int:
        """The bits of a masked number where so many have dealt; raises InvalidValue if the sum is larger."""
        return bits_for(dealt, self.most_steps(dealt))
