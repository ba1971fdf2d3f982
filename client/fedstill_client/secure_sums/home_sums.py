"""The sums that an agent's home takes part in: what a device keeps on its disk, and what it debits.

Flower starts a process for each message. A step's new state is on the disk, and what is released is in the
ledger, before the answer is returned: who loses power in between sends the very same bytes when asked again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key
from fedstill_proto.arrays import IntArray
from fedstill_proto.codec.api import encode_summary
from fedstill_proto.errors import WireError
from fedstill_proto.messages import PrivateStatistics, RoundTask, SoftLabelSummary
from fedstill_proto.privacy import epsilon_of_rho, shared_rho, system_bits
from fedstill_proto.refusal import Refusal
from fedstill_proto.secure_sums.enrolled import EnrolledDevices
from fedstill_proto.secure_sums.graph import MOST_MEMBERS
from fedstill_proto.secure_sums.terms import SumNoise, SumTerms
from fedstill_proto.system.files import replace_file

from fedstill_client.home import AgentHome
from fedstill_client.privacy.guard import PolicyRefused
from fedstill_client.privacy.policy import DevicePolicy
from fedstill_client.secure_sums.member import SumMember, offer_keys
from fedstill_client.secure_sums.rule import SumRefused, SumRule
from fedstill_client.secure_sums.state import SumState
from fedstill_client.store import PrivateStore, Release
from fedstill_client.store.ledger import BudgetSpent

KIND = "sum"
STEPS = ("deal", "mask", "agree", "reveal")
_MECHANISMS = {
    SumNoise.NONE: "none",
    SumNoise.OWN: "discrete-gaussian",
    SumNoise.SHARED: "shared-discrete-gaussian",
}


@dataclass(frozen=True)
class HomeSums:
    """A home that takes part in sums.

    Attributes:
        home: The home.
        store: Its open private store.
        policy: What its owner allows.
    """

    home: AgentHome
    store: PrivateStore
    policy: DevicePolicy

    def offered(self, task: RoundTask) -> bytes | None:
        """The summary with the keys that the device has offered for this round; None where it has not."""
        blob = self.store.sums.state_of(task.run, task.round)
        return None if blob is None else _summary(task, SumState.from_bytes(blob))

    def offer(self, task: RoundTask, vector: IntArray) -> bytes:
        """Begin a round's sum with the device's vector on the grid [d]; gives the summary with its keys."""
        noising, summing = task.request.noising, task.request.summing
        assert noising is not None  # a request that sums has both
        assert summing is not None
        terms = SumTerms(
            run=task.run, round=task.round, summing=summing, noising=noising, numbers=len(vector)
        )
        state = offer_keys(terms, vector, self._identity())
        with self.store.transaction():
            self.store.sums.keep(task.run, task.round, state.to_bytes())
        return _summary(task, state)

    def answer(self, step: str, question: bytes, fetch: Callable[[], EnrolledDevices]) -> bytes:
        """The answer to a step's question.

        Args:
            step: One of STEPS.
            question: The bytes that the server sent.
            fetch: Gets the signed list of devices from the fleet's repository.

        Raises:
            SumRefused: The device takes no part in this step.
            PolicyRefused: Its owner's budget does not cover what it would release.
            WireError: The question is none.
        """
        enrolled = self._enrolled(fetch if step == "deal" else None)
        identity = self._identity()
        member = SumMember(
            identity=identity,
            public_key=identity.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
            enrolled=enrolled,
            rule=SumRule(least_group=self.policy.least_group_size),
            noise=system_bits,
        )
        with self.store.transaction():
            blob = self.store.sums.state()
            if blob is None:
                raise SumRefused("this device takes part in no sum")
            before = SumState.from_bytes(blob)
            after: SumState = getattr(member, step)(before, question)
            if after is not before:
                self.store.sums.keep(after.terms.run, after.terms.round, after.to_bytes())
        answer: bytes = getattr(after, step).answer
        if step == "mask":
            self._debit(after.terms, answer)
        return answer

    def _debit(self, terms: SumTerms, answer: bytes) -> None:
        """Write down what the masked numbers cost, before they leave; the same ones cost once."""
        rho = rho_of(terms)
        release = Release(
            terms.run,
            terms.round,
            KIND,
            values=terms.numbers,
            bytes=len(answer),
            digest=hashlib.sha256(answer).hexdigest(),
            mechanism=_MECHANISMS[terms.summing.noise],
            rho=rho,
        )
        if math.isinf(rho):
            self.store.ledger.debit(release)
            return
        try:
            kept = self.store.ledger.debit_noised(release, answer, budget=self.policy.rho)
        except BudgetSpent:
            spent = epsilon_of_rho(self.store.ledger.totals().rho, self.policy.delta)
            raise PolicyRefused(
                f"epsilon: the privacy budget is spent: {spent:.3g} of {self.policy.epsilon:g}, and a part "
                "in this sum would go beyond it",
                refusal=Refusal.BUDGET,
            ) from None
        if kept != answer:
            raise SumRefused(f"round {terms.round} was answered before, otherwise than in this sum")

    def _enrolled(self, fetch: Callable[[], EnrolledDevices] | None) -> EnrolledDevices:
        """The signed list, anew at the first step; the later ones go by the one of the first."""
        file = self.home.enrolled
        if fetch is not None:
            enrolled = fetch()
            replace_file(file, enrolled.to_bytes())
            return enrolled
        try:
            return EnrolledDevices.from_bytes(file.read_bytes())
        except (OSError, WireError) as error:
            raise SumRefused(f"{file}: the signed list of devices cannot be read: {error}") from None

    def _identity(self) -> ec.EllipticCurvePrivateKey:
        try:
            key = load_ssh_private_key(self.home.device_key.read_bytes(), None)
        except (OSError, ValueError) as error:
            raise SumRefused(f"{self.home.device_key}: this device's key cannot be used: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise SumRefused(f"{self.home.device_key}: not a key of the curve P-384")
        return key


def rho_of(terms: SumTerms) -> float:
    """What a part in a sum costs a device, in zCDP.

    With shared noise it counts on what the terms say of the others: that enough of them are in the sum, which
    the device sees, and that no more than the stated share of them help the server, which it cannot see.
    """
    if terms.summing.noise is SumNoise.NONE:
        return math.inf
    if terms.summing.noise is SumNoise.OWN:
        return terms.noising.rho
    # More parts diverge more from one noise: what the largest group costs is enough for any.
    return shared_rho(terms.noising, parts=MOST_MEMBERS, numbers=terms.numbers)


def _summary(task: RoundTask, state: SumState) -> bytes:
    summary = SoftLabelSummary(
        task.run, task.round, task.family, task.request.kind, PrivateStatistics(), sum_keys=state.keys
    )
    return encode_summary(summary, codec=None)
