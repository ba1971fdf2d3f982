"""Reads an overview out of a folder: of a fleet, up or not, or of a simulated run while it goes on.

Nothing is changed but the times at which alarms were raised. Rounds are read once; what cannot be read
becomes a problem that the overview names, and the rest is shown.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import psutil
from cryptography import x509
from fedstill_proto.errors import FedstillError
from tuf.api.metadata import Snapshot, Targets, Timestamp

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.config.schedule import Schedule
from fedstill_server.console.alarms import AlarmBook, alarms_of
from fedstill_server.console.overview import Disk, Expiry, OfferedPackage, Overview, PrivacySpent
from fedstill_server.console.round_facts import KEPT_ROUNDS, LeftOut, RoundFacts, Totals
from fedstill_server.fleet.certificates import authority_file, server_files
from fedstill_server.fleet.device_list import listed_devices
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.fleet.generation_list import GenerationLine, generations
from fedstill_server.fleet.generations import spent_rho
from fedstill_server.operations.audit import AuditEntry, AuditLog
from fedstill_server.operations.database import FleetDatabase
from fedstill_server.operations.device_state import DeviceState, Happening
from fedstill_server.operations.errors import OperationsError
from fedstill_server.publish.metadata_files import LIFETIMES, MetadataFiles
from fedstill_server.publish.repository import Repository
from fedstill_server.releases.release import ReleaseFolder
from fedstill_server.rounds.most_asked import AskedCounts
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.rounds_status import RoundsStatus
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.run_folder import CONFIG_FILE, read_fleet_config

KEPT_EVENTS, KEPT_AUDIT, KEPT_LEFT_OUT, KEPT_RELEASES = 200, 100, 200, 20
_FRESH_S, _GENERATIONS_FRESH_S = 1.0, 10.0

Part = TypeVar("Part")


class View:
    """A folder as an operator sees it; safe to share among threads."""

    def __init__(
        self,
        folder: Path,
        *,
        database: FleetDatabase | None = None,
        phase: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Look at a folder.

        Args:
            folder: Of a fleet, or of a simulated run.
            database: The fleet's, where there is one.
            phase: What a simulation does now, in words.
            clock: Gives the time in seconds since 1970.
        """
        self.folder, self.database = folder, database
        self._phase, self._clock = phase, clock
        self._lock = threading.Lock()
        self._rounds = _Rounds(folder)
        self._seen: Overview | None = None
        self._fresh_s = _FRESH_S
        self._config: tuple[int, FleetConfig] | None = None
        self._generations: tuple[float, list[GenerationLine]] = (0.0, [])
        self._audit: tuple[int, tuple[list[AuditEntry], list[str]]] | None = None

    @classmethod
    def of_fleet(cls, folder: Path, *, clock: Callable[[], float] = time.time) -> View:
        """The view of a fleet, with its database of operations."""
        return cls(FleetFolder.open(folder).folder, database=FleetDatabase.open(folder), clock=clock)

    @property
    def is_fleet(self) -> bool:
        """Whether the folder is a real fleet's."""
        return FleetFolder.is_at(self.folder)

    def overview(self) -> Overview:
        """What there is to see now; at most a second old, or ten times as old as it took to read.

        Raises:
            FedstillError: The folder's configuration cannot be read: there is nothing to show.
        """
        with self._lock:
            now = self._clock()
            if self._seen is None or not 0 <= now - self._seen.now < self._fresh_s:
                began = time.monotonic()
                self._seen = self._read(now)
                self._fresh_s = max(_FRESH_S, 10 * (time.monotonic() - began))  # of a large fleet
            return self._seen

    def watch(self) -> Overview:
        """The overview, after writing down which alarms are new and which are over."""
        it = self.overview()
        if not self.is_fleet:
            return it
        return replace(it, alarms=AlarmBook(self.folder, self.database).update(it.alarms, now=it.now))

    def _read(self, now: float) -> Overview:
        config, problems = self._read_config(), _Problems()
        problems.part(self._rounds.read_on, None)
        rounds = self._rounds
        it = Overview(
            now=now,
            run=config.run,
            kind="fleet" if self.is_fleet else "simulation",
            method=config.method.name,
            mode=config.mode,
            rounds_planned=config.rounds,
            families=config.families,
            phase=self._phase(),
            is_continuous=config.continuous,
            generation=config.generation,
            wanted_devices=config.cohort.goal_count,
            deadline_s=config.cohort.deadline_s,
            rounds=tuple(rounds.facts),
            totals=deepcopy(rounds.totals),
            left_out=tuple(rounds.left_out),
            counted=rounds.counted,
            privacy=problems.part(lambda: self._privacy(config), None),
            disk=problems.part(lambda: _disk(self.folder), None),
        )
        if self.is_fleet:
            it = self._with_fleet(it, problems)
        it = replace(it, problems=tuple(problems.found))
        found = alarms_of(it)
        if self.is_fleet:
            found = AlarmBook(self.folder).dated(found, now=now)
        return replace(it, alarms=found)

    def _with_fleet(self, it: Overview, problems: _Problems) -> Overview:
        fleet = FleetFolder(self.folder)
        database = self.database
        audit = problems.part(self._read_audit, None)
        problems.found += audit[1] if audit else ()
        nothing: list[Happening] = []
        events, nobody = nothing, list[DeviceState]()
        states = nobody
        if database is not None:
            states = problems.part(database.devices, nobody)
            events = problems.part(lambda: database.last_events(KEPT_EVENTS), nothing)
        repository = Repository(self.folder)
        plan = problems.part(repository.plan, None)
        lines = problems.part(lambda: self._read_generations(it.now), self._generations[1])
        return replace(
            it,
            is_up=_is_up(fleet),
            address=problems.part(lambda: fleet.settings.address, ""),
            devices=problems.part(lambda: listed_devices(fleet, states), []),
            releases=problems.part(lambda: _releases(repository), ()),
            plan=None if plan is None else asdict(plan),
            staged=problems.part(lambda: ReleaseFolder(self.folder).all()[-KEPT_RELEASES:], []),
            generations=lines,
            rounds=_of_generations(it.rounds, lines),
            schedule=problems.part(
                lambda: Schedule.read(self.folder, continuous=it.is_continuous), it.schedule
            ),
            status=_waiting_since(RoundsStatus.read(self.folder), events),
            expiries=problems.part(lambda: _expiries(fleet), ()),
            events=events,
            audit=() if audit is None else tuple(audit[0]),
        )

    def _read_config(self) -> FleetConfig:
        changed = (self.folder / CONFIG_FILE).stat().st_mtime_ns if self._has_config() else 0
        if self._config is None or self._config[0] != changed:
            self._config = changed, read_fleet_config(self.folder)
        return self._config[1]

    def _has_config(self) -> bool:
        return (self.folder / CONFIG_FILE).exists()

    def _read_generations(self, now: float) -> list[GenerationLine]:
        """Those of the fleet; read every few seconds, as each is a whole configuration."""
        if not 0 <= now - self._generations[0] < _GENERATIONS_FRESH_S:
            self._generations = now, generations(self.folder)
        return self._generations[1]

    def _read_audit(self) -> tuple[list[AuditEntry], list[str]]:
        """The newest acts, and what is wrong with the log; read anew where it has grown."""
        log = AuditLog(self.folder)
        size = log.file.stat().st_size if log.file.exists() else 0
        if self._audit is None or self._audit[0] != size:
            self._audit = size, (log.entries()[-KEPT_AUDIT:], log.check())
        return self._audit[1]

    def _privacy(self, config: FleetConfig) -> PrivacySpent | None:
        rule = config.privacy
        if rule is None:
            return None
        # It takes two seconds to import.
        from fedstill_server.privacy.accountant import epsilon_of_gaussians, epsilon_of_rounds

        releases = self._rounds.most_asked
        if rule.mode == "central":
            releases = RunStore(self.folder).account(config.run).most_asked()
        epsilon = epsilon_of_rounds(rule.noise_multiplier, releases, rule.delta)
        planned = epsilon_of_rounds(rule.noise_multiplier, config.rounds, rule.delta)
        if config.begins_after:  # of several generations, each with its own noise
            spent, to_come = spent_rho(self.folder), config.rounds - RunStore(self.folder).last_round()
            epsilon = epsilon_of_gaussians(spent, rule.delta)
            planned = epsilon_of_gaussians(spent + to_come * rule.noising.rho, rule.delta)
        return PrivacySpent(
            mode=rule.mode,
            epsilon=epsilon,
            planned_epsilon=planned,
            delta=rule.delta,
            releases=releases,
            planned_releases=config.rounds,
        )


class _Rounds:
    """The rounds of a folder, each read once."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._last = folder, 0
        self.counted: tuple[str, ...] = ()
        self._forget()

    @property
    def most_asked(self) -> int:
        """How often the device that was asked most can have answered."""
        return self._asked.most

    def read_on(self) -> None:
        """Read what was committed since the last time; all of it where the run has gone back."""
        if not RunStore.is_at(self._folder):
            return
        store = RunStore(self._folder)
        try:
            if store.last_round() < self._last:
                self._forget()
            for record in store.records(after=self._last):
                one = RoundFacts.of(record, at=_ended_at(record) or store.committed_at(record.round))
                self.facts.append(one)
                self.totals.add(one)
                self.left_out += [LeftOut.of(record, entry) for entry in record.quarantined]
                self.counted, self._last = record.counted, record.round
                self._asked.add(record)
        finally:
            store.close()

    def _forget(self) -> None:
        self.facts: deque[RoundFacts] = deque(maxlen=KEPT_ROUNDS)
        self.left_out: deque[LeftOut] = deque(maxlen=KEPT_LEFT_OUT)
        self.totals, self.counted = Totals(), ()
        self._asked, self._last = AskedCounts(), 0


class _Problems:
    """What could not be read, in words."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def part(self, read: Callable[[], Part], otherwise: Part) -> Part:
        """What `read` gives, or `otherwise` where it fails."""
        try:
            return read()
        except FedstillError as error:
            self.found.append(str(error))
        except OSError as error:
            self.found.append(f"{error.filename or 'a file'}: cannot be read: {error.strerror or error}")
        return otherwise


def _waiting_since(status: RoundsStatus | None, events: Sequence[Happening]) -> RoundsStatus | None:
    """How the rounds stand, since the wait for the same thing began: its words may have changed since."""
    if status is None or not status.waiting_for:
        return status
    since = status.since
    for one in reversed(events):
        if one.kind in ("round", "round-started"):
            break
        if one.kind == "waiting":
            if one.document.get("reason") != status.waiting_for:
                break
            since = min(since, one.at)
    return replace(status, since=since)


def _of_generations(rounds: Sequence[RoundFacts], lines: Sequence[GenerationLine]) -> tuple[RoundFacts, ...]:
    """The rounds, each with the generation that it is of."""
    ended = [(line.last_round or 0, line.number) for line in lines if line.first_round is not None]
    if len(ended) < 2:
        number = ended[0][1] if ended else 1
        return tuple(rounds) if number == 1 else tuple(replace(one, generation=number) for one in rounds)
    return tuple(
        replace(one, generation=next((number for last, number in ended if one.round <= last), ended[-1][1]))
        for one in rounds
    )


def _is_up(fleet: FleetFolder) -> bool:
    """Whether a process that `up` has started is alive."""
    try:
        entries = json.loads((fleet.logs / "children.json").read_text())
        for entry in entries:
            with suppress(psutil.Error):
                if psutil.Process(entry["pid"]).create_time() == entry["created"]:
                    return True
    except (OSError, ValueError, TypeError, KeyError):
        pass
    return False


def _ended_at(record: RoundRecord) -> float | None:
    """When a round ended, in seconds since 1970, where its record says so."""
    try:
        return datetime.fromisoformat(record.finished_at).timestamp()
    except ValueError:
        return None


def _releases(repository: Repository) -> tuple[OfferedPackage, ...]:
    plan = repository.plan()
    offered = [(repository.published(), "all", 1.0)]
    if plan is not None and plan.candidate is not None:
        offered.append((repository.candidates(), "candidate", plan.candidate.share))
    return tuple(
        OfferedPackage(
            family=name,
            package_version=one.package_version,
            size_bytes=one.size_bytes,
            stage=stage,
            share=share,
        )
        for packages, stage, share in offered
        for name, one in packages.items()
    )


def _expiries(fleet: FleetFolder) -> tuple[Expiry, ...]:
    found = []
    for what, path in (
        ("the fleet's certificate authority", authority_file(fleet)),
        ("the server's certificate", server_files(fleet)[0]),
    ):
        if path.exists():
            try:
                one = x509.load_pem_x509_certificate(path.read_bytes())
            except ValueError:
                raise OperationsError(f"{path}: is no certificate.") from None
            life = (one.not_valid_after_utc - one.not_valid_before_utc).total_seconds()
            found.append(Expiry(what=what, at=one.not_valid_after_utc.timestamp(), lifetime_s=life))
    metadata = MetadataFiles(fleet.repository / "metadata")
    roles = (metadata.root(), metadata.read(Targets), metadata.read(Snapshot), metadata.read(Timestamp))
    for signed in roles:
        life = LIFETIMES[signed.type].total_seconds()
        what = f"the signed metadata {signed.type}.json"
        found.append(Expiry(what=what, at=signed.expires.timestamp(), lifetime_s=life))
    return tuple(found)


def _disk(folder: Path) -> Disk:
    used = shutil.disk_usage(folder)
    return Disk(free_bytes=used.free, total_bytes=used.total)
