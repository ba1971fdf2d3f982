"""When something is the matter: rules over an overview, and the book of what is raised and since when.

Each rule is a function from an overview to an alarm or None. The book is FLEET/alarms.json; what is raised
and what is over are events of the fleet, so that whoever listens hears of each once.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

from fedstill_proto.errors import FedstillError
from fedstill_proto.system.sealed import read_sealed_json, write_sealed_json

from fedstill_server.console.overview import Alarm, Overview
from fedstill_server.operations.database import FleetDatabase

BOOK = "alarms.json"
WARNING, CRITICAL = "warning", "critical"

_FALL = 0.01  # a point of accuracy
_ROUNDS_BEFORE = 5  # that a fall is measured against
_ROUNDS_LOOKED_AT = 3  # for answers that are left out
_MOST_LEFT_OUT = 0.2
_LEAST_ANSWERS = 3
_QUIET_ROUNDS, _LEAST_QUIET_S, _LEAST_WAIT_S = 10, 900.0, 120.0
_OF_THE_SCHEDULE = ("window", "allowance", "pause-between")
_LIFE_LEFT = 0.25
_FULL, _ALMOST_FULL = (0.01, 200e6), (0.05, 1e9)  # share, and bytes, that are free
_NEARLY_SPENT = 0.9

Rule = Callable[[Overview], Alarm | None]


def accuracy_fell(it: Overview) -> Alarm | None:
    """The last two rounds are both over a point below the median of the five before."""
    known = [
        (one.round, one.fleet_accuracy)
        for one in it.rounds
        if one.generation == it.generation and one.fleet_accuracy is not None
    ][-_ROUNDS_BEFORE - 2 :]
    if len(known) < 4:
        return None
    accuracies = [accuracy for _, accuracy in known if accuracy is not None]
    before, lately = median(accuracies[:-2]), accuracies[-2:]
    if max(lately) >= before - _FALL:
        return None
    return Alarm(
        name="accuracy-fell",
        severity=CRITICAL,
        text=f"global accuracy is {lately[-1]:.1%} after round {known[-1][0]}, and was {before:.1%}",
        remedy="look who was counted in these rounds and what was released before them; pause it, or "
        "go back to the one before",
    )


def too_few_devices(it: Overview) -> Alarm | None:
    """A round waits for devices: two minutes for some to come, a quarter of an hour for willing ones."""
    there, status = sum(one.state.online for one in it.registered), it.status
    waited = it.now - status.since if status is not None and status.waiting_for == "devices" else 0.0
    waits = waited > (_LEAST_QUIET_S if there >= it.least_devices else _LEAST_WAIT_S)
    if it.kind != "fleet" or not it.is_up or not waits:
        return None
    told = f"{there} of {len(it.registered)} registered devices are there, of the {it.least_devices} it takes"
    return Alarm(
        name="too-few-devices",
        severity=WARNING,
        text=f"for {_duration(waited)}: {status.text}" if there >= it.least_devices and status else told,
        remedy="see when the others were last seen, and run fedstill-agent doctor on one of them",
    )


def many_left_out(it: Overview) -> Alarm | None:
    """Over a fifth of the answers of the last rounds were left out for what they were."""
    lately = it.rounds[-_ROUNDS_LOOKED_AT:]
    bad = sum(one.suspicious for one in lately)
    answers = bad + sum(one.accepted + one.late for one in lately)
    if bad < _LEAST_ANSWERS or bad <= _MOST_LEFT_OUT * answers:
        return None
    reasons: dict[str, int] = {}
    for one in lately:
        for reason, count in one.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + count
    worst = max(reasons, key=lambda reason: reasons[reason])
    return Alarm(
        name="many-left-out",
        severity=WARNING,
        text=f"{bad} of {answers} answers of the last {len(lately)} rounds were left out, most for {worst}",
        remedy="see the quarantine by reason, and whether it is always the same devices",
    )


def gate_failed(it: Overview) -> Alarm | None:
    """The newest release did not pass its gates."""
    newest = it.staged[-1] if it.staged else None
    if newest is None or newest.status != "taken back" or newest.steps[-1].what != "gate":
        return None
    return Alarm(
        name="gate-failed",
        severity=CRITICAL,
        text=f"release {newest.package_version} was taken back: {newest.reason}",
        remedy="its devices have gone back to the package before; mend what the gates found first",
    )


def no_round(it: Overview) -> Alarm | None:
    """No round was committed for far longer than between the last ones, though the schedule allows one."""
    status = it.status
    if it.kind != "fleet" or not it.is_up or _is_over(it):
        return None
    since = it.rounds[-1].at if it.rounds else status.since if status else it.now
    times = [one.at for one in it.rounds[-_QUIET_ROUNDS - 1 :]]
    usual = median(b - a for a, b in pairwise(times)) if len(times) > 1 else 0.0
    if status is not None:
        if status.waiting_for in ("paused", "held", "end"):
            return None
        # What the schedule says is no delay: it counts from when it has allowed a round.
        begins = status.until if status.waiting_for in _OF_THE_SCHEDULE else status.since
        since = max(since, begins or 0.0)
        usual = 0.0
    allowed = max(_QUIET_ROUNDS * usual, 1.5 * it.deadline_s, _LEAST_QUIET_S)
    quiet = it.now - since
    if quiet <= allowed:
        return None
    why = f": {status.text}" if status is not None else ""
    return Alarm(
        name="no-round",
        severity=CRITICAL,
        text=f"no round was committed for {_duration(quiet)} in which there could have been one{why}",
        remedy="see whether enough devices are there and willing, and logs/serverapp.log in its folder",
    )


def _is_over(it: Overview) -> bool:
    """Whether no round is left."""
    return not it.is_continuous and bool(it.rounds) and it.rounds[-1].round >= it.rounds_planned


def expires_soon(it: Overview) -> Alarm | None:
    """A certificate or signed metadata has less than a quarter of its life left, or is over."""
    due = [one for one in it.expiries if one.at - it.now < _LIFE_LEFT * one.lifetime_s]
    if not due:
        return None
    first = min(due, key=lambda one: one.at)
    left = first.at - it.now
    is_over = left <= 0
    when = "has expired" if is_over else f"expires in {_duration(left)}"
    return Alarm(
        name="expires-soon",
        severity=CRITICAL if left < 2 * 86400 else WARNING,
        text=f"{first.what} {when}" + (f", and {len(due) - 1} more" if len(due) > 1 else ""),
        remedy="keep fedstill-server up running: it renews the certificate and signs metadata anew every day",
    )


def disk_full(it: Overview) -> Alarm | None:
    """Little is free where the fleet's folder is."""
    if it.disk is None or not it.disk.total_bytes:
        return None
    free, share = it.disk.free_bytes, it.disk.free_bytes / it.disk.total_bytes
    for severity, (least_share, least_bytes) in ((CRITICAL, _FULL), (WARNING, _ALMOST_FULL)):
        if (share < least_share and free < 20 * least_bytes) or free < least_bytes:
            return Alarm(
                name="disk-full",
                severity=severity,
                text=f"{free / 1e9:.1f} GB, {share:.0%}, are free where the fleet's folder is",
                remedy="make room; a round that cannot be written is done again, and none before is lost",
            )
    return None


def privacy_nearly_spent(it: Overview) -> Alarm | None:
    """Nine tenths of the planned epsilon are spent."""
    spent = it.privacy
    if spent is None or spent.epsilon < _NEARLY_SPENT * spent.planned_epsilon:
        return None
    return Alarm(
        name="privacy-nearly-spent",
        severity=WARNING,
        text=f"epsilon {spent.epsilon:.2f} of {spent.planned_epsilon:.2f} is spent, in {spent.releases} "
        "releases of the device that was asked most",
        remedy="devices refuse beyond their owners' budgets; end the rounds, or make a generation with more "
        "noise",
    )


def not_up(it: Overview) -> Alarm | None:
    """Nobody serves the fleet."""
    if it.is_up is not False:
        return None
    return Alarm(
        name="not-up",
        severity=CRITICAL,
        text="the fleet is not up: no device reaches it",
        remedy="start it: fedstill-server up, or its systemd unit",
    )


def rounds_off(it: Overview) -> Alarm | None:
    """The kill switch is on."""
    if not (it.plan or {}).get("rounds_off"):
        return None
    return Alarm(
        name="rounds-off",
        severity=WARNING,
        text="the kill switch is on: no device takes part in rounds",
        remedy="switch it off as soon as the reason is gone",
    )


def damaged(it: Overview) -> Alarm | None:
    """Something of the folder cannot be read, or was changed."""
    if not it.problems:
        return None
    more = f", and {len(it.problems) - 1} more" if len(it.problems) > 1 else ""
    return Alarm(
        name="damaged",
        severity=CRITICAL,
        text=f"{it.problems[0][:300]}{more}",
        remedy="fedstill-server inspect says all that is damaged, and what to do about each",
    )


RULES: tuple[Rule, ...] = (
    not_up,
    accuracy_fell,
    gate_failed,
    damaged,
    no_round,
    disk_full,
    expires_soon,
    too_few_devices,
    many_left_out,
    privacy_nearly_spent,
    rounds_off,
)
NAMES = tuple(rule.__name__.replace("_", "-") for rule in RULES)
"""The name of each rule's alarm."""


def alarms_of(it: Overview) -> tuple[Alarm, ...]:
    """What all rules say, the critical first."""
    found = [alarm for rule in RULES if (alarm := rule(it)) is not None]
    return tuple(sorted(found, key=lambda alarm: alarm.severity != CRITICAL))


class AlarmBook:
    """What is raised in a fleet's folder, and since when; processes share it."""

    def __init__(self, folder: Path, database: FleetDatabase | None = None) -> None:
        self._file, self._database = folder / BOOK, database

    def update(self, found: Sequence[Alarm], *, now: float) -> tuple[Alarm, ...]:
        """Take down what is the matter now; what is new and what is over are told as events.

        Args:
            found: What the rules say.
            now: In seconds since 1970.

        Returns:
            The same alarms with the times since when they are raised.
        """
        with self._file.with_name(f".{BOOK}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self._read()
            dated = tuple(
                replace(one, since=before[one.name].since if one.name in before else now) for one in found
            )
            raised = [one for one in dated if one.name not in before]
            over = [one for name, one in before.items() if name not in {alarm.name for alarm in dated}]
            if raised or over:
                write_sealed_json(self._file, [asdict(one) for one in dated])
                for one in raised:
                    self._tell("raised", one)
                for one in over:
                    self._tell("cleared", one)
        return dated

    def dated(self, found: Sequence[Alarm], *, now: float) -> tuple[Alarm, ...]:
        """The same alarms with the times of the book, which is only read."""
        before = self._read()
        return tuple(
            replace(one, since=before[one.name].since if one.name in before else now) for one in found
        )

    def _tell(self, state: str, one: Alarm) -> None:
        if self._database is None:
            return
        words = one.text if state == "raised" else f"over: {one.text}"
        try:
            facts = asdict(one)
            del facts["text"]
            self._database.tell("alarm", words, state=state, **facts)
        except FedstillError:
            return  # the database is gone, which is an alarm of its own

    def _read(self) -> dict[str, Alarm]:
        try:
            return {one["name"]: Alarm(**one) for one in read_sealed_json(self._file)}
        except FileNotFoundError:
            return {}
        except (FedstillError, TypeError, KeyError):
            return {}  # it is written anew


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
