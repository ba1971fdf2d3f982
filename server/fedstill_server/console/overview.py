"""All that the console shows, as one value: the JSON of /api/fleet, which page, alarms and metrics read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from fedstill_server.config.schedule import Schedule
from fedstill_server.console.round_facts import LeftOut, RoundFacts, Totals
from fedstill_server.fleet.device_list import ListedDevice
from fedstill_server.fleet.generation_list import GenerationLine
from fedstill_server.operations.audit import AuditEntry
from fedstill_server.operations.device_state import Happening
from fedstill_server.releases.release import StagedRelease
from fedstill_server.rounds.rounds_status import RoundsStatus


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Something that an operator should know of.

    Attributes:
        name: One word for each rule, and the same as long as it lasts.
        severity: "critical" where the fleet stops or loses something, "warning" where it may.
        text: What is the matter.
        remedy: What to do.
        since: When it was raised, in seconds since 1970.
    """

    name: str
    severity: str
    text: str
    remedy: str
    since: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Expiry:
    """What devices trust only until a time, in seconds since 1970; `lifetime_s` is that of a new one."""

    what: str
    at: float
    lifetime_s: float


@dataclass(frozen=True, kw_only=True)
class PrivacySpent:
    """What the rounds have cost the device that was asked most, and what all that are planned will cost."""

    mode: str
    epsilon: float
    planned_epsilon: float
    delta: float
    releases: int
    planned_releases: int


@dataclass(frozen=True, kw_only=True)
class OfferedPackage:
    """A published package of a family, stable or a candidate for a share of the devices."""

    family: str
    package_version: int
    size_bytes: int
    stage: str
    share: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Disk:
    """The file system that the folder is on, in bytes."""

    free_bytes: int
    total_bytes: int


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A fleet, or a simulated run, at a moment.

    Attributes:
        now: The moment, in seconds since 1970.
        run: The run's name.
        kind: "fleet" or "simulation".
        phase: What a simulation does, in words; empty for a fleet.
        is_up: Whether `fedstill-server up` serves it; None for a simulation.
        address: Where devices reach it.
        method: The method's name.
        mode: "rounds" or "async".
        rounds_planned: After which it ends, or what decays has decayed.
        is_continuous: Whether it goes on after that.
        generation: Of the configuration in force.
        families: The students.
        wanted_devices: Summaries that a round waits for, or the least devices that it begins with.
        deadline_s: How long a round waits.
        rounds: The rounds, first to last.
        totals: Sums over all of them.
        left_out: The newest answers that were left out, first to last.
        counted: Who counted in the newest round.
        devices: All that are registered, with what is known of them, and then those that were revoked.
        releases: What is published.
        plan: The release plan in force as JSON; None where there is none.
        staged: The newest releases in stages, first to last, with what their gates said.
        generations: Those of the fleet's configuration, first to last.
        schedule: When rounds may be; None for a simulation.
        status: Whether a round runs, or what the next one waits for; None where nobody has said.
        privacy: What was spent; None without a promise.
        expiries: What devices trust only until a time.
        disk: Where the folder is.
        events: What happened, first to last.
        audit: What operators did, first to last.
        problems: What cannot be read, or is damaged, in words.
        alarms: What somebody should look at.
    """

    now: float
    run: str
    kind: str
    method: str
    mode: str
    rounds_planned: int
    families: Sequence[str]
    phase: str = ""
    is_up: bool | None = None
    address: str = ""
    is_continuous: bool = False
    generation: int = 1
    wanted_devices: int = 0
    deadline_s: float = 0.0
    rounds: Sequence[RoundFacts] = ()
    totals: Totals = field(default_factory=Totals)
    left_out: Sequence[LeftOut] = ()
    counted: Sequence[str] = ()
    devices: Sequence[ListedDevice] = ()
    releases: Sequence[OfferedPackage] = ()
    plan: Mapping[str, Any] | None = None
    staged: Sequence[StagedRelease] = ()
    generations: Sequence[GenerationLine] = ()
    schedule: Schedule | None = None
    status: RoundsStatus | None = None
    privacy: PrivacySpent | None = None
    expiries: Sequence[Expiry] = ()
    disk: Disk | None = None
    events: Sequence[Happening] = ()
    audit: Sequence[AuditEntry] = ()
    problems: Sequence[str] = ()
    alarms: Sequence[Alarm] = field(default=())

    def to_json(self, *, rounds: int, devices: int) -> dict[str, Any]:
        """The overview as JSON.

        Args:
            rounds: How many of the newest rounds.
            devices: How many devices at most; `device_count` says how many there are.
        """
        document = asdict(replace(self, devices=()))
        document["rounds"] = document["rounds"][-rounds:]
        document["round_count"] = len(self.rounds)
        document["devices"] = [one.to_json() for one in self.devices[:devices]]
        document["device_count"] = len(self.registered)
        document["online_count"] = sum(one.state.online for one in self.registered)
        return document

    @property
    def registered(self) -> list[ListedDevice]:
        """The devices that are registered."""
        return [one for one in self.devices if one.revoked_at is None]

    @property
    def least_devices(self) -> int:
        """How many devices have to be there before a round begins."""
        usual = self.wanted_devices or math.ceil(len(self.registered) / 2)
        return max((self.schedule.least_devices if self.schedule else 0) or usual, 1)
