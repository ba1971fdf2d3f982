"""Whether a request is for a student of sub-words, and the plan that suits one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedstill_server.families.places import split_name
from fedstill_server.hugging_face.reference import is_hub_place

TRAINED_HERE = "train:"
SUBWORD_PLAN: Mapping[str, Any] = {
    "epochs": 6,
    "batch_size": 32,
    "learning_rate": 2e-4,
    "temperature": 2.0,
    "checkpoint_epochs": 1,
}
"""Of a student's plan, what suits a transformer that has weights already."""


def asks_for_subwords(*, family: str, teachers: Sequence[str]) -> bool:
    """Whether the student is a model of Hugging Face: as it is named, or as its teachers are."""
    if family:
        return split_name(family) is not None
    return any(is_hub_place(one.removeprefix(TRAINED_HERE)) for one in teachers)


def with_subword_plan(document: Mapping[str, Any]) -> dict[str, Any]:
    """A request's document, its plan filled with what suits such a student where nobody says otherwise."""
    teachers = document.get("teacher", ())
    named = (teachers,) if isinstance(teachers, str) else tuple(teachers)
    if not asks_for_subwords(family=str(document.get("family", "")), teachers=named):
        return dict(document)
    return {**document, "plan": {**SUBWORD_PLAN, **document.get("plan", {})}}
