"""Rows that a student writes while it learns: who says next words, what is drawn, and what a kill leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fedstill_proto.arrays import FloatArray
from fedstill_server.data.examples import Examples
from fedstill_server.distill.engine import EpochDone, train
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.job import DistillJob
from fedstill_server.distill.on_policy.next_words import AskedWords, StreamedWords, next_words_of
from fedstill_server.distill.on_policy.replay import ReplayedRows
from fedstill_server.distill.on_policy.sampling import written_rows
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.distill.technique import Technique
from fedstill_server.distill.techniques.gkd import GeneralizedDistillation
from fedstill_server.distill.techniques.minillm import PolicyGradientDistillation
from fedstill_server.distill.techniques.skewed_kl import SkewedDivergence
from fedstill_server.families import build_student
from fedstill_server.state import digest_of
from fedstill_server.teachers.interface import TeacherAnswers
from torch import Tensor

WORDS, PLACES = 7, 6
PLAN = DistillPlan(
    epochs=4, batch_size=16, learning_rate=2e-2, online=True, soft_weight=1.0, checkpoint_epochs=1
)


class Ahead:
    """A teacher of seven words that is fairly sure of the word `ahead` after the last; it keeps what it was
    asked."""

    digest = "ahead"
    layers: tuple[str, ...] = ()
    attention: tuple[str, ...] = ()

    def __init__(self, ahead: int = 1) -> None:
        self.ahead = ahead
        self.asked: list[FloatArray] = []

    def answer(self, x: FloatArray, *, layers: Sequence[str] = ()) -> TeacherAnswers:
        self.asked.append(x)
        return TeacherAnswers(4 * np.eye(WORDS, dtype=np.float32)[(x.astype(np.int64) + self.ahead) % WORDS])

    def __call__(self, rows: Tensor) -> Tensor:
        return torch.from_numpy(self.answer(rows.numpy()).logits)


def job(technique: Technique, **changes: Any) -> DistillJob:
    x = np.random.default_rng(0).integers(0, WORDS, (64, PLACES))
    values: dict[str, Any] = {
        "family": "gru-6-10", "classes": WORDS, "x": x, "labels": np.roll(x, -1, axis=1), "plan": PLAN,
        "teacher": Ahead(), "techniques": (technique,), "held_out": Examples(x[:8], x[:8]),
    }  # fmt: skip
    return DistillJob(**{**values, **changes})


@pytest.mark.parametrize("family", ["gru-6-10", "transformer", "ssm-6-10"])
def test_word_by_word_a_network_says_what_it_says_of_whole_rows(family: str) -> None:
    network = build_student(family, (PLACES,), WORDS, seed=1).eval()
    rows = torch.from_numpy(np.random.default_rng(1).integers(0, WORDS, (5, PLACES)))
    streamed, asked = next_words_of(network, places=PLACES), AskedWords(network, places=PLACES)
    assert isinstance(streamed, StreamedWords)

    states, said = [streamed.begin(5), asked.begin(5)], []
    with torch.no_grad():
        for place in range(PLACES):
            one, states[0] = streamed.after(rows[:, place], states[0])
            other, states[1] = asked.after(rows[:, place], states[1])
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
            said.append(one)
        torch.testing.assert_close(torch.stack(said, dim=1), network(rows), atol=1e-5, rtol=1e-5)


def test_several_write_in_turn() -> None:
    """A quarter of the words by one who is sure of the next, the others by one sure of the next but one."""
    voices = [(0.25, AskedWords(Ahead(1), places=4)), (0.75, AskedWords(Ahead(2), places=4))]
    given = torch.zeros(500, 1, dtype=torch.int64)

    def rows(seed: int) -> Tensor:
        random = torch.Generator().manual_seed(seed)
        return written_rows(voices, given, places=4, warmth=0.2, random=random)

    ahead = (rows(1)[:, 1:] - rows(1)[:, :-1]) % WORDS
    assert (ahead == 1).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (ahead == 2).float().mean().item() == pytest.approx(0.75, abs=0.03)
    assert not torch.equal(rows(1), rows(2))


def test_rows_are_the_students_own_from_the_warm_up_on() -> None:
    technique = GeneralizedDistillation(share=1.0, warm_up=0.5, beginning=2)
    one = job(technique)

    train(one)

    # Two of four epochs of four batches are real; then the teacher is asked about both, the real ones first.
    asked = one.teacher.asked[1:]  # type: ignore[union-attr]
    assert len(asked) == 8 + 2 * 8
    for real, own in zip(asked[8::2], asked[9::2], strict=True):
        assert np.array_equal(real[:, :2], own[:, :2])
        assert not np.array_equal(real, own)


@pytest.mark.parametrize(
    "technique",
    [
        GeneralizedDistillation(beginning=2),
        PolicyGradientDistillation(beginning=2),
        SkewedDivergence(beginning=2, share=0.5),
        SkewedDivergence(beginning=2, share=0.5, reverse=True),
    ],
    ids=["gkd", "minillm", "skewed", "skewed reverse"],
)
def test_the_student_comes_to_write_as_its_teacher_does(technique: Technique) -> None:
    made = train(job(technique, plan=replace(PLAN, epochs=15)))

    network = build_student("gru-6-10", (PLACES,), WORDS)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in made.parameters.items()})
    rows = written_rows(
        [(1.0, next_words_of(network, places=PLACES))],
        torch.arange(WORDS).repeat(40).unsqueeze(1),
        places=PLACES,
        warmth=1.0,
        random=torch.Generator().manual_seed(0),
    )
    # The teacher says the next word with e^4 to 6 x 1: nine times in ten.
    assert ((rows[:, 1:] - rows[:, :-1]) % WORDS == 1).float().mean().item() == pytest.approx(0.9, abs=0.08)


def test_a_run_that_stopped_draws_again_what_it_would_have_drawn(tmp_path: Path) -> None:
    techniques = (
        GeneralizedDistillation(beginning=2, warm_up=0.0),
        PolicyGradientDistillation(beginning=3, warm_up=0.25),
        SkewedDivergence(beginning=2, share=0.6, adaptive=True, kept=20),
    )
    whole = train(job(techniques[0], techniques=techniques))

    class Stop(Exception):
        pass

    def stop(report: EpochDone) -> None:
        if report.epoch == 3:
            raise Stop

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stop):
        train(job(techniques[0], techniques=techniques), checkpoint=path, watch=stop)
    again = train(job(techniques[0], techniques=techniques), checkpoint=path)

    assert digest_of(again.parameters) == digest_of(whole.parameters)


def test_rows_are_kept_and_learned_again() -> None:
    replayed = ReplayedRows(3, 1, share=0.5)
    assert replayed.is_due(0.49, progress=0.9)  # nothing is kept yet
    replayed.keep(torch.tensor([[1, 1], [2, 2]]))
    replayed.keep(torch.tensor([[3, 3], [4, 4]]))
    assert sorted(replayed.kept[:, 0].tolist()) == [2, 3, 4]
    # Half-way, a quarter of the batches is written anew and a quarter drawn from what is kept.
    assert [replayed.is_due(at, progress=0.5) for at in (0.24, 0.26)] == [True, False]
    assert [replayed.is_replayed(at) for at in (0.26, 0.49, 0.51)] == [True, True, False]
    assert set(replayed.drawn(50, torch.Generator().manual_seed(0))[:, 0].tolist()) == {2, 3, 4}


def test_the_share_grows_where_held_out_text_is_said_worse() -> None:
    replayed = ReplayedRows(3, 1, share=0.0)
    shares = []
    for loss in (3.0, 2.5, 2.6, 2.4, 2.45, 2.6):  # worse than the best by a tenth: twice
        replayed.adapt(loss, margin=0.08)
        shares.append(round(replayed.share.item(), 3))
    assert shares == [0, 0, 0.1, 0.1, 0.1, 0.2]


@pytest.mark.parametrize(
    ("technique", "changes", "message"),
    [
        (GeneralizedDistillation(), {"teacher": None, "plan": replace(PLAN, online=False)}, "no teacher to"),
        (PolicyGradientDistillation(beginning=6), {}, "minillm.beginning: 6 is not below 6"),
        (SkewedDivergence(adaptive=True), {"held_out": None}, "no held-out text to adapt by"),
        (
            GeneralizedDistillation(),
            {"family": "mlp-3", "x": np.zeros((4, 2), np.float32), "labels": np.array([0, 1, 0, 1])},
            "gkd: is for text",
        ),
    ],
)
def test_what_cannot_be_written_is_said(technique: Technique, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DistillError, match=message):
        train(job(technique, **changes))
