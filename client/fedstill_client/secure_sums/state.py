"""What a device keeps of a sum between two messages: its secrets, and what it was asked and has answered.

Each question is kept as it was asked first, with the answer. The same question gets the same bytes again, and
another one is refused. What is not needed any more is gone: the vector and the masks' keys once the numbers
are masked, the rest once shares are revealed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from fedstill_proto.arrays import IntArray
from fedstill_proto.codec.envelope import open_sealed, seal
from fedstill_proto.codec.sum_codec import SUM_LIMIT_BYTES, decode_keys, encode_keys
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.messages import PROTOCOL_VERSION
from fedstill_proto.privacy.noising import Noising
from fedstill_proto.secure_sums.messages import SumKeys
from fedstill_proto.secure_sums.shamir import CHUNKS, Shares
from fedstill_proto.secure_sums.terms import Summing, SumNoise, SumTerms
from fedstill_proto.v1 import secure_sums_pb2 as pb


@dataclass(frozen=True)
class Exchange:
    """A question and the answer to it; both empty before it is asked."""

    question: bytes = b""
    answer: bytes = b""


@dataclass(frozen=True, kw_only=True, eq=False)
class SumState:
    """A sum that a device takes part in.

    Attributes:
        terms: What is summed. keys: What the device has offered. share_private: The private key that
        neighbours seal shares for; empty once its numbers are masked. vector: Its numbers without noise
        [numbers]; None once they are masked. mask_private: The private key of its masks; empty once its
        numbers are masked. self_seed: The seed of its own mask; empty once its numbers are masked. held: What
        its neighbours have dealt to it, by place [neighbours, 2, CHUNKS]; None before its numbers are
            masked, and once it has revealed.
        deal, mask, agree, reveal: What it was asked in each step, and has answered.
    """

    terms: SumTerms
    keys: SumKeys
    share_private: bytes = field(repr=False)
    vector: IntArray | None = field(default=None, repr=False)
    mask_private: bytes = field(default=b"", repr=False)
    self_seed: bytes = field(default=b"", repr=False)
    held: Shares | None = field(default=None, repr=False)
    deal: Exchange = field(default_factory=Exchange, repr=False)
    mask: Exchange = field(default_factory=Exchange, repr=False)
    agree: Exchange = field(default_factory=Exchange, repr=False)
    reveal: Exchange = field(default_factory=Exchange, repr=False)

    def to_bytes(self) -> bytes:
        """The state as it is kept."""
        terms = self.terms
        return seal(
            pb.StoredSum(
                protocol_version=PROTOCOL_VERSION,
                run=terms.run,
                round=terms.round,
                noise=terms.summing.noise.value,
                dropouts=terms.summing.dropouts,
                colluders=terms.summing.colluders,
                clip=terms.noising.clip,
                noise_multiplier=terms.noising.noise_multiplier,
                numbers=terms.numbers,
                vector=b"" if self.vector is None else self.vector.astype("<i4").tobytes(),
                mask_private=self.mask_private,
                share_private=self.share_private,
                self_seed=self.self_seed,
                held=b"" if self.held is None else self.held.astype("<u2").tobytes(),
                keys=encode_keys(self.keys),
                roster=self.deal.question,
                dealt=self.deal.answer,
                delivery=self.mask.question,
                masked=self.mask.answer,
                survivors=self.agree.question,
                agreement=self.agree.answer,
                agreements=self.reveal.question,
                revealed=self.reveal.answer,
            )
        )

    @classmethod
    def from_bytes(cls, blob: bytes) -> SumState:
        """Read `to_bytes`; raises WireError for anything else."""
        stored = open_sealed(blob, pb.StoredSum(), size_limit_bytes=4 * SUM_LIMIT_BYTES)
        try:
            summing = Summing(
                noise=SumNoise(stored.noise), dropouts=stored.dropouts, colluders=stored.colluders
            )
            terms = SumTerms(
                run=stored.run,
                round=stored.round,
                summing=summing,
                noising=Noising(stored.clip, stored.noise_multiplier),
                numbers=stored.numbers,
            )
            return cls(
                terms=terms,
                keys=decode_keys(stored.keys),
                share_private=stored.share_private,
                vector=np.frombuffer(stored.vector, "<i4").astype(np.int64) if stored.vector else None,
                mask_private=stored.mask_private,
                self_seed=stored.self_seed,
                held=_held(stored.held) if stored.held else None,
                deal=Exchange(stored.roster, stored.dealt),
                mask=Exchange(stored.delivery, stored.masked),
                agree=Exchange(stored.survivors, stored.agreement),
                reveal=Exchange(stored.agreements, stored.revealed),
            )
        except InvalidValue as error:
            raise WireError(error.field, error.problem) from None
        except ValueError as error:
            raise WireError("stored sum", str(error)[:100]) from None


def _held(blob: bytes) -> Shares:
    return np.frombuffer(blob, "<u2").reshape(-1, 2, CHUNKS).astype(np.uint16)
