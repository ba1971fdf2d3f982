"""Places of families that are no Python modules, by what they begin with: `hf:models/bert`.

Each kind has a module that knows it, which is imported when such a place is named.
"""

from __future__ import annotations

import importlib
from typing import Protocol

from fedstill_server.families.family import Family

_KINDS = {"hf:": "fedstill_server.hugging_face.places"}


class FamilyPlaces(Protocol):
    """What knows the places of one kind; a rule of what trains is cut off before."""

    def name_of(self, place: str, *, where: str) -> str:
        """The name of the family at a place, fit for files and messages."""

    def require(self, place: str, *, where: str) -> None:
        """Refuse a place where nothing lies, quickly; raises PluginError."""

    def family(self, place: str, *, where: str) -> Family:
        """The family that lies there: the same object as long as nothing there changes."""


def places_of(place: str) -> FamilyPlaces | None:
    """What knows a place; None for a module's."""
    for prefix, module in _KINDS.items():
        if place.startswith(prefix):
            found: FamilyPlaces = importlib.import_module(module).PLACES
            return found
    return None


def split_name(word: str) -> tuple[str, str] | None:
    """The name, or "", and the place of `name=hf:models/bert?option=value`; None for other words."""
    for prefix in _KINDS:
        if word.startswith(prefix):
            return "", word
        name, equals, rest = word.partition(f"={prefix}")
        if equals:
            return name.strip(), prefix + rest
    return None
