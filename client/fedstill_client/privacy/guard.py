"""The guard before all that a device does for its fleet: it believes its own policy and ledger, no server.

A task that goes beyond the policy, or for which the budget has no room, is refused before anything is done
for it; the log and the ledger have the rule, the value and the bound. A noised answer is debited and kept, on
the disk, before its first byte leaves: a device that loses power in between has paid for it, and sends the
very same bytes when it is asked again. The same round never gets other noise, which could be averaged away.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import RoundTask, StartPlan, StartSource
from fedstill_proto.privacy import epsilon_of_rho
from fedstill_proto.refusal import Refusal
from fedstill_proto.task_bounds import Excess, TaskBounds, nominal_bytes, protection_of, start_of

from fedstill_client.privacy.policy import DevicePolicy
from fedstill_client.privacy.refusals import note_refusal
from fedstill_client.privacy.spending import Spending
from fedstill_client.store.ledger import BudgetSpent, Ledger, Release

MECHANISM = "discrete-gaussian"
SPENDING = "spending"


class PolicyRefused(FedstillError):
    """The owner's policy does not allow a task; `refusal` is the word that leaves the device."""

    def __init__(self, text: str, *, refusal: Refusal = Refusal.POLICY) -> None:
        super().__init__(text)
        self.refusal = refusal


@dataclass(frozen=True, kw_only=True)
class TaskSize:
    """What an answer's size follows from, classes and labels of an example, and the package's version."""

    classes: int
    places: int = 1
    release: int = 0


class PolicyGuard:
    """Stands before what a device does for its fleet.

    Args:
        policy: The policy of an agent's home; None in a plain folder, which does what it is asked.
        ledger: The ledger of its private store; None in a plain folder.
        size: What the student is like, for what an answer holds.
        statement: What the fleet said, when the device enrolled, that it would ask.
    """

    def __init__(
        self,
        policy: DevicePolicy | None,
        ledger: Ledger | None,
        *,
        size: TaskSize,
        statement: TaskBounds | None = None,
    ) -> None:
        self._policy, self._ledger, self._size, self._statement = policy, ledger, size, statement

    def admit(self, task: RoundTask) -> bytes | None:
        """Let a round begin, and debit it; gives the noised answer to it from before, if there was one.

        Raises:
            PolicyRefused: The policy does not allow the round, or its budget is spent.
        """
        with self._noting(task):
            self._check_noise(task)
            if task.request.noising is not None and (sent := self._sent_before(task)) is not None:
                if task.request.summing is not None:
                    raise PolicyRefused(f"round {task.round} was answered before, and its sum is over")
                return sent
            if self._policy is not None:
                self._check_bounds(self._policy, task)
                size = 0 if _noised(task) else self._nominal_bytes(task)
                self._spend(lambda spent, now: spent.with_round(now, size, release=self._size.release))
        return None

    def without_weights(self, task: RoundTask) -> RoundTask:
        """The task without weights for a device that has no student, unless the policy lets it use them.

        The device then starts from its installed student, which the fleet has signed.
        """
        policy = self._policy
        if policy is None or not task.parameters or task.replace_student or "task" in policy.starts:
            return task
        return replace(task, parameters={}, start=StartPlan(source=StartSource.OWN))

    def admit_evaluation(self, task: RoundTask) -> None:
        """Let right answers be counted; raises PolicyRefused where none may leave, or too many have."""
        policy = self._policy
        if policy is None:
            return
        with self._noting(task):
            self._check_plain(policy)
            if (start := start_of(task)) not in policy.starts:
                raise PolicyRefused(str(Excess("starts", start, policy.starts)))
            self._spend(lambda spent, now: spent.with_evaluation(now))

    def admit_counts(self) -> None:
        """Let counts leave that no task asked for; raises PolicyRefused as for an evaluation."""
        if self._policy is not None:
            self._check_plain(self._policy)
            self._spend(lambda spent, now: spent.with_evaluation(now))

    @staticmethod
    def _check_plain(policy: DevicePolicy) -> None:
        if "plain" not in policy.protection:
            raise PolicyRefused("protection: counts of right answers are plain, and are not sent")

    def release(self, task: RoundTask, summary: bytes, *, values: int) -> bytes:
        """Debit a noised answer and keep it; gives the bytes to send, those from before if there are any."""
        noising, policy = task.request.noising, self._policy
        assert noising is not None  # other answers go another way
        assert self._ledger is not None  # admit has checked it
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
        with self._noting(task):
            try:
                return self._ledger.debit_noised(
                    release, summary, budget=None if policy is None else policy.rho
                )
            except BudgetSpent:
                assert policy is not None  # there is no budget without one
                raise self._spent(policy, noising.rho) from None

    def _check_noise(self, task: RoundTask) -> None:
        noising, policy = task.request.noising, self._policy
        if policy is not None and protection_of(task.request) not in policy.protection:
            self._check_bounds(policy, task)  # names all that goes beyond
        if noising is None:
            return
        if self._ledger is None:
            raise PolicyRefused("this device keeps no ledger of noised answers; enrol an agent for that")
        if policy is not None and noising.noise_multiplier < policy.least_noise_multiplier:
            raise PolicyRefused(
                str(Excess("least_noise_multiplier", noising.noise_multiplier, policy.least_noise_multiplier))
            )

    def _sent_before(self, task: RoundTask) -> bytes | None:
        noising, policy = task.request.noising, self._policy
        assert noising is not None
        assert self._ledger is not None
        if (sent := self._ledger.noised_answer(task.run, task.round)) is not None:
            if not sent:
                raise PolicyRefused(f"round {task.round} was answered before, and the answer is gone")
            return sent
        if policy is not None and _noised(task) and not self._ledger.covers(noising.rho, policy.rho):
            raise self._spent(policy, noising.rho)
        return None

    def _check_bounds(self, policy: DevicePolicy, task: RoundTask) -> None:
        asked = TaskBounds.of_task(task, classes=self._size.classes, places=self._size.places)
        if beyond := list(policy.excess(asked)):
            raise PolicyRefused("; ".join(map(str, beyond)))
        if self._statement is not None and (beyond := list(self._statement.excess(asked))):
            raise PolicyRefused(f"more than the fleet said: {'; '.join(map(str, beyond))}")

    def _spend(self, change: Callable[[Spending, float], Spending]) -> None:
        """Debit what is to be begun; raises PolicyRefused where there is no room for it."""
        policy, ledger, said = self._policy, self._ledger, self._statement
        assert policy is not None
        assert ledger is not None  # a home has one
        policy = _within_both(policy, said)

        def spend(text: str) -> str:
            now = time.time()
            before = Spending.from_json(text).today(now)
            after = change(before, now)
            if (beyond := after.excess(policy, before=before)) is not None:
                raise PolicyRefused(str(beyond), refusal=Refusal.BUDGET)
            return after.to_json()

        ledger.change_note(SPENDING, spend)

    def _nominal_bytes(self, task: RoundTask) -> int:
        return nominal_bytes(task.request, classes=self._size.classes, places=self._size.places)

    def _spent(self, policy: DevicePolicy, rho: float) -> PolicyRefused:
        assert self._ledger is not None  # a budget is that of a ledger
        spent = self._ledger.totals().rho
        now = epsilon_of_rho(spent, policy.delta)
        then = epsilon_of_rho(spent + rho, policy.delta)
        return PolicyRefused(
            f"epsilon: the privacy budget is spent: {now:.3g} of {policy.epsilon:g}, at delta "
            f"{policy.delta:g}, and {then:.3g} with this round",
            refusal=Refusal.BUDGET,
        )

    @contextmanager
    def _noting(self, task: RoundTask) -> Iterator[None]:
        """Note in the ledger what is refused within."""
        try:
            yield
        except PolicyRefused as refusal:
            if self._ledger is not None:
                note_refusal(
                    self._ledger, str(refusal), run=task.run, round=task.round, refusal=refusal.refusal
                )
            raise


def has_room(ledger: Ledger, policy: DevicePolicy, said: TaskBounds | None, *, release: int) -> bool:
    """Whether a device may begin one more round by its owner's rules and the fleet's statement.

    Args:
        ledger: The device's.
        policy: Its owner's.
        said: What the fleet said that it would ask.
        release: The version of the installed package.
    """
    now = time.time()
    before = spending_of(ledger).today(now)
    return (
        before.with_round(now, 0, release=release).excess(_within_both(policy, said), before=before) is None
    )


def _within_both(policy: DevicePolicy, said: TaskBounds | None) -> DevicePolicy:
    """The policy with the numbers of a day that the fleet has said, where those are fewer."""
    if said is None:
        return policy
    return replace(
        policy,
        rounds_a_day=min(policy.rounds_a_day, said.rounds_a_day),
        evaluations_a_day=min(policy.evaluations_a_day, said.evaluations_a_day),
    )


def _noised(task: RoundTask) -> bool:
    """Whether the answer has noise before it leaves the device; of a sum, whether the sum has."""
    return protection_of(task.request) in ("noise", "shared-noise")


def spending_of(ledger: Ledger) -> Spending:
    """What a device has begun for its fleet, as of now."""
    return Spending.from_json(ledger.noted(SPENDING)).today(time.time())
