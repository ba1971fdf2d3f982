"""What a device has done for its fleet: begun rounds, evaluations, and bytes of answers without noise.

A round is debited before its work begins, with the most that its answer can hold, whether that is sent in the
end or not. One transaction reads and writes: two processes cannot both begin the last round of a day.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from fedstill_proto.task_bounds import Excess

from fedstill_client.privacy.policy import DevicePolicy

DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What was begun.

    Attributes:
        rounds: When, in seconds since 1970, and how many bytes may have left; those of the last day.
        evaluations: When; those of the last day.
        release: The version of the installed package.
        rounds_of_release: Rounds that were begun with it.
        bytes_in_all: Bytes that may have left since the home was made.
    """

    rounds: tuple[tuple[float, int], ...] = ()
    evaluations: tuple[float, ...] = ()
    release: int = 0
    rounds_of_release: int = 0
    bytes_in_all: int = 0

    @classmethod
    def from_json(cls, text: str) -> Spending:
        """Read `to_json`'s text; an empty one is nothing."""
        if not text:
            return cls()
        given: dict[str, Any] = json.loads(text)
        rounds = tuple((float(when), int(size)) for when, size in given.pop("rounds"))
        return cls(rounds=rounds, evaluations=tuple(given.pop("evaluations")), **given)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def today(self, now: float) -> Spending:
        """Without what is older than a day; what a clock that was put back dates later stays."""
        return replace(
            self,
            rounds=tuple(one for one in self.rounds if one[0] > now - DAY_S),
            evaluations=tuple(when for when in self.evaluations if when > now - DAY_S),
        )

    def with_round(self, now: float, size: int, *, release: int) -> Spending:
        """With one more round, whose answer has up to `size` bytes, begun with this release."""
        before = self.rounds_of_release if release == self.release else 0
        today = self.today(now)
        return replace(
            today,
            rounds=(*today.rounds, (now, size)),
            release=release,
            rounds_of_release=before + 1,
            bytes_in_all=self.bytes_in_all + size,
        )

    def with_evaluation(self, now: float) -> Spending:
        """With one more evaluation."""
        today = self.today(now)
        return replace(today, evaluations=(*today.evaluations, now))

    def by_rule(self) -> dict[str, int]:
        """What was spent of each rule that bounds it."""
        return {
            "rounds_a_day": len(self.rounds),
            "rounds_of_release": self.rounds_of_release,
            "bytes_a_day": sum(size for _, size in self.rounds),
            "bytes_in_all": self.bytes_in_all,
            "evaluations_a_day": len(self.evaluations),
        }

    def excess(self, policy: DevicePolicy, *, before: Spending) -> Excess | None:
        """The first rule of the policy that more was spent of than it allows, since `before`."""
        earlier = before.by_rule()
        for rule, value in self.by_rule().items():
            if value > max(earlier[rule], getattr(policy, rule)):
                return Excess(rule, value, getattr(policy, rule))
        return None
