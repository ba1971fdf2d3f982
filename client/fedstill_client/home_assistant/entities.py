"""Slots as the entities that Home Assistant's intents take.

Home Assistant gives a number another name in each intent: the brightness of a light, the position of a blind.
A duration is hours, minutes and seconds, and the name of a timer is its name.
"""

from __future__ import annotations

from typing import Any

from fedstill_proto.text.intents import Understanding
from fedstill_proto.text.slots import SlotKind, SlotValue

_NUMBERS = {
    "HassLightSet": "brightness",
    "HassSetVolume": "volume_level",
    "HassSetVolumeRelative": "volume_step",
    "HassSetPosition": "position",
    "HassFanSetSpeed": "percentage",
}
_NAMES = {"query": "search_query", "command": "conversation_command", "timer": "name"}


def entities_of(understood: Understanding) -> list[tuple[str, Any]]:
    """The entities of the first intent, by name."""
    intent = understood.intents[0].name if understood.intents else ""
    return [entity for slot in understood.slots for entity in _entities(slot, intent)]


def _entities(slot: SlotValue, intent: str) -> list[tuple[str, Any]]:
    kind, value = SlotKind.of_name(slot.name), slot.value
    if value is None:
        return [(_NAMES.get(slot.name, slot.name), slot.text)]
    if kind is SlotKind.DURATION and isinstance(value, int | float):
        minutes, seconds = divmod(round(value), 60)
        hours, minutes = divmod(minutes, 60)
        parts = {"hours": hours, "minutes": minutes, "seconds": seconds}
        return [(name, many) for name, many in parts.items() if many]
    if kind is SlotKind.NUMBER:
        name = "temperature" if slot.unit == "kelvin" else _NUMBERS.get(intent, slot.name)
        return [(name, value)]
    if not isinstance(value, int | float | str):
        return [(slot.name, value["name"])]
    return [(_NAMES.get(slot.name, slot.name), value)]
