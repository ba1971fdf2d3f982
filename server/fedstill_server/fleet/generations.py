"""Generations of a fleet: its configurations, one after the other, while its devices stay enrolled.

generations/<n>/          the generation as it was prepared: config.json, public.npz and what else its task
                          needs, generation.json (GenerationFacts), server/ (its state, as that of a round 0)
generations/switch.json   there while a switch is under way

config.json and the data in the fleet's folder are those of the generation in force. A switch is written down
before anything is changed for it, and each of its steps can be done again: whoever was killed in it left the
old generation whole, or a switch that the next process to ask for the generation in force brings to its end.
Rounds are committed, and noised means are debited, only while their generation is in force.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedstill_proto.system.files import SHARED
from fedstill_proto.system.folder_digests import FolderDigests
from fedstill_proto.system.sealed import read_sealed_json, write_sealed_json

from fedstill_server.config.codec import from_json, to_json
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.fleet.errors import FleetError
from fedstill_server.operations.database import FleetDatabase
from fedstill_server.operations.errors import OperationsError
from fedstill_server.rounds.generation_guard import GenerationOver
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.run_folder import CONFIG_FILE, read_fleet_config, read_generation
from fedstill_server.state import FleetState

GENERATIONS = "generations"
FACTS_FILE, SWITCH_FILE = "generation.json", "switch.json"

log = logging.getLogger("fedstill.generations")


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What of the fleet's newest state a generation begins with; the rest is as it was prepared.

    Attributes:
        teacher: Whether the teacher goes on.
        students: The families whose students go on.
        method: Whether what the method remembers goes on.
    """

    teacher: bool = False
    students: tuple[str, ...] = ()
    method: bool = False

    def of(self, newest: FleetState, prepared: FleetState) -> FleetState:
        """The state that the generation begins with; carrying over from that again changes nothing."""
        going_on = {family: newest.students[family] for family in self.students}
        return FleetState(
            teacher=newest.teacher if self.teacher else prepared.teacher,
            students={**prepared.students, **going_on},
            arrays=newest.arrays if self.method else prepared.arrays,
        )


@dataclass(frozen=True, kw_only=True)
class GenerationFacts:
    """What is known of a generation beside its configuration.

    Attributes:
        prepared_at: When it was prepared, in seconds since 1970; None is unknown, of a first one.
        carried: What it takes over when it comes into force.
        public_sha256: The digest of its public set.
        budget_rho: What all rounds of the fleet may have cost a device at its end, in zCDP; None without
            privacy.
        in_force_at: When it came into force; None where it has not.
        discarded: Whether it never will.
    """

    prepared_at: float | None = None
    carried: Carried = dataclasses.field(default_factory=Carried)
    public_sha256: str = ""
    budget_rho: float | None = None
    in_force_at: float | None = None
    discarded: bool = False


@dataclass(frozen=True, kw_only=True)
class StagedGeneration:
    """A generation that is prepared and not in force yet; packages are built of its folder.

    Attributes:
        number: The generation.
        folder: generations/<n> of the fleet: a run's folder, with its configuration, data and state.
        config: What its rounds will do; its first round is known when it comes into force.
        facts: What else is known of it.
    """

    number: int
    folder: Path
    config: FleetConfig
    facts: GenerationFacts


@dataclass(frozen=True, kw_only=True)
class _Switch:
    """A switch that is under way: generations/switch.json."""

    generation: int
    after_round: int
    at: float


def is_prepared(fleet: Path) -> bool:
    """Whether the fleet has a first generation."""
    return any((fleet / "server" / "rounds").glob("round-*.json"))


def generation_folder(fleet: Path, number: int) -> Path:
    """Where a generation is kept as it was prepared."""
    return fleet / GENERATIONS / str(number)


def staged_generation(fleet: Path) -> StagedGeneration | None:
    """The generation that is to come into force next; None where none is prepared.

    Raises:
        FedstillError: A file of it is damaged.
    """
    with settled(fleet):
        return _staged(fleet, read_fleet_config(fleet).generation)


def switch_generation(fleet: Path, *, clock: Callable[[], float] = time.time) -> FleetConfig:
    """Put the staged generation into force; a run of the one before ends, and counts its open round for
    nothing.

    Args:
        fleet: The fleet's folder.
        clock: Gives the time in seconds since 1970.

    Returns:
        The configuration that is in force.

    Raises:
        FleetError: None is staged, or the privacy budget that it was prepared with is spent meanwhile.
    """
    with settled(fleet):
        staged = _staged(fleet, read_fleet_config(fleet).generation)
        if staged is None:
            raise FleetError(
                f"{fleet}: no generation is staged; prepare one: fedstill-server prepare {fleet}"
            )
        after_round = RunStore(fleet).last_round()
        _coming(fleet, staged, after_round)  # refuses what cannot be before anything is written
        switch = _Switch(generation=staged.number, after_round=after_round, at=clock())
        write_sealed_json(fleet / GENERATIONS / SWITCH_FILE, to_json(switch))
        _finish(fleet)
        config = read_fleet_config(fleet)
    text = f"generation {config.generation} is in force, from round {config.begins_after + 1} on"
    try:
        with FleetDatabase.open(fleet, clock=clock) as database:
            database.tell("generation", text, generation=config.generation, after_round=config.begins_after)
    except OperationsError as error:
        log.warning("%s", error)
    return config


def discard_generation(fleet: Path) -> int:
    """Give the staged generation up, and return its number, which no other gets.

    Raises:
        FleetError: None is staged.
    """
    with settled(fleet):
        staged = _staged(fleet, read_fleet_config(fleet).generation)
        if staged is None:
            raise FleetError(f"{fleet}: no generation is staged.")
        facts = dataclasses.replace(staged.facts, discarded=True)
        write_sealed_json(staged.folder / FACTS_FILE, to_json(facts))
        for path in staged.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (FACTS_FILE, CONFIG_FILE):
                path.unlink()
        return staged.number


def config_in_force(fleet: Path) -> FleetConfig:
    """The configuration of the generation in force; a switch that was cut off is brought to its end."""
    with settled(fleet):
        return read_fleet_config(fleet)


def is_switching(fleet: Path) -> bool:
    """Whether a switch is under way, or was cut off."""
    return (fleet / GENERATIONS / SWITCH_FILE).exists()


@contextmanager
def in_force(fleet: Path, generation: int) -> Iterator[None]:
    """A context in which the generation is in force and stays so.

    Raises:
        GenerationOver: Another one is in force.
    """
    with settled(fleet):
        now = read_generation(fleet)
        if now != generation:
            raise GenerationOver(generation, now)
        yield


@contextmanager
def settled(fleet: Path) -> Iterator[None]:
    """A context in which no other process changes the generation in force, or commits a round; a switch that
    was cut off is brought to its end first.
    """
    with (fleet / ".generation.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _finish(fleet)
        yield


def facts_of_generation(fleet: Path, number: int) -> GenerationFacts:
    """What is written down of a generation beside its configuration."""
    path = generation_folder(fleet, number) / FACTS_FILE
    return from_json(GenerationFacts, read_sealed_json(path), where=str(path))


def known_generations(fleet: Path) -> list[int]:
    """The numbers of all generations that were ever prepared beside the first."""
    folders = (fleet / GENERATIONS).glob("*/" + CONFIG_FILE)
    return sorted(int(path.parent.name) for path in folders if path.parent.name.isdigit())


def archive(fleet: Path, config: FleetConfig, document: Any) -> None:
    """Keep the configuration of the generation in force under its number, where it is not kept yet."""
    folder = generation_folder(fleet, config.generation)
    if (folder / CONFIG_FILE).exists():
        return
    facts = GenerationFacts(public_sha256=digest_of_file(fleet / config.public_set))
    write_sealed_json(folder / FACTS_FILE, to_json(facts))
    write_sealed_json(folder / CONFIG_FILE, document)


def digest_of_file(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _staged(fleet: Path, now: int) -> StagedGeneration | None:
    for number in known_generations(fleet)[::-1]:
        if number <= now:
            return None
        folder, facts = generation_folder(fleet, number), facts_of_generation(fleet, number)
        if not facts.discarded:
            return StagedGeneration(
                number=number, folder=folder, config=read_fleet_config(folder), facts=facts
            )
    return None


def _coming(fleet: Path, staged: StagedGeneration, after_round: int) -> FleetConfig:
    """The configuration that the staged generation has once it goes on after a round.

    Where rounds of the one before have spent of the budget meanwhile, it has as many rounds less.
    """
    rounds, rule, budget = staged.config.own_rounds, staged.config.privacy, staged.facts.budget_rho
    if rule is not None and budget is not None:
        left = (budget - spent_rho(fleet)) / rule.noising.rho
        rounds = min(rounds, math.floor(left + 1e-6))
        if rounds < 1:
            raise FleetError(
                f"{fleet}: the rounds since generation {staged.number} was prepared have spent its privacy "
                "budget; discard it, and prepare another (fedstill-server generations --discard)"
            )
    return dataclasses.replace(staged.config, begins_after=after_round, rounds=after_round + rounds)


def spent_rho(fleet: Path) -> float:
    """What the fleet's rounds can have cost the device that was asked most, in zCDP.

    With central noise it is what the account says; with that of devices, of each round in full. The budget is
    the data's: rounds of all generations count.
    """
    config, store = read_fleet_config(fleet), RunStore(fleet)
    ends = {config.generation: store.last_round()}
    configs = {config.generation: config}
    for number in known_generations(fleet):
        if number < config.generation and not facts_of_generation(fleet, number).discarded:
            configs[number] = read_fleet_config(generation_folder(fleet, number))
    after = config.begins_after
    for number in sorted(configs, reverse=True)[1:]:
        ends[number], after = after, configs[number].begins_after
    spent = store.account(config.run).rho()
    for number, one in configs.items():
        if one.privacy is not None and one.privacy.mode != "central":
            spent += (ends[number] - one.begins_after) * one.privacy.noising.rho
    return spent


def _finish(fleet: Path) -> None:
    """Do what a switch that is under way has left, if there is one; every step may be done again."""
    file = fleet / GENERATIONS / SWITCH_FILE
    if not file.exists():
        return
    switch = from_json(_Switch, read_sealed_json(file), where=str(file))
    folder, now = generation_folder(fleet, switch.generation), read_fleet_config(fleet)
    document = read_sealed_json(folder / CONFIG_FILE)
    facts = facts_of_generation(fleet, switch.generation)
    if now.generation != switch.generation:
        archive(fleet, now, read_sealed_json(fleet / CONFIG_FILE))
        staged = StagedGeneration(
            number=switch.generation, folder=folder, config=read_fleet_config(folder), facts=facts
        )
        config = _coming(fleet, staged, switch.after_round)
        digests = FolderDigests(fleet)
        for name in document["files"]:
            digests.write(fleet / name, (folder / name).read_bytes(), mode=SHARED)
        _begin(fleet, folder, config, facts.carried)
        document = {**document, "fleet": config.to_json()}
        write_sealed_json(folder / CONFIG_FILE, document)
        write_sealed_json(folder / FACTS_FILE, to_json(dataclasses.replace(facts, in_force_at=switch.at)))
        write_sealed_json(fleet / CONFIG_FILE, document)
    shutil.rmtree(folder / "server", ignore_errors=True)  # the state has gone over into the fleet's
    file.unlink()


def _begin(fleet: Path, folder: Path, config: FleetConfig, carried: Carried) -> None:
    """Have the fleet's rounds go on from the generation's first state."""
    store, prepared = RunStore(fleet), RunStore(folder).latest()
    checkpoint = store.latest()
    if checkpoint is None or prepared is None:
        raise FleetError(f"{fleet}: the state of generation {config.generation} is lost; restore a backup")
    families = families_of_devices(fleet)
    going_on = {
        device for device in checkpoint.installed if families.get(device, "") in ("", *carried.students)
    }
    state = carried.of(checkpoint.state, prepared.state)
    if config.privacy is not None and config.privacy.mode == "central":
        store.account(config.run).forget_means_after(checkpoint.round)
    store.begin_generation(state, config.generation, installed=going_on)


def families_of_devices(fleet: Path) -> dict[str, str]:
    """The student family of each device that has ever said it; nothing where the database does not answer."""
    try:
        with FleetDatabase.open(fleet) as database:
            return {device.name: device.family for device in database.devices() if device.family}
    except OperationsError as error:
        log.warning("%s", error)
        return {}
