"""Speculative decoding: what is written is distributed as if the large student had written alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.cli import app
from fedstill_client.generation.checked_text import BlockText, SteppedText
from fedstill_client.generation.sampling import Sampling
from fedstill_client.generation.speculation import Speculation, SpeculativeWriter
from fedstill_client.generation.texts import GenerationError, WordTexts
from fedstill_client.generation.writing import TextWriter
from fedstill_client.model.streaming import State, WordStream
from fedstill_client.packages.operators import check_package
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.package.artifact import StudentPackage, load_student, save_package
from fedstill_proto.package.constraints.constraints import Constraints
from fedstill_proto.package.constraints.suppressor import NOTHING_SUPPRESSED, Suppressor, suppressor_of
from fedstill_proto.package.manifest import Vocabulary
from fedstill_proto.text.vocabulary import WordList, build_word_list
from fedstill_server.export.student import export_student
from fedstill_server.families import initial_parameters
from fedstill_server.publish.text import as_text_package
from scipy import stats
from typer.testing import CliRunner

LIST = build_word_list(["ab ba cd dc."] * 3, size=16)
WORDS, PLACES = len(LIST), 12


@dataclass
class TableStream:
    """A student whose next token depends on the last two: logits [V, V, V] of its own."""

    table: FloatArray
    places: int = 0
    has_blocks: bool = False

    @classmethod
    def of(cls, seed: int) -> TableStream:
        return cls(np.random.default_rng(seed).normal(size=(WORDS, WORDS, WORDS)).astype(np.float32) * 1.5)

    def start(self) -> State:
        return {"last": np.zeros(1, np.int64)}

    def step(self, word: int, state: State) -> tuple[FloatArray, State]:
        return self.table[int(state["last"][0]), word], {"last": np.array([word])}

    def block(self, words: Sequence[int], state: State) -> tuple[FloatArray, State]:
        raise AssertionError("it takes one at a time")

    def taken_back(self, state: State, words: int) -> State:
        raise AssertionError("nothing is taken back")


def texts_of(
    writer: TextWriter | SpeculativeWriter, sampling: Sampling, *, rounds: int
) -> dict[tuple[int, ...], int]:
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(rounds):
        drawn = tuple(writer.drawn("ab", tokens=3, sampling=replace(sampling, seed=seed)))
        counts[drawn] = counts.get(drawn, 0) + 1
    return counts


def chances_of_texts(
    stream: TableStream, sampling: Sampling, suppressor: Suppressor
) -> dict[tuple[int, ...], float]:
    """The exact chance of each text of three tokens where the student writes alone."""
    from fedstill_client.generation.sampling import chances_of

    writer = TextWriter(stream, WordTexts(LIST), suppressor=suppressor)
    found: dict[tuple[int, ...], float] = {}
    open_texts: list[tuple[tuple[int, ...], float]] = [((), 1.0)]
    prompt = writer.texts.numbers("ab")
    while open_texts:
        text, chance = open_texts.pop()
        if len(text) == 3 or (text and text[-1] in writer.texts.ends):
            found[text] = chance
            continue
        whole = [0, *prompt, *text]
        logits = writer.left(stream.table[whole[-2], whole[-1]], whole[1:])
        for token, each in enumerate(chances_of(logits, sampling)):
            if each > 0:
                open_texts.append(((*text, token), chance * each))
    return found


@pytest.mark.parametrize(
    ("sampling", "suppressed"),
    [
        (Sampling(), ()),
        (Sampling(temperature=0.6, top_k=5), ()),
        (Sampling(temperature=1.4, top_p=0.8), ("cd", "ba dc")),
    ],
)
def test_texts_are_as_frequent_as_the_large_student_says(
    sampling: Sampling, suppressed: tuple[str, ...]
) -> None:
    large, small = TableStream.of(0), TableStream.of(1)
    suppressor = suppressor_of(Constraints(words=suppressed)) if suppressed else NOTHING_SUPPRESSED
    writer = TextWriter(large, WordTexts(LIST), suppressor=suppressor)
    speculative = SpeculativeWriter(writer, large, small, speculation=Speculation(drafted=2, most=3))
    rounds = 2500

    counts = texts_of(speculative, sampling, rounds=rounds)

    exact = chances_of_texts(large, sampling, suppressor)
    assert set(counts) <= set(exact)
    assert abs(sum(exact.values()) - 1) < 1e-9
    common = [text for text, chance in exact.items() if chance * rounds >= 5]
    observed = [counts.get(text, 0) for text in common]
    expected = [exact[text] * rounds for text in common]
    observed.append(rounds - sum(observed))
    expected.append(rounds - sum(expected))
    if expected[-1] < 1e-6:
        observed, expected = observed[:-1], expected[:-1]
    assert stats.chisquare(observed, expected).pvalue > 1e-3
    # The test can fail: the small student's own texts are others.
    alone = texts_of(TextWriter(small, WordTexts(LIST), suppressor=suppressor), sampling, rounds=500)
    seen = [alone.get(text, 0) for text in common] + [500 - sum(alone.get(text, 0) for text in common)]
    should = np.array([*(exact[text] for text in common), max(1e-9, 1 - sum(exact[text] for text in common))])
    assert stats.chisquare(seen, should / should.sum() * 500).pvalue < 1e-6


def test_a_draft_that_is_right_costs_few_runs_and_one_that_is_wrong_many() -> None:
    large = TableStream.of(0)
    runs = {}
    for name, draft in {"itself": large, "another": TableStream.of(1)}.items():
        writer = SpeculativeWriter(TextWriter(large, WordTexts(LIST)), large, draft)
        for seed in range(40):
            list(writer.drawn("ab", tokens=24, sampling=Sampling(seed=seed)))
        runs[name] = writer.count
    assert runs["itself"].kept == runs["itself"].drafted
    assert runs["another"].kept < 0.6 * runs["another"].drafted
    assert runs["itself"].runs < 0.5 * runs["another"].runs


def test_greedily_it_is_the_same_text() -> None:
    large = TableStream.of(2)
    writer = TextWriter(large, WordTexts(LIST))
    for seed in range(8):
        speculative = SpeculativeWriter(writer, large, TableStream.of(3 + seed))
        greedy = Sampling(temperature=0)
        assert speculative.write("ab cd", tokens=20, sampling=greedy) == writer.write(
            "ab cd", tokens=20, sampling=greedy
        )


@functools.cache
def package(family: str) -> StudentPackage:
    parameters = initial_parameters(family, (PLACES,), WORDS, 1)
    manifest, graph = export_student(
        family=family, input_shape=(PLACES,), classes=WORDS, parameters=parameters
    )
    described = replace(manifest, vocabulary=Vocabulary(WORDS, WORDS, ("embedding.weight",), LIST.tokenizer))
    return as_text_package(StudentPackage(described, graph, parameters, vocabulary=LIST.to_json()))


def test_a_transformer_checks_several_words_in_one_run_of_its_graph(tmp_path: Path) -> None:
    save_package(tmp_path / "large", package("transformer"))
    large = load_student(tmp_path / "large")
    check_package(large)
    stream = WordStream(large, large.parameters)
    assert stream.has_blocks
    words = [int(each) for each in np.random.default_rng(0).integers(0, WORDS, 60)]
    blocks, steps = BlockText(stream), SteppedText(stream, droppable=9)

    # Blocks of all lengths and words taken back, over the end of what the state has room for.
    at = 0
    for length, dropped in [(3, 1), (4, 4), (5, 0), (7, 6), (9, 2), (6, 6), (8, 3), (9, 1)]:
        block = words[at : at + length]
        np.testing.assert_allclose(blocks.along(block), steps.along(block), rtol=1e-4, atol=1e-5)
        blocks.drop(dropped)
        steps.drop(dropped)
        at += length - dropped
    assert at > 2 * PLACES
    with pytest.raises(InvalidValue, match="next_place"):
        replace(
            large,
            manifest=replace(large.manifest, streaming=replace(large.manifest.streaming, places=0)),  # type: ignore[arg-type]
        )


def test_the_command_drafts(tmp_path: Path) -> None:
    save_package(tmp_path / "large", package("transformer"))
    weights = initial_parameters("transformer", (PLACES,), WORDS, 2)
    save_package(tmp_path / "small", replace(package("transformer"), parameters=weights))
    given = ["generate", "ab", "--tokens", "20", "--temperature", "0", "--student", str(tmp_path / "large")]

    alone = CliRunner().invoke(app, given)
    drafted = CliRunner().invoke(app, [*given, "--draft", str(tmp_path / "small")])

    assert alone.exit_code == drafted.exit_code == 0, drafted.output
    assert alone.output == drafted.output


def test_a_draft_of_other_words_is_refused() -> None:
    other = WordList.from_json(build_word_list(["ef fe gh hg."] * 3, size=16).to_json())
    draft = replace(package("transformer"), vocabulary=other.to_json())
    with pytest.raises(GenerationError, match="do not know the same tokens"):
        SpeculativeWriter.of(package("transformer"), draft)
    with pytest.raises(InvalidValue, match="drafted"):
        Speculation(drafted=9, most=4)
