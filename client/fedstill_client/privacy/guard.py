"""The guard before everything that leaves a device: it believes its own policy and ledger, and no server.

A task that asks for an answer without noise, with less than the policy's, or for more than the budget has
left, is refused before anything is done for it. An answer is debited and kept, on the disk, before its first
byte leaves: a device that loses power in between has paid for it, and sends the very same bytes when it is
asked again. The same round never gets other noise, which could be averaged away.
"""

from __future__ import annotations

import hashlib

from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import RoundTask
from fedstill_proto.privacy import epsilon_of_rho
from fedstill_proto.refusal import Refusal

from fedstill_client.privacy.policy import PrivacyPolicy
from fedstill_client.store.ledger import BudgetSpent, Ledger, Release

MECHANISM = "discrete-gaussian"
LAST_REFUSAL = "privacy_refusal"


class PrivacyRefused(FedstillError):
    """The device's own policy does not allow a round; `refusal` is the word that leaves the device."""

    def __init__(self, text: str, *, refusal: Refusal = Refusal.POLICY) -> None:
        super().__init__(text)
        self.refusal = refusal


class PrivacyGuard:
    """Stands before what leaves a device.

    Args:
        policy: The device's own policy; None where it has none, and does what it is asked.
        ledger: The ledger of its private store; None in a plain folder.
    """

    def __init__(self, policy: PrivacyPolicy | None, ledger: Ledger | None) -> None:
        self._policy, self._ledger = policy, ledger

    def sent_before(self, task: RoundTask) -> bytes | None:
        """The noised answer to this round from before, if any; raises PrivacyRefused where none may go."""
        try:
            return self._sent_before(task)
        except PrivacyRefused as refusal:
            self._remember(refusal)
            raise

    def _sent_before(self, task: RoundTask) -> bytes | None:
        kind, noising, policy = task.request.kind, task.request.noising, self._policy
        if noising is None:
            if policy is not None:  # even that a training came to its end may reveal something
                raise PrivacyRefused(
                    f"the round asks for {kind.value} without noise; this device sends noised answers only"
                )
            return None
        if self._ledger is None:
            raise PrivacyRefused("this device keeps no ledger of noised answers; enrol an agent for that")
        if policy is not None and noising.noise_multiplier < policy.least_noise_multiplier:
            raise PrivacyRefused(
                f"the round asks for a noise multiplier of {noising.noise_multiplier:g}; this device adds "
                f"{policy.least_noise_multiplier:g} at least"
            )
        if (sent := self._ledger.noised_answer(task.run, task.round)) is not None:
            if not sent:
                raise PrivacyRefused(f"round {task.round} was answered before, and the answer is gone")
            return sent
        if policy is not None and not self._ledger.covers(noising.rho, policy.rho):
            raise self._spent(policy, noising.rho)
        return None

    def check_evaluation(self) -> None:
        """Raises PrivacyRefused where counts of right answers, which have no noise, may not leave."""
        if self._policy is not None:
            refusal = PrivacyRefused("counts of right answers have no noise; this device sends none")
            self._remember(refusal)
            raise refusal

    def release(self, task: RoundTask, summary: bytes, *, values: int) -> bytes:
        """Debit a noised answer and keep it; gives the bytes to send, those from before if there are any."""
        noising, policy = task.request.noising, self._policy
        assert noising is not None  # other answers go another way
        assert self._ledger is not None  # sent_before has checked it
        release = Release(
            task.run,
            task.round,
            task.request.kind.value,
            values=values,
            bytes=len(summary),
            digest=hashlib.sha256(summary).hexdigest(),
            mechanism=MECHANISM,
            rho=noising.rho,
        )
        try:
            return self._ledger.debit_noised(release, summary, budget=None if policy is None else policy.rho)
        except BudgetSpent:
            assert policy is not None  # there is no budget without one
            refusal = self._spent(policy, noising.rho)
            self._remember(refusal)
            raise refusal from None

    def _spent(self, policy: PrivacyPolicy, rho: float) -> PrivacyRefused:
        assert self._ledger is not None  # a budget is that of a ledger
        spent = self._ledger.totals().rho
        now = epsilon_of_rho(spent, policy.delta)
        then = epsilon_of_rho(spent + rho, policy.delta)
        return PrivacyRefused(
            f"the privacy budget is spent: epsilon {now:.3g} of {policy.epsilon:g}, at delta "
            f"{policy.delta:g}, and {then:.3g} with this round",
            refusal=Refusal.BUDGET,
        )

    def _remember(self, refusal: PrivacyRefused) -> None:
        if self._ledger is not None:
            self._ledger.note(LAST_REFUSAL, str(refusal))
