"""The server's language models: counts, losses, training, the teacher, and a keyboard made of texts."""

from __future__ import annotations

import fcntl
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fedstill_proto.errors import InvalidValue, UnknownName
from fedstill_proto.text.vocabulary import START
from fedstill_server.families import FAMILIES, build_student
from fedstill_server.families.language import GatedRecurrentNetwork
from fedstill_server.tasks.text.keyboard import KeyboardError, KeyboardPlan, make_keyboard
from fedstill_server.tasks.text.ngrams import KneserNeyTrigrams
from fedstill_server.tasks.text.softmax.candidate_words import CandidateWords
from fedstill_server.tasks.text.softmax.tied_softmax import NextWordTargets, next_word_loss
from fedstill_server.tasks.text.teacher import next_words, weighed_teacher
from fedstill_server.tasks.text.training import RestShares, SoftWords, TextPlan, train_text

WORDS = 9  # 0 unknown, 1 START, and seven words
A, B, C, D = 2, 3, 4, 5


def test_trigrams_are_kneser_and_neys_on_paper() -> None:
    """Of the texts "a b", "a b" and "c b", each between two STARTs."""
    counted = KneserNeyTrigrams([[A, B], [A, B], [C, B]], words=WORDS)

    after_c = counted.along([START, C])[-1]

    # Different words before each: a 1 (START), c 1, b 2 (a, c), START 1 (b). Five pairs.
    # Counts of counts of single words: n1 = 3, n2 = 1, n3 = 0: Y = 3/5, D1 = 1 - 2 * 3/5 * 1/3 = 3/5, and
    # D2 = 2, which is kept to 1.9.
    freed = (3 * 3 / 5 + 1.9) / 5
    p_b = (2 - 1.9) / 5 + freed / WORDS
    # Pairs were seen behind different words: (START, a) 1, (START, c) 1, (a, b) 1, (c, b) 1, (b, START) 2.
    # n1 = 4, n2 = 1: Y = 4/6, D1 = 1 - 2 * 4/6 * 1/4 = 2/3. After c: b once.
    p_b_after_c = 1 / 3 + 2 / 3 * p_b
    # Triples: (S, S, a) 2, (S, S, c) 1, (S, a, b) 2, (S, c, b) 1, (a, b, S) 2, (c, b, S) 1: n1 = 3, n2 = 3,
    # Y = 1/3, D1 = 1 - 2 * 1/3 * 1 = 1/3. After (START, c): b once.
    assert after_c[B] == pytest.approx(2 / 3 + 1 / 3 * p_b_after_c, rel=1e-5)
    assert after_c.sum() == pytest.approx(1, abs=1e-6)
    assert counted.after(None)[B] == pytest.approx(p_b, rel=1e-5)
    assert counted.after(C)[B] == pytest.approx(p_b_after_c, rel=1e-5)


def test_chances_of_any_history_are_positive_and_sum_to_one() -> None:
    draw = random.Random(0)
    counted = KneserNeyTrigrams(
        [[draw.choice([A, B, C, D]) for _ in range(6)] for _ in range(30)], words=WORDS
    )

    chances = counted.along([START, A, B, 8, 7, A, START, B])

    assert chances.min() > 0
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(chances[0], chances[6])  # a text begins anew
    np.testing.assert_allclose(KneserNeyTrigrams([], words=WORDS).along([A]), 1 / WORDS)


def test_the_loss_and_its_gradients_are_those_of_automatic_differentiation() -> None:
    draw = torch.Generator().manual_seed(0)
    states = torch.randn(300, 6, generator=draw, dtype=torch.float64, requires_grad=True)
    table = torch.randn(40, 6, generator=draw, dtype=torch.float64, requires_grad=True)
    words = torch.randint(40, (300,), generator=draw)
    named = torch.rand(300, 40, generator=draw).topk(4).indices
    soft = torch.rand(300, 5, generator=draw, dtype=torch.float64)
    soft = (soft / soft.sum(-1, keepdim=True))[:, :4]

    loss = next_word_loss(states, table, NextWordTargets(words, named, soft, soft_weight=0.7))

    log_p = torch.log_softmax(states @ table.t(), -1)
    own, rest = log_p.gather(-1, named), 1 - soft.sum(-1)
    divergence = (soft * (soft.log() - own)).sum(-1)
    divergence = divergence + rest * (rest.log() - (1 - own.exp().sum(-1)).log())
    expected = 0.3 * torch.nn.functional.nll_loss(log_p, words) + 0.7 * divergence.mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    for found, right in zip(
        torch.autograd.grad(loss, (states, table)),
        torch.autograd.grad(expected, (states, table)),
        strict=True,
    ):
        torch.testing.assert_close(found, right, rtol=1e-8, atol=1e-10)


def test_a_rest_that_counts_share_is_kl_of_the_whole_label() -> None:
    """t says .4 of word 2 and .2 of word 1; all words share .4 as .25, .5, .25, 0, 0."""
    states, table = torch.zeros(1, 3, requires_grad=True), torch.eye(5, 3)
    targets = NextWordTargets(
        torch.tensor([1]),
        torch.tensor([[2, 1]]),
        torch.tensor([[0.4, 0.2]]),
        soft_weight=1.0,
        shares=torch.tensor([[0.2] * 5, [0.25, 0.5, 0.25, 0.0, 0.0]]),
        shares_of=torch.tensor([1]),
    )

    loss = next_word_loss(states, table, targets)
    (gradient,) = torch.autograd.grad(loss, states)

    whole = np.array([0.1, 0.4, 0.5])  # p is 1/5 each
    assert loss.item() == pytest.approx((whole * np.log(5 * whole)).sum(), rel=1e-5)
    np.testing.assert_allclose(gradient[0], 0.2 - whole, rtol=1e-5)


def test_the_gradients_of_a_shared_rest_are_those_of_automatic_differentiation() -> None:
    draw = torch.Generator().manual_seed(0)
    states = torch.randn(300, 6, generator=draw, dtype=torch.float64, requires_grad=True)
    table = torch.randn(40, 6, generator=draw, dtype=torch.float64, requires_grad=True)
    words, shares_of = (torch.randint(high, (300,), generator=draw) for high in (40, 7))
    named = torch.rand(300, 40, generator=draw).topk(4).indices
    soft = torch.rand(300, 5, generator=draw, dtype=torch.float64)
    soft = (soft / soft.sum(-1, keepdim=True))[:, :4]
    shares = torch.softmax(torch.rand(7, 40, generator=draw, dtype=torch.float64), -1)

    loss = next_word_loss(
        states, table, NextWordTargets(words, named, soft, 0.7, shares=shares, shares_of=shares_of)
    )

    rest = 1 - soft.sum(-1, keepdim=True)
    whole = (shares[shares_of] * rest).scatter_add(-1, named, soft)
    log_p = torch.log_softmax(states @ table.t(), -1)
    divergence = torch.nn.functional.kl_div(log_p, whole, reduction="batchmean")
    expected = 0.3 * torch.nn.functional.nll_loss(log_p, words) + 0.7 * divergence
    assert divergence.item() >= 0
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    for found, right in zip(
        torch.autograd.grad(loss, (states, table)),
        torch.autograd.grad(expected, (states, table)),
        strict=True,
    ):
        torch.testing.assert_close(found, right, rtol=1e-8, atol=1e-10)


def test_a_student_learns_the_order_of_words_that_no_label_names() -> None:
    """Labels name the word itself (hardly ever right); that b follows a is in the shares alone."""
    torch.manual_seed(0)
    student = GatedRecurrentNetwork(WORDS, width=8, state_width=12)
    texts = _circles(0, 40)
    here = np.array([word for text in texts for word in (START, *text)])
    table = np.full((WORDS, WORDS), 0.01, np.float32)
    table[[START, A, B, C, D], [A, B, C, D, A]] = 1.0
    table /= table.sum(axis=1, keepdims=True)
    soft = SoftWords(here[:, None], np.full((len(here), 1), 0.1, np.float32), RestShares(table, here))

    train_text(student, texts, replace(PLAN, soft_weight=1.0), seed=1, soft=soft)

    said = next_words(student, torch.tensor([[START, A, B, C, D]]))[0, 1:]
    assert said.argmax(-1).tolist() == [B, C, D, A]
    for wrong in (2 * table, np.where(table == table.max(), np.nan, table), table - 1 / WORDS):
        with pytest.raises(InvalidValue, match="divide it by its sum"):
            RestShares(wrong, here)
    with pytest.raises(InvalidValue, match="of 2 rows"):
        RestShares(table[:2], here)
    with pytest.raises(InvalidValue, match="rest: 3 places"):
        train_text(student, texts, PLAN, seed=1, soft=replace(soft, rest=RestShares(table, here[:3])))


def test_a_family_whose_name_holds_its_widths() -> None:
    student = build_student("gru-4-6", (5,), WORDS)

    assert isinstance(student, GatedRecurrentNetwork)
    assert sum(value.numel() for value in student.parameters()) == WORDS * 4 + 3 * 6 * (4 + 6 + 2) + 6 * 4 + 4
    x = torch.tensor([[START, A, B, C, D]])
    torch.testing.assert_close(torch.softmax(student(x), -1), next_words(student, x))  # torch's own operator
    assert [FAMILIES.task_of(name) for name in ("gru", "gru-4-6", "mlp-4-6")] == ["text", "text", "arrays"]
    assert "gru-0-6" not in FAMILIES
    with pytest.raises(UnknownName, match="gru-80-224"):
        build_student("gru-4", (5,), WORDS)


def _circles(seed: int, texts: int) -> list[list[int]]:
    """a b c d a b c d ..., from anywhere on."""
    draw = random.Random(seed)
    return [[A + (start + place) % 4 for place in range(9)] for start in draw.choices(range(4), k=texts)]


PLAN = TextPlan(epochs=6, learning_rate=0.03, batch_size=4, places=8, word_dropout=0.0, output_dropout=0.1)


def test_training_that_was_killed_goes_on_bit_for_bit(tmp_path: Path) -> None:
    def student() -> GatedRecurrentNetwork:
        torch.manual_seed(0)
        return GatedRecurrentNetwork(WORDS, width=8, state_width=12)

    class Killed(Exception):
        pass

    def kill(done: int, steps: int, loss: float) -> None:
        if done >= 0.6 * steps:
            raise Killed

    texts, checkpoint = _circles(0, 40), tmp_path / "checkpoint"
    losses: list[float] = []
    whole = train_text(student(), texts, PLAN, seed=1, on_step=lambda done, steps, loss: losses.append(loss))
    with pytest.raises(Killed):
        train_text(student(), texts, PLAN, seed=1, checkpoint=checkpoint, on_step=kill)

    resumed = train_text(student(), texts, PLAN, seed=1, checkpoint=checkpoint)

    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    assert losses[-1] < 0.5 * losses[0]
    right = next_words(whole, torch.tensor([[START, A, B, C, D]])).argmax(-1)[0]
    assert right[1:].tolist() == [B, C, D, A]


def test_a_part_that_knows_nothing_gets_no_weight() -> None:
    torch.manual_seed(0)
    ignorant = GatedRecurrentNetwork(WORDS, width=4)
    trigrams = KneserNeyTrigrams(_circles(0, 40), words=WORDS)

    teacher = weighed_teacher([ignorant], trigrams, _circles(1, 10))

    assert teacher.weights[0] < 0.05
    assert teacher.weights.sum() == pytest.approx(1)
    (said,) = teacher.along([[A, B]])
    assert said.shape == (3, WORDS)
    np.testing.assert_allclose(said.sum(1), 1, atol=1e-5)
    assert said[1].argmax() == B
    soft = teacher.soft_words([[A, B, C, D]] * 6, k=2)
    assert soft.named.shape == soft.chances.shape == (6 * 5, 2)
    assert soft.named[1, 0] == B
    texts = [[A, B, C, D]] * 3 + [[B, C, D, A]] * 3
    drawn, again, other = (teacher.sampled_words(texts, k=2, seed=seed) for seed in (1, 1, 2))
    assert drawn.rest is not None
    assert drawn.named.shape == drawn.chances.shape == (6 * 5, 2)
    np.testing.assert_array_equal(drawn.named, again.named)
    assert (drawn.named != other.named).any()
    assert drawn.rest.row[5 * 4] == drawn.rest.row[1] - 1 == 0  # what stands before: START, a
    np.testing.assert_allclose(drawn.rest.table[drawn.rest.row[1]], trigrams.after(A), rtol=1e-5)


TEXTS = [f"{a} sees {b}." for a in ("ann", "bob", "eve") for b in ("ann", "bob", "eve", "a cat", "a dog")] * 4
TINY = KeyboardPlan(
    families=("gru-4-6",), words=150, networks=1, width=4, state_width=6, kept=3, teaching=PLAN,
    distilling=replace(PLAN, soft_weight=0.5),
)  # fmt: skip


def test_a_keyboard_is_made_once(tmp_path: Path) -> None:
    told: list[str] = []
    made = make_keyboard(TEXTS, TINY, tmp_path, on_progress=lambda what, done, total: told.append(what))

    again = make_keyboard(TEXTS, TINY, tmp_path, on_progress=lambda *_: pytest.fail("made again"))

    assert list(dict.fromkeys(told)) == [
        *("teacher's network 1 of 1", "soft labels", "sampled words", "student gru-4-6, taught")
    ]
    assert again.words == made.words
    for name, value in made.students["gru-4-6"].items():
        np.testing.assert_array_equal(again.students["gru-4-6"][name], value)
    network = made.teacher.networks[0]
    assert (
        made.teacher.parameters == sum(v.numel() for v in network.parameters()) + made.teacher.trigrams.counts
    )
    (folder,) = tmp_path.iterdir()
    told.clear()
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as another process does while it makes the same

        def go_on(what: str, done: int, total: int) -> None:
            told.append(what)
            fcntl.flock(lock, fcntl.LOCK_UN)

        make_keyboard(TEXTS, TINY, tmp_path, on_progress=go_on)
    assert told == ["waiting for another process that makes this keyboard"]
    make_keyboard(TEXTS, replace(TINY, teaching=replace(PLAN, epochs=1), families=()), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_was_kept_is_checked(tmp_path: Path) -> None:
    make_keyboard(TEXTS, TINY, tmp_path)
    (student,) = tmp_path.glob("*/student-gru-4-6-*.safetensors")
    student.write_bytes(student.read_bytes()[:-1])

    with pytest.raises(KeyboardError, match="delete the file"):
        make_keyboard(TEXTS, TINY, tmp_path)
    with pytest.raises(KeyboardError, match="give 25 or more"):
        make_keyboard(TEXTS[:10], TINY, tmp_path)
    with pytest.raises(KeyboardError, match="not recurrent"):
        make_keyboard(TEXTS, replace(TINY, families=("mlp-4",)), tmp_path)
    with pytest.raises(InvalidValue, match="epochs"):
        replace(PLAN, epochs=0)


def test_a_softmax_over_all_candidates_is_the_whole_one() -> None:
    draw = torch.Generator().manual_seed(0)
    states, table = torch.randn(12, 5, generator=draw), torch.randn(WORDS, 5, generator=draw)
    targets = NextWordTargets(torch.randint(2, WORDS, (12,), generator=draw))
    everyone = CandidateWords([[A, B, C]], words=WORDS, drawn=WORDS)

    found = []
    for one in (targets, everyone.narrowed(targets, draw)):
        state, read = states.clone().requires_grad_(), table.clone().requires_grad_()
        loss = next_word_loss(state, read, one)
        found.append([loss.detach(), *torch.autograd.grad(loss, [state, read])])

    for whole, narrowed in zip(*found, strict=True):
        torch.testing.assert_close(whole, narrowed)


def test_candidates_estimate_the_sum_over_all_words_without_bias() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(200, generator=draw)
    words = CandidateWords([[n % 50 for n in range(400)]], words=200, drawn=30)
    targets = NextWordTargets(torch.tensor([7, 8]))

    sums = []
    for _ in range(600):
        narrowed = words.narrowed(targets, draw)
        assert narrowed.candidates is not None
        assert narrowed.raised is not None
        assert narrowed.candidates[narrowed.words].tolist() == [7, 8]
        sums.append(float((logits[narrowed.candidates] + narrowed.raised).exp().sum()))

    whole = float(logits.exp().sum())
    assert abs(np.mean(sums) - whole) < 4 * np.std(sums) / len(sums) ** 0.5
    assert np.std(sums) > 0
