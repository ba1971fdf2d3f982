"""Families by the places of models of Hugging Face; without torch until one is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedstill_server.hugging_face.reference import HubReference

if TYPE_CHECKING:
    from fedstill_server.families.family import Family


class HubPlaces:
    """Places such as `hf:models/bert?num_hidden_layers=3`."""

    def name_of(self, place: str, *, where: str) -> str:
        return HubReference.of(place, where=where).name

    def require(self, place: str, *, where: str) -> None:
        HubReference.of(place, where=where).folder(where=where)

    def family(self, place: str, *, where: str) -> Family:
        from fedstill_server.hugging_face.student import hub_family

        return hub_family(place, where=where)


PLACES = HubPlaces()
