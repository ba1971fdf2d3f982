"""What the server knows of a device, from whoever saw it last."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DeviceState:
    """A registered device as it was seen; times are seconds since 1970, and None where there was none.

    Attributes:
        name: The name that its key is registered under.
        node: Its Flower node, as text, since JSON readers round 64-bit numbers; empty before it has one.
        online: Whether Flower takes it for present.
        last_seen_at: When it last asked for anything.
        package_version: Of the package in use; 0 where it was never said.
        generation: Of the fleet's configuration that the package belongs to; 0 where it was never said.
        family: That of its student.
        agent: The version of fedstill that it runs.
        willing: Whether it would do a round when it was last asked; None where it was not.
        last_round: The last round that asked it; 0 where none did.
        last_outcome: What came of that: "counted", or the word of rounds.gate.Reason.
        last_outcome_text: Details of it.
        counted_rounds: How many of its answers were counted.
        refusals: How many of its answers were none, or were left out.
    """

    name: str
    node: str = ""
    online: bool = False
    last_seen_at: float | None = None
    package_version: int = 0
    generation: int = 0
    family: str = ""
    agent: str = ""
    willing: bool | None = None
    last_round: int = 0
    last_outcome: str = ""
    last_outcome_text: str = ""
    counted_rounds: int = 0
    refusals: int = 0


@dataclass(frozen=True, kw_only=True)
class Happening:
    """An event of the fleet.

    Attributes:
        number: Grows with each one.
        at: When, in seconds since 1970.
        kind: One word of what it is, such as "round", "device", "release", "alarm".
        text: For a person.
        document: For a program.
    """

    number: int
    at: float
    kind: str
    text: str
    document: dict[str, object]
