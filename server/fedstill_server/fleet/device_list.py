"""All devices of a fleet with what is known of each: registered, seen, asked, revoked."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from fedstill_server.fleet.devices import DeviceRegister
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.fleet.nodes import read_nodes
from fedstill_server.operations.device_state import DeviceState

COUNTED = "counted"  # the good outcome of a round (round_notes.py)


class DeviceMark(enum.StrEnum):
    """What a device can be listed by; one of the first four is its state."""

    ONLINE = "online"
    OFFLINE = "offline"
    NEVER = "never"  # has it come up
    REVOKED = "revoked"
    REFUSED = "refused"  # its last answer was none, or was left out
    UNWILLING = "unwilling"  # it would do no round when it was last asked


@dataclass(frozen=True, kw_only=True)
class ListedDevice:
    """A device, and what is known of it.

    Attributes:
        state: What was seen of it; nothing but its name for one that was never up.
        fingerprint: Of its key, as `ssh-keygen -l` shows it.
        registered_at: In seconds since 1970; 0 where an earlier release registered it.
        came_up_at: When it last came up, as Flower writes it; empty where it never has.
        revoked_at: When it was revoked; None while it is registered.
        reason: Why it was revoked.
    """

    state: DeviceState
    fingerprint: str
    registered_at: float = 0.0
    came_up_at: str = ""
    revoked_at: float | None = None
    reason: str = ""

    @property
    def marks(self) -> tuple[DeviceMark, ...]:
        """Its state, and what else it is listed by."""
        seen = self.state
        if self.revoked_at is not None:
            return (DeviceMark.REVOKED,)
        if seen.online:
            first = DeviceMark.ONLINE
        else:
            is_known = bool(self.came_up_at) or seen.last_seen_at is not None
            first = DeviceMark.OFFLINE if is_known else DeviceMark.NEVER
        refused = (DeviceMark.REFUSED,) if seen.last_outcome not in ("", COUNTED) else ()
        unwilling = (DeviceMark.UNWILLING,) if seen.willing is False else ()
        return (first, *refused, *unwilling)

    def to_json(self) -> dict[str, object]:
        """The device as a JSON object."""
        own = {name: value for name, value in vars(self).items() if name != "state"}
        return {**vars(self.state), **own, "marks": [str(mark) for mark in self.marks]}


def listed_devices(fleet: FleetFolder, states: Iterable[DeviceState] = ()) -> list[ListedDevice]:
    """All devices: registered ones by name, those behind relays that were ever greeted, and revoked ones.

    Args:
        fleet: The fleet.
        states: What its database knows of devices.
    """
    register, seen = DeviceRegister(fleet.devices), {state.name: state for state in states}
    nodes = {each.name: (str(node), each.activated_at) for node, each in read_nodes(fleet.nodes).items()}
    registered = [
        ListedDevice(
            state=_state(seen, one.name, nodes.get(one.name, ("", ""))[0]),
            fingerprint=one.fingerprint,
            registered_at=one.registered_at,
            came_up_at=nodes.get(one.name, ("", ""))[1],
        )
        for one in register.all()
    ]
    names = {one.state.name for one in registered}
    relays = tuple(f"{one.name}/" for one in register.all() if one.relay_devices)
    behind = [
        ListedDevice(
            # As far as is known here: its relay looks after it.
            state=replace(state, online=_state(seen, name.partition("/")[0], "").online),
            fingerprint="registered at its relay",
            came_up_at="at its relay",
        )
        for name, state in sorted(seen.items())
        if name not in names and name.startswith(relays)
    ]
    revoked = [
        ListedDevice(
            state=DeviceState(name=one.name),
            fingerprint=one.fingerprint,
            revoked_at=one.revoked_at,
            reason=one.reason,
        )
        for one in register.revoked()
    ]
    return registered + behind + revoked


def _state(seen: Mapping[str, DeviceState], name: str, node: str) -> DeviceState:
    return seen.get(name) or DeviceState(name=name, node=node)
