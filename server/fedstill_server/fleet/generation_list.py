"""Lists the generations of a fleet, and tells in words what each changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.fleet.generations import (
    facts_of_generation,
    generation_folder,
    known_generations,
    settled,
)
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.run_folder import read_fleet_config

_OTHERWISE_TOLD = ("run", "generation", "begins_after", "rounds", "public_set")
_SHOWN = 60  # characters of a value


@dataclass(frozen=True, kw_only=True)
class GenerationLine:
    """A generation, as a list of them shows it.

    Attributes:
        number: The generation.
        state: "in force", "staged", "over" or "discarded".
        prepared_at: In seconds since 1970; None is unknown.
        in_force_at: The same of when it came into force; None where it has not, and of a first one.
        first_round: Its first round; None where it has none.
        last_round: Its last one so far.
        changes: What of its configuration is other than in the one before, in words.
    """

    number: int
    state: str
    prepared_at: float | None
    in_force_at: float | None
    first_round: int | None
    last_round: int | None
    changes: tuple[str, ...]


def generations(fleet: Path) -> list[GenerationLine]:
    """All generations of a fleet, first to last.

    Raises:
        FedstillError: The fleet is not prepared, or a file is damaged.
    """
    with settled(fleet):
        now, last_round = read_fleet_config(fleet), RunStore(fleet).last_round()
        facts = {number: facts_of_generation(fleet, number) for number in known_generations(fleet)}
        configs = {number: read_fleet_config(generation_folder(fleet, number)) for number in facts}
    configs[now.generation] = now
    digests = {number: one.public_sha256 for number, one in facts.items()}
    lines: list[GenerationLine] = []
    before: int | None = None
    for number in sorted(configs):
        one, known = configs[number], facts.get(number)
        is_discarded = known is not None and known.discarded
        state = "in force" if number == now.generation else "over" if number < now.generation else "staged"
        following = [n for n in sorted(configs) if number < n <= now.generation and not _gone(facts, n)]
        end = configs[following[0]].begins_after if following else last_round
        has_rounds = not is_discarded and state != "staged" and end > one.begins_after
        changes: tuple[str, ...] = ()
        if before is not None:
            same = digests.get(before) == digests.get(number)
            changes = changes_between(configs[before], one, same_public=same)
        lines.append(
            GenerationLine(
                number=number,
                state="discarded" if is_discarded else state,
                prepared_at=None if known is None else known.prepared_at,
                in_force_at=None if known is None else known.in_force_at,
                first_round=one.begins_after + 1 if has_rounds else None,
                last_round=end if has_rounds else None,
                changes=changes,
            )
        )
        if not is_discarded:
            before = number
    return lines


def changes_between(before: FleetConfig, after: FleetConfig, *, same_public: bool) -> tuple[str, ...]:
    """What of a configuration is other than in another one, each as `name: value, was value`."""
    was, now = dict(_flat(before.to_json())), dict(_flat(after.to_json()))
    found = [] if same_public else ["another public set"]
    if (before.own_rounds, before.continuous) != (after.own_rounds, after.continuous):
        found.append(f"rounds: {_rounds(after)}, was {_rounds(before)}")
    for name in dict.fromkeys([*was, *now]):
        if name.split(".")[0] in _OTHERWISE_TOLD or name == "continuous":
            continue
        if was.get(name) != now.get(name):
            found.append(f"{name}: {_shown(now.get(name))}, was {_shown(was.get(name))}")
    return tuple(found)


def _gone(facts: dict[int, Any], number: int) -> bool:
    return number in facts and facts[number].discarded


def _rounds(config: FleetConfig) -> str:
    return "without an end" if config.continuous else str(config.own_rounds)


def _flat(document: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _shown(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
