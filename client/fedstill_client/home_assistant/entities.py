"""What was understood, as Home Assistant's intents take it: entities by the names of their slots."""

from __future__ import annotations

from typing import Any

from fedstill_proto.text.intents import Understanding


def entities_of(understood: Understanding) -> list[tuple[str, Any]]:
    """The entities of the first intent, by name."""
    return []
