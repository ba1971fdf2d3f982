"""However devices are spread over workers, and in whatever order parts come, the consensus is the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from fedstill_proto.messages import SoftLabelSummary
from fedstill_server.config.fleet import AsyncRule
from fedstill_server.consensus.exact_sum import ExactFold
from fedstill_server.consensus.folds.norms import Norms
from fedstill_server.methods import Method
from fedstill_server.rounds.bounded_fold import bounded_consensus
from fedstill_server.rounds.gate import Answer
from fedstill_server.rounds.partial_fold import PartialFold, folds_in_parts, no_answers, settled
from fedstill_server.state import FleetState, digest_of

from tests.server.test_folds import EXCHANGING, honest, started

IN_PARTS = [name for name in EXCHANGING if name != "feddf"]


def answers_of(summaries: Sequence[SoftLabelSummary]) -> list[Answer]:
    return [Answer(f"device-{place}", one, 1) for place, one in enumerate(summaries)]


def in_parts(method: Method, state: FleetState, groups: Sequence[Sequence[SoftLabelSummary]]) -> Any:
    """As a simulator makes it: what workers return comes as arrays, the last one first."""
    part, norms = PartialFold(method, state, 1), ExactFold(Norms())
    for group in groups[::-1]:
        norms.merge_arrays(part.norms(group).to_arrays())
    known, total = norms.result(), no_answers(method, 1)
    for group in groups[::-1]:
        total.merge_arrays(part.fold(group, known).to_arrays())
    return settled(method, total, round_number=1)


@pytest.mark.parametrize("fold_name", ["auto", "other"])
@pytest.mark.parametrize("name", IN_PARTS)
def test_parts_are_the_whole(name: str, fold_name: str) -> None:
    other = {"fedstill": "trust", "public-logits": "clipped", "class-logits": "median"}
    if fold_name == "other" and name not in other:
        pytest.skip("one fold is enough")
    method, state = started(name, other[name] if fold_name == "other" else "auto")
    summaries = honest(name)

    whole = bounded_consensus(
        method, answers_of(summaries), lambda number: state, round_number=1, rule=AsyncRule()
    )

    assert folds_in_parts(method, 1)
    for groups in ([summaries], [summaries[:1], summaries[1:4], summaries[4:]], [[one] for one in summaries]):
        parts = in_parts(method, state, groups)
        assert parts.devices == whole.devices == len(summaries)
        assert digest_of(parts.arrays()) == digest_of(whole.arrays())


def test_old_answers_count_less_in_any_order() -> None:
    method, state = started("class-logits")
    summaries = honest("class-logits")
    answers = [Answer(str(place), one, 1 + place % 2) for place, one in enumerate(summaries)]
    rule = AsyncRule()
    forth, back = (
        bounded_consensus(method, those, lambda number: state, round_number=2, rule=rule)
        for those in (answers, answers[::-1])
    )
    assert digest_of(forth.arrays()) == digest_of(back.arrays())
    assert forth.freshness == back.freshness < 1


def test_what_runs_students_is_folded_by_the_server() -> None:
    method, _ = started("feddf")
    assert not folds_in_parts(method, 1)


def test_workers_need_neither_torch_nor_flwr() -> None:
    lines = """
import sys
import fedstill_server.rounds.partial_fold
from fedstill_server.methods import METHODS
for name in METHODS:
    METHODS.load(name)
for name in ("torch", "flwr", "onnxruntime"):
    assert name not in sys.modules, name
"""
    subprocess.run([sys.executable, "-c", lines], check=True)
