"""Text that a student writes on the device: what is drawn, from which state, and what never is."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.cli import app
from fedstill_client.generation.context import StreamedText
from fedstill_client.generation.sampling import Sampling, TokenSampler, chances_of, drawn_at
from fedstill_client.generation.texts import GenerationError
from fedstill_client.generation.writing import TextWriter
from fedstill_client.home import AgentHome
from fedstill_client.model.streaming import WordStream
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_proto.errors import InvalidValue
from fedstill_proto.package.artifact import StudentPackage, save_package
from fedstill_proto.package.constraints.constraints import Constraints
from fedstill_proto.package.constraints.suppressor import suppressor_of
from fedstill_proto.package.manifest import Vocabulary
from fedstill_proto.package.subword_texts import SubwordTexts
from fedstill_proto.text.vocabulary import START, UNKNOWN, build_word_list
from fedstill_server.export.student import export_student
from fedstill_server.families import initial_parameters
from fedstill_server.publish.text import as_text_package
from typer.testing import CliRunner

PLACES = 6
LIST = build_word_list(["anna sees a dog, bob sees a cat.", "bob sees anna. a cat sees bob!"] * 3, size=60)
WORDS = len(LIST)
EVEN = np.log([0.5, 0.3, 0.15, 0.05])


@functools.cache
def package(family: str) -> StudentPackage:
    parameters = initial_parameters(family, (PLACES,), WORDS, 3)
    manifest, graph = export_student(
        family=family, input_shape=(PLACES,), classes=WORDS, parameters=parameters
    )
    described = replace(manifest, vocabulary=Vocabulary(WORDS, WORDS, ("embedding.weight",), LIST.tokenizer))
    made = StudentPackage(described, graph, parameters, vocabulary=LIST.to_json())
    return as_text_package(made)


def test_chances_are_those_on_paper() -> None:
    cooled = chances_of(EVEN, Sampling(temperature=0.5))
    np.testing.assert_allclose(cooled, np.array([0.25, 0.09, 0.0225, 0.0025]) / 0.365)
    np.testing.assert_allclose(chances_of(EVEN, Sampling(top_k=2)), [0.625, 0.375, 0, 0])
    np.testing.assert_allclose(chances_of(EVEN, Sampling(top_p=0.7)), [0.625, 0.375, 0, 0])
    np.testing.assert_allclose(chances_of(EVEN, Sampling(top_p=0.4)), [1, 0, 0, 0])
    np.testing.assert_allclose(chances_of(EVEN, Sampling(temperature=0)), [1, 0, 0, 0])
    alike = chances_of(np.array([1.0, 2.0, 2.0, -np.inf]), Sampling(top_k=1))
    np.testing.assert_array_equal(alike, [0, 1, 0, 0])  # of two that are as likely, the first
    assert [drawn_at(at, np.array([0.5, 0, 0.5])) for at in (0, 0.49, 0.5, 0.99)] == [0, 0, 2, 2]
    for wrong in ({"temperature": -1}, {"top_p": 0}, {"top_k": -1}, {"seed": -1}):
        with pytest.raises(InvalidValue):
            Sampling(**wrong)  # type: ignore[arg-type]


def test_draws_are_as_frequent_as_likely_and_seeded() -> None:
    sampler, again = (TokenSampler(Sampling(seed=5)) for _ in range(2))
    drawn = [sampler(EVEN) for _ in range(4000)]

    shares = np.bincount(drawn, minlength=4) / 4000
    expected = np.exp(EVEN)
    assert (np.abs(shares - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000)).all()
    assert drawn[:50] == [again(EVEN) for _ in range(50)]


@pytest.mark.parametrize("family", ["gru-8-12", "transformer-8-2-1"])
def test_a_growing_text_is_the_text_given_at_once(family: str) -> None:
    stream = WordStream(package(family), package(family).parameters)
    numbers = [START, *(2 + each % (WORDS - 2) for each in range(3, 14))]
    grown, whole = StreamedText(stream, droppable=4), StreamedText(stream)

    for number in numbers[:9]:
        grown.add([number])
    grown.add([5, 6, 7])
    grown.drop(3)
    grown.add(numbers[9:])

    np.testing.assert_allclose(grown.logits, whole.add(numbers), rtol=1e-5, atol=1e-6)
    assert grown.numbers == tuple(numbers)
    if stream.places:  # it was full after 6, 9 and 12, and told the last 3 again each time
        last = StreamedText(stream).add(numbers[6:])
        np.testing.assert_allclose(grown.logits, last, rtol=1e-5, atol=1e-6)
    with pytest.raises(InvalidValue, match="the last 4 tokens"):
        grown.drop(5)
    with pytest.raises(InvalidValue, match="no token yet"):
        _ = StreamedText(stream).logits


def test_a_package_writes_the_same_text_by_the_same_seed() -> None:
    writer = TextWriter.of(package("gru-8-12"))

    one, same, other = (writer.write("anna sees", tokens=30, sampling=Sampling(seed=n)) for n in (1, 1, 2))

    assert one == same
    assert one.numbers != other.numbers
    assert len(one.numbers) == 30 or one.ended
    assert not {UNKNOWN, START} & {*one.numbers, *other.numbers}
    assert LIST.decode(one.numbers) == one.text
    greedy = writer.write("anna sees", tokens=1, sampling=Sampling(temperature=0))
    stream = WordStream(package("gru-8-12"), package("gru-8-12").parameters)
    logits = StreamedText(stream).add([START, *LIST.encode("anna sees")])
    logits[UNKNOWN] = -np.inf
    assert greedy.numbers == (int(logits.argmax()),)
    with pytest.raises(InvalidValue, match="tokens"):
        writer.write(tokens=0)


def test_what_is_suppressed_is_never_written() -> None:
    suppressed = Constraints(words=("bob", "a cat")).to_json()
    held, free = (
        TextWriter.of(made)
        for made in (replace(package("gru-8-12"), constraints=suppressed), package("gru-8-12"))
    )

    written = [
        " ".join(writer.write(tokens=60, sampling=Sampling(seed=n)).text for n in range(6))
        for writer in (held, free)
    ]

    assert "bob" not in written[0]
    assert "a cat" not in written[0]
    assert "bob" in written[1]


def test_a_student_that_is_none_of_text_writes_nothing() -> None:
    bare = replace(package("gru-8-12"), vocabulary=None)
    with pytest.raises(GenerationError, match="brings no vocabulary"):
        TextWriter.of(bare)


def test_sub_words_of_a_tokenizer_are_texts() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=270,
        special_tokens=["<|endoftext|>", "<pad>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator(["anna sees bob", "bob sees anna"] * 9, trainer)
    texts = SubwordTexts(made.to_str().encode(), pad=1, size=made.get_vocab_size())

    numbers = texts.numbers("anna sees <|endoftext|>")

    assert numbers.count(0) == 1  # at its beginning: a text cannot say that it ends
    assert texts.text(numbers) == "anna sees <|endoftext|>"
    assert (texts.begin, texts.ends, texts.never) == (0, {0}, {1})
    assert texts.numbers("") == [0]
    mask = texts.mask(suppressor_of(Constraints(words=("bob",))))
    behind, bob = texts.numbers("anna sees"), made.encode(" bob").ids
    assert mask.allows(behind, made.encode(" anna").ids[0])
    assert not mask.allows([*behind, *bob[:-1]], bob[-1])


def test_an_agent_writes_without_what_its_owner_blocked(tmp_path: Path) -> None:
    home = AgentHome(tmp_path / "home")
    home.create()
    home.description.write_text(json.dumps({"name": "pen", "family": "gru-8-12"}))
    with PrivateStore.create(home) as store:
        install(home, store, package("gru-8-12"))
    sampling = Sampling(seed=3)
    with Agent.open(home.folder) as agent:
        before = agent.generate("anna sees", tokens=40, sampling=sampling)
        word = next(word for word in before.text.split() if word.isalpha())
        agent.words("block", [word])
        after = agent.generate("anna sees", tokens=40, sampling=sampling)
        everyones = agent.generate("anna sees", tokens=40, sampling=sampling, scope="everyone")

    assert word not in after.text.split()
    assert everyones == before
    save_package(tmp_path / "student", package("gru-8-12"))
    options = ["--seed", "3", "--tokens", "40", "--json"]
    told = [
        json.loads(CliRunner().invoke(app, ["generate", "anna sees", *options, *whose]).stdout)["text"]
        for whose in (["--student", str(tmp_path / "student")], ["--home", str(home.folder)])
    ]
    assert told == [before.text, after.text]
    refused = CliRunner().invoke(
        app, ["generate", "--temperature", "-1", "--student", str(tmp_path / "student")]
    )
    assert "temperature" in str(refused.exception)
