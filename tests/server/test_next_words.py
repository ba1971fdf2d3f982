"""A fleet of text: its rows, its teacher, and the consensus of likeliest next words, on paper."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedstill_proto.codec.api import Expected, decode_summary, decode_task, encode_summary, encode_task
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import PublicSoftLabels
from fedstill_proto.soft_labels.codec import Encoding as Coded
from fedstill_proto.soft_labels.codec import SoftLabelCodec
from fedstill_proto.text.vocabulary import build_word_list
from fedstill_server.config.choice import Choice
from fedstill_server.config.fleet import ConfigError, FleetConfig
from fedstill_server.data.errors import ExamplesError
from fedstill_server.data.examples import drawn_rows
from fedstill_server.methods import build_method
from fedstill_server.methods.next_words import NextWords
from fedstill_server.methods.word_sums import WordSums
from fedstill_server.rounds.preparation import prepare
from fedstill_server.state import FleetState, digest_of
from fedstill_server.tasks import label_shape, load_public, task_of, training_of
from fedstill_server.tasks.interface import PackageFiles
from fedstill_server.tasks.text.vocabulary import read_texts, text_examples
from hypothesis import given
from hypothesis import strategies as st

from tests.server.text_fleet import (
    CODEC,
    PLACES,
    WORDS,
    answer_of,
    counting_rows,
    text_config,
    top_two,
)


@functools.cache
def started() -> tuple[NextWords, FleetState]:
    config, public = text_config(public_batch=1), counting_rows()
    method = build_method(config, public)
    assert isinstance(method, NextWords)
    return method, prepare(config, public, method)


class TestWordSums:
    """Two devices and one place, of which the second says nothing."""

    ONE = WordSums.of(top_two((2, 0.6, 3, 0.2)), np.array([0]), of=2)
    OTHER = WordSums.of(top_two((3, 0.5, 5, 0.3)), np.array([0]), of=2)
    BEFORE = top_two((2, 0.1, 4, 0.5), (4, 0.7, 5, 0.1))

    def test_the_mean_moves_the_labels_and_the_likeliest_stay(self) -> None:
        # mean: 2 .3, 3 .35, 5 .15; half of the way from 2 .1, 4 .5: 2 .2, 3 .175, 4 .25, 5 .075
        moved = (self.ONE + self.OTHER).stepped(self.BEFORE, step=0.5)
        assert moved.indices.tolist() == [[2, 4], [4, 5]]
        np.testing.assert_allclose(moved.probabilities, [[0.2, 0.25], [0.7, 0.1]], atol=1e-7)

    def test_a_whole_step_forgets_and_none_changes_nothing(self) -> None:
        both = self.ONE + self.OTHER
        whole, none = both.stepped(self.BEFORE, step=1.0), both.stepped(self.BEFORE, step=0.0)
        assert whole.indices.tolist() == [[2, 3], [4, 5]]
        np.testing.assert_allclose(whole.probabilities[0], [0.3, 0.35], atol=1e-7)
        np.testing.assert_array_equal(none.indices, self.BEFORE.indices)
        np.testing.assert_array_equal(none.probabilities, self.BEFORE.probabilities)

    def test_with_drawn_tails_the_mean_over_draws_is_what_the_devices_meant(self) -> None:
        # mean of the first place: 2 .4, 3 .4, 5 .2; the likeliest stays, and one draw stands for the others
        one, other = top_two((2, 0.8, 3, 0.2)), top_two((3, 0.6, 5, 0.4))
        both = WordSums.of(one, np.array([0]), of=2) + WordSums.of(other, np.array([0]), of=2)
        said = np.zeros(WORDS)
        for seed in range(300):
            drawn = both.stepped_and_drawn(self.BEFORE, step=1.0, drawn=1, seed=seed)
            assert drawn.probabilities[0].sum() == pytest.approx(1)
            said[drawn.indices[0]] += drawn.probabilities[0] / 300
        np.testing.assert_allclose(said, [0, 0, 0.4, 0.4, 0, 0.2], atol=0.06)

    def test_what_is_old_counts_less(self) -> None:
        aged = self.ONE.weighted(0.5) + self.OTHER
        assert aged.freshness == 0.75
        moved = aged.stepped(self.BEFORE, step=1.0)  # 3: (.5 * .2 + .5) / 1.5
        np.testing.assert_allclose(moved.probabilities[0], [0.2, 0.4], atol=1e-7)

    @given(
        st.lists(st.permutations(range(2, WORDS)), min_size=2, max_size=5),
        st.integers(1, 4),
    )
    def test_the_sum_of_the_parts_is_the_whole(self, words: list[list[int]], cut: int) -> None:
        parts = [
            WordSums.of(top_two((*(x for w in sorted(each[:2]) for x in (w, 0.4)),)), np.array([n % 2]), of=2)  # type: ignore[arg-type]
            for n, each in enumerate(words)
        ]
        zero = WordSums.zero(places=2, words=WORDS)
        whole = sum(parts, zero)
        split = sum(parts[:cut], zero) + sum(parts[cut:][::-1], zero)
        for name, array in whole.arrays().items():
            np.testing.assert_allclose(split.arrays()[name], array, atol=1e-12)
        assert split.devices == whole.devices == len(words)


class TestTeaching:
    def test_teacher_and_student_learn_to_count(self) -> None:
        method, state = started()
        config, public = method.config, method.public
        training = training_of(config)
        assert training.accuracy(training.teacher(state.teacher), public) == 1
        assert training.accuracy(training.student("gru", state.students["gru"]), public) == 1

    def test_preparing_twice_is_the_same_bit_for_bit(self) -> None:
        method, state = started()
        again = prepare(method.config, method.public, method)
        assert digest_of(again.flat()) == digest_of(state.flat())

    def test_what_is_taught_may_be_more_than_what_is_public(self) -> None:
        config, public = text_config(), counting_rows(1)
        state = prepare(config, public, build_method(config, public), teaching=counting_rows(4))
        training = training_of(config)
        assert training.accuracy(training.teacher(state.teacher), counting_rows(4)) == 1


class TestRounds:
    def test_a_task_and_its_answer_travel(self) -> None:
        method, state = started()
        task = method.task(state, round_number=1, family="gru", newcomer=True)
        received = decode_task(encode_task(task, codec=method.config.downlink))
        assert isinstance(received.soft_targets, PublicSoftLabels)
        assert received.soft_targets.soft_labels.rows == 4 * PLACES
        answer = answer_of(task, top_two(*[(2, 0.75, 4, 0.25)] * PLACES))
        expected = Expected.of(received, WORDS, state.students["gru"], places=PLACES)
        summary = decode_summary(encode_summary(answer, codec=CODEC), expected=expected)
        assert summary.statistics.soft_labels is not None
        assert summary.statistics.soft_labels.rows == PLACES
        with pytest.raises(FedstillError, match=r"soft_labels.rows: 3, expected 1"):
            decode_summary(encode_summary(answer, codec=CODEC), expected=Expected.of(received, WORDS))

    def test_the_server_learns_what_devices_say(self) -> None:
        method, state = started()
        task = method.task(state, round_number=1, family="gru", newcomer=False)
        (row,) = task.request.public_rows
        contribution = method.contribution(state, round_number=1)
        said = contribution(answer_of(task, top_two(*[(2, 0.75, 4, 0.25)] * PLACES)))
        learned = method.learn(state, method.zero(round_number=1) + said + said, round_number=1)
        places = slice(row * PLACES, (row + 1) * PLACES)
        before, after = (s.arrays["next_word_chances"][places].sum(axis=1) for s in (state, learned))
        assert (after > 0.5).all()
        assert not np.array_equal(before, after)
        assert digest_of(dict(learned.teacher)) != digest_of(dict(state.teacher))
        assert digest_of(dict(learned.students["gru"])) != digest_of(dict(state.students["gru"]))
        others = np.delete(np.arange(4 * PLACES), np.arange(places.start, places.stop))
        for name in ("next_words", "next_word_chances"):
            np.testing.assert_array_equal(learned.arrays[name][others], state.arrays[name][others])


class TestConfig:
    def test_it_comes_back_from_json(self) -> None:
        config = text_config()
        assert FleetConfig.from_json(config.to_json()) == config
        assert label_shape(config) == (PLACES,)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"method": "fedstill"}, "method: 'fedstill' is not one of a fleet of text: local"),
            ({"families": ("mlp-small",)}, "families: 'mlp-small' is not one of gru, transformer"),
            ({"input_shape": (3, 2)}, "input_shape"),
            ({"uplink": SoftLabelCodec(Coded.UINT8)}, "uplink: .* is not top-k"),
            (
                {"task": Choice(name="text", options={"step_vocabulary": 7})},
                "step_vocabulary: 7 is not at most the 6",
            ),
            ({"task": Choice(name="arrays")}, "families: 'gru' is not one of mlp-small"),
        ],
    )
    def test_what_cannot_be_is_refused(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            text_config(**changes)


class TestFiles:
    @pytest.mark.parametrize(
        ("x", "y", "message"),
        [
            (np.zeros((2, PLACES)), None, "x is float64, expected the numbers of words"),
            (np.full((2, PLACES), WORDS), None, "x holds words 6 to 6, expected 0 to 5"),
            (np.zeros((2, 4), np.int64), None, r"x has shape \[2, 4\]"),
            (np.zeros((2, PLACES), np.int64), np.zeros(2, np.int64), r"expected whole numbers \[2, 3\]"),
        ],
    )
    def test_rows_that_are_none_are_refused(self, tmp_path: Path, x: Any, y: Any, message: str) -> None:
        np.savez(tmp_path / "public.npz", x=x, **({} if y is None else {"y": y}))
        with pytest.raises(ExamplesError, match=message):
            load_public(tmp_path, text_config())

    def test_texts_become_rows_of_a_list_s_words(self, tmp_path: Path) -> None:
        (tmp_path / "b.txt").write_text("the cat sat\n\n  \nthe dog\n")
        (tmp_path / "a.txt").write_text("the cat\n")
        texts = read_texts(tmp_path)
        assert texts == ["the cat", "the cat sat", "the dog"]
        words = build_word_list(texts, size=100, least=1)
        rows = text_examples(texts, words, places=2)
        assert words.decode(rows.x[0]) == "the"
        assert rows.y is not None
        assert words.decode(rows.y[0]) == "the cat"
        assert len(drawn_rows(rows, 2, seed=1)) == 2
        assert drawn_rows(rows, 99, seed=1) is rows

    def test_no_text_and_another_list_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "empty.txt").write_text("\n")
        with pytest.raises(ExamplesError, match="holds no text"):
            read_texts(tmp_path / "empty.txt")

        def files(folder: Path) -> PackageFiles:
            config = text_config()
            return task_of(config).package_files(folder, config, "gru", {}, None)

        with pytest.raises(ExamplesError, match=r"vocabulary\.json: cannot be read"):
            files(tmp_path)
        words = build_word_list(["the cat sat"], size=100, least=1)
        (tmp_path / "vocabulary.json").write_bytes(words.to_json())
        with pytest.raises(ExamplesError, match=f"{len(words)}; the student knows 6 words"):
            files(tmp_path)
