"""k words of a soft label that say, on average, all of it."""

from __future__ import annotations

import numpy as np
import pytest
from fedstill_proto.errors import InvalidValue
from fedstill_server.tasks.text.sampled_words import sampled_words


def _whole(named: np.ndarray, said: np.ndarray, words: int) -> np.ndarray:
    whole = np.zeros((len(named), words))
    np.put_along_axis(whole, named, said, axis=1)
    return whole


def test_a_likely_word_is_certain_and_the_others_are_drawn_as_likely_as_they_are() -> None:
    """Of .7, .15, .1, .05 and k = 2: the first is named with .7, one other with the .3 that is left."""
    chances = np.tile(np.array([[0.05, 0.7, 0.1, 0.15]], np.float32), (4000, 1))

    named, said = sampled_words(chances, k=2, random=np.random.default_rng(0))

    whole = _whole(named, said, 4)
    np.testing.assert_allclose(whole[:, 1], 0.7, rtol=1e-6)
    assert {tuple(row) for row in named.tolist()} == {(0, 1), (1, 2), (1, 3)}
    np.testing.assert_allclose(whole.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose((whole[:, [0, 2, 3]] > 0).mean(axis=0), [1 / 6, 1 / 3, 1 / 2], atol=0.025)


def test_the_mean_of_labels_is_what_the_teacher_says() -> None:
    chances = np.random.default_rng(1).dirichlet(np.full(40, 0.3)).astype(np.float32)
    known = np.stack([np.full(40, 1 / 40, np.float32), chances**0.9 / (chances**0.9).sum()])
    rows, draws = np.ones(20_000, np.int64), np.tile(chances, (20_000, 1))

    named, said = sampled_words(draws, k=8, random=np.random.default_rng(0))
    whole = _whole(named, said, 40)
    shared_named, shared_said = sampled_words(
        draws, k=8, random=np.random.default_rng(0), shared=known, shared_row=rows
    )
    rest = 1 - shared_said.sum(axis=1, keepdims=True)
    with_shares = _whole(shared_named, shared_said, 40) + rest * known[1]

    np.testing.assert_allclose(whole.mean(axis=0), chances, atol=2e-3)
    assert (np.abs(with_shares.mean(axis=0) - chances)).sum() < 0.04  # a hundredth too much elsewhere
    assert 0.3 < rest.min() < 1
    assert with_shares.var(axis=0).sum() < 0.5 * whole.var(axis=0).sum()


def test_what_is_known_already_takes_no_word() -> None:
    """The teacher says half of what pairs say, and half that word 3 comes: it is named, with a half."""
    known = np.full((1, 8), 1 / 8, np.float32)
    chances = 0.5 * known + 0.5 * np.eye(8, dtype=np.float32)[[3]]

    named, said = sampled_words(
        chances, k=1, random=np.random.default_rng(0), shared=known, shared_row=np.zeros(1, np.int64)
    )

    assert named.tolist() == [[3]]
    np.testing.assert_allclose(said, [[0.5]], atol=0.07)  # c may be a sixteenth more, of a hundredth too much


def test_rows_with_too_few_words_name_others_with_no_chance() -> None:
    chances = np.zeros((2, 6), np.float32)
    chances[0, 4] = 1.0
    chances[1] = 1 / 6

    named, said = sampled_words(chances, k=3, random=np.random.default_rng(0))

    assert [len(set(row)) for row in named.tolist()] == [3, 3]
    np.testing.assert_allclose(said[0][named[0] == 4], 1.0)
    np.testing.assert_allclose(said.sum(axis=1), 1.0, rtol=1e-6)
    for k in (0, 6):
        with pytest.raises(InvalidValue, match="k: "):
            sampled_words(chances, k=k, random=np.random.default_rng(0))
