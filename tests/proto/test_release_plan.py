"""The release plan: who is in a stage, and what is no plan."""

from __future__ import annotations

import json

import pytest
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.package.release_plan import Candidate, ReleasePlan, candidate_path

KEYS = [f"ecdsa-sha2-nistp384 AAAA{number:04d}" for number in range(2000)]


def candidate(share: float, salt: str = "r7") -> Candidate:
    return Candidate(package_version=7, share=share, salt=salt)


def test_a_plan_comes_back_as_it_was() -> None:
    plan = ReleasePlan(version=3, candidate=candidate(0.1), withdrawn=(2, 5), rounds_off=True)
    assert ReleasePlan.from_bytes(plan.to_bytes()) == plan
    assert ReleasePlan.from_bytes(ReleasePlan(version=1).to_bytes()) == ReleasePlan(version=1)


def test_stages_are_as_large_as_they_say_and_nested() -> None:
    taken = {share: {key for key in KEYS if candidate(share).takes(key)} for share in (0, 0.01, 0.1, 1)}
    assert len(taken[0]) == 0
    assert len(taken[1]) == 2000
    assert 5 <= len(taken[0.01]) <= 40  # 20 expected
    assert 160 <= len(taken[0.1]) <= 240  # 200 expected
    assert taken[0.01] < taken[0.1] < taken[1]
    assert {key for key in KEYS if candidate(0.1, "r8").takes(key)} != taken[0.1]


def test_a_key_counts_without_its_comment() -> None:
    assert {candidate(0.5).takes(f"{key} kitchen") == candidate(0.5).takes(key) for key in KEYS[:50]} == {
        True
    }


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"version": 0}, "version"),
        ({"withdrawn": [3, 2]}, "withdrawn"),
        ({"withdrawn": [7]}, "candidate"),
        ({"rounds_off": 1}, "rounds_off"),
        ({"format": 2}, "release-plan.json"),
        ({"more": 1}, "release-plan.json"),
        ({"candidate": {"package_version": 7, "share": 1.5, "salt": "r7", "generation": 1}}, "share"),
        ({"candidate": {"package_version": 7, "share": float("nan"), "salt": "r", "generation": 1}}, "share"),
        ({"candidate": 5}, "release-plan.json"),
    ],
)
def test_what_is_no_plan_is_refused_by_its_field(change: dict[str, object], field: str) -> None:
    document = json.loads(ReleasePlan(version=3, candidate=candidate(0.1)).to_bytes())
    with pytest.raises(WireError) as raised:
        ReleasePlan.from_bytes(json.dumps({**document, **change}).encode())
    assert raised.value.field == field


def test_a_candidate_has_a_place_of_its_own() -> None:
    assert candidate_path("mlp-small") == "candidates/mlp-small.json"
    with pytest.raises(InvalidValue):
        candidate_path("../students/mlp-small")
