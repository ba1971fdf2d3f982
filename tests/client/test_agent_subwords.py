"""Texts of an agent whose student reads sub-words: predicted, learned, embedded, kept and found again."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.agent_types import AgentError, AgentRefused
from fedstill_client.cli import app
from fedstill_client.packages.errors import PackageError
from fedstill_client.packages.install import install
from fedstill_client.packages.operators import check_package
from fedstill_client.service.client import AgentClient
from fedstill_client.service.endpoint import serving_lock
from fedstill_client.service.server import running
from fedstill_client.store import PrivateStore
from fedstill_proto.errors import FedstillError, InvalidValue
from fedstill_proto.package.artifact import load_student, save_package
from fedstill_proto.package.constraints.constraints import Constraints
from fedstill_proto.subwords.reader import SubwordReader
from fedstill_proto.text.intents import ScoredIntent
from typer.testing import CliRunner

from tests.client.recording_agent import short_home
from tests.client.subword_packages import (
    FAMILY,
    PLACES,
    WORDS,
    classifier_package,
    embedding_package,
    home_of,
)
from tests.client.subword_samples import PAD, tokenizer_file

READER = SubwordReader(tokenizer_file(WORDS), places=PLACES, pad=PAD)
FOOD, PLACE = "milk bread butter", "the key is under the stone"


def printed(*arguments: str) -> dict[str, object]:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


# Classes of texts


def test_a_text_is_what_its_row_is(tmp_path: Path) -> None:
    home_of(tmp_path, classifier_package())
    with Agent.open(tmp_path) as agent:
        # 10 / 5 of food's number for each of three words, of five with [CLS] and [SEP]: logits 2 * 6 and 0.
        by_hand = 1 / (1 + np.exp(-12))
        answers = agent.predict([FOOD])
        np.testing.assert_allclose(answers, [[by_hand, 1 - by_hand]], rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(answers, agent.predict(READER.rows([FOOD])))
        understood = agent.predict_text(PLACE)
        assert (understood.intent, understood.sure) == ("place", True)
        assert [each.name for each in understood.intents] == ["place", "food"]
        assert agent.status().texts == "classes"
        with pytest.raises(InvalidValue, match=r"texts\[1\]: ' ' holds no sub-word"):
            agent.predict([FOOD, " "])
    facts = printed("predict", "--home", str(tmp_path), "--text", FOOD)
    assert facts["intent"] == "food"


def test_a_package_answers_a_text_without_a_home(tmp_path: Path) -> None:
    save_package(tmp_path / "student", classifier_package())
    assert load_student(tmp_path / "student").tokenizer == tokenizer_file(WORDS)
    assert printed("predict", "--student", str(tmp_path / "student"), "--text", PLACE)["intent"] == "place"


def test_an_owner_s_texts_teach_the_student(tmp_path: Path) -> None:
    # To this owner, eggs in the garden are a place; the fleet's student says food.
    home_of(tmp_path / "home", classifier_package(sure=0.5))
    texts = tmp_path / "texts.csv"
    said = ["eggs under the gate", "the eggs", "eggs is under", "the eggs is under", "under eggs"] * 4
    texts.write_text("text,label\n" + "".join(f"{text},place\n" for text in said))
    with Agent.open(tmp_path / "home") as agent:
        assert agent.predict_text("the eggs").intent == "food"
        vectors = agent.embed([FOOD])
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("text,label\nmilk,food\n[a](b) is milk,food\n???,drink\n")
    refused = CliRunner().invoke(app, ["observe", "--home", str(tmp_path / "home"), "--input", str(wrong)])
    assert "wrong.csv: line 4: class: 'drink' is unknown; there are food, place" in str(refused.exception)
    much = ("--learning-rate", "0.05", "--soft-weight", "0.1")
    result = printed("personalize", "--home", str(tmp_path / "home"), "--input", str(texts), *much)
    assert result["result"] == "replaced"
    with Agent.open(tmp_path / "home") as agent:
        assert agent.predict_text("the eggs").intent == "place"
        assert agent.predict_text("the eggs", scope="everyone").intent == "food"
        np.testing.assert_array_equal(agent.embed([FOOD]), vectors)  # by the package's own weights
        assert agent.status().training_examples + agent.status().held_out_examples == 20
        with pytest.raises(InvalidValue, match="'drink' is unknown; there are food, place"):
            agent.observe_intents([("milk", "drink")])


def test_rows_of_another_tokenizer_are_set_aside(tmp_path: Path) -> None:
    # The same number is another word under the second package.
    turned = tuple(reversed(WORDS))
    first, second = embedding_package(1), embedding_package(2, words=turned)
    home = home_of(tmp_path, classifier_package())
    with Agent.open(tmp_path) as agent:
        agent.observe([FOOD, PLACE], ["food", "place"])
    with PrivateStore.open(home) as store:
        install(home, store, second)
        assert len(store.examples("all").ids) == 0
        assert store.counts().training + store.counts().held_out == 2  # kept, to be forgotten or taken up
        install(home, store, replace(first, manifest=replace(first.manifest, package_version=3)))
        assert len(store.examples("all").ids) == 2


# Vectors and memories


def test_vectors_by_hand(tmp_path: Path) -> None:
    home_of(tmp_path, embedding_package())
    with Agent.open(tmp_path) as agent:
        vectors = agent.embed(["milk bread", "milk milk", "bread eggs"])
        np.testing.assert_allclose(vectors[0, 4:7], [0.5**0.5, 0.5**0.5, 0], rtol=1e-6)
        np.testing.assert_allclose(vectors @ vectors[0], [1, 0.5**0.5, 0.5], rtol=1e-6)
        with pytest.raises(AgentError, match="with a vector, and with no class; embed gives the vector"):
            agent.predict(["milk"])


def test_a_memory_is_found_by_meaning_and_forgotten(tmp_path: Path) -> None:
    home_of(tmp_path, embedding_package())
    with Agent.open(tmp_path) as agent:
        key, shopping = agent.memory.add([PLACE, FOOD], source="notes")
        answer = agent.memory.ask("where is the key", 1)
        # "the" twice, key, is, under, stone: of length sqrt(8); the question knows is, the, key.
        assert answer.found[0].memory.text == PLACE
        assert answer.found[0].similarity == pytest.approx(4 / (8 * 3) ** 0.5)
        assert answer.classes == ()
    with Agent.open(tmp_path) as agent:  # it survives a restart
        assert [one.id for one in agent.memory.list()] == [shopping, key]
        assert agent.memory.forget(ids=[key]) == 1
        assert [one.memory.text for one in agent.memory.ask("the key").found] == [FOOD]
        agent.forget(everything=True)
        assert agent.memory.ask("the key").found == ()
        with pytest.raises(InvalidValue, match="k: 0; give 1 to 100"):
            agent.memory.ask("the key", 0)


def test_another_student_finds_what_was_kept(tmp_path: Path) -> None:
    home = home_of(tmp_path, embedding_package(1))
    turned = tuple(reversed(WORDS))
    with Agent.open(tmp_path) as agent:
        agent.memory.add([PLACE, FOOD])
        before = agent.embed([FOOD])
        with PrivateStore.open(home) as store:
            install(home, store, embedding_package(2, words=turned))
        assert not np.array_equal(agent.embed([FOOD]), before)
        assert agent.memory.ask("butter").found[0].memory.text == FOOD


def test_a_long_text_is_kept_as_passages(tmp_path: Path) -> None:
    home_of(tmp_path, embedding_package())
    with Agent.open(tmp_path) as agent:
        ids = agent.memory.add("milk bread eggs butter key. the gate is under the stone. garden gate")
        # Eight words fit beside [CLS] and [SEP]; a full stop is a word of its own.
        assert [one.text for one in reversed(agent.memory.list())] == [
            "milk bread eggs butter key.",
            "the gate is under the stone.",
            "garden gate",
        ]
        assert len(ids) == 3


def test_labels_of_memories_vote_beside_the_student(tmp_path: Path) -> None:
    home_of(tmp_path, classifier_package(sure=0.05))  # a student that is hardly sure of anything
    with Agent.open(tmp_path) as agent:
        alone = agent.predict_text("milk eggs").intents[0]
        assert alone.name == "food"
        agent.memory.add([f"milk {word}" for word in WORDS[:4]] * 2, label="place")
        agent.memory.add([f"stone {word}" for word in WORDS[4:8]] * 2, label="food")
        # The owner has the two the other way round; each memory votes for those like it.
        mixed = agent.predict_text("milk eggs")
        assert mixed.intent == "place"
        answer = agent.memory.ask("milk eggs")
        assert answer.share == pytest.approx(0.85)
        assert answer.classes == mixed.intents
        assert agent.predict_text("milk eggs", scope="everyone").intents[0] == alone
        with pytest.raises(InvalidValue, match="'drink' is none of the student's classes: food, place"):
            agent.memory.add("milk", label="drink")


def test_no_label_brings_a_suppressed_class_back(tmp_path: Path) -> None:
    package = replace(classifier_package(), constraints=Constraints(classes=("food",)).to_json())
    home_of(tmp_path, package)
    with Agent.open(tmp_path) as agent:
        agent.memory.add([FOOD, "milk eggs", "bread"], label="food")
        for understood in (agent.predict_text(FOOD), agent.predict_text(FOOD, scope="everyone")):
            assert [(each.name, each.confidence) for each in understood.intents] == [("place", 1.0)]
        assert [each.name for each in agent.memory.ask(FOOD).classes] == ["place"]


def test_the_memory_by_its_commands(tmp_path: Path) -> None:
    home_of(tmp_path / "home", embedding_package())
    at = ("--home", str(tmp_path / "home"))
    notes = tmp_path / "notes.txt"
    notes.write_text(f"{PLACE}.\n\n{FOOD}.\n")
    assert printed("memory", "add", "--input", str(notes), *at) == {"ids": [1, 2]}
    assert printed("memory", "add", "the garden gate", "--label", "place", *at) == {"ids": [3]}
    found = printed("memory", "ask", "milk", "--k", "1", *at)
    assert found["found"][0]["text"] == f"{FOOD}."  # type: ignore[index]
    assert found["classes"] == [{"name": "place", "confidence": 1.0}]  # the one label there is
    facts = printed("memory", *at)
    assert (facts["memories"], facts["labelled"], facts["sources"]) == (3, 1, {"notes.txt": 2})
    assert printed("memory", "forget", "--source", "notes.txt", *at) == {"removed": 2}
    assert [one["id"] for one in printed("memory", "list", *at)["memories"]] == [3]  # type: ignore[attr-defined]
    shown = CliRunner().invoke(app, ["memory", "ask", "gate", *at])
    assert "the garden gate" in shown.stdout


def test_apps_keep_texts_and_find_them() -> None:
    with short_home() as made:
        home = home_of(made.folder, embedding_package())
        with (
            serving_lock(home) as address,
            Agent.open(home.folder) as agent,
            running(agent, address, home.socket, threading.Event()),
            AgentClient(home.folder) as client,
        ):
            np.testing.assert_array_equal(client.embed([FOOD]), agent.embed([FOOD]))
            assert client.memory.add([PLACE, FOOD], label="note", source="app") == (1, 2)
            assert client.memory.add("gate garden") == (3,)
            assert client.memory.ask("where is the key", 2) == agent.memory.ask("where is the key", 2)
            assert client.memory.ask("milk").classes == (ScoredIntent("note", 1.0),)
            assert client.memory.list() == agent.memory.list()
            assert [one.id for one in client.memory.list(source="app")] == [2, 1]
            assert client.memory.facts() == agent.memory.facts()
            assert client.memory.forget(source="app") == 2
            with pytest.raises(AgentRefused, match="holds no sub-word"):
                client.memory.ask(" ")
            with pytest.raises(AgentRefused, match="one of them"):
                client.memory.forget()
            assert client.memory.forget(everything=True) == 1


# Who has no tokenizers, and packages that are wrong

WITHOUT = """
import sys
sys.modules["tokenizers"] = None  # as if it were not installed
from pathlib import Path
from fedstill_client.agent.agent import Agent
from fedstill_proto.errors import FedstillError
import numpy as np
with Agent.open(Path(sys.argv[1])) as agent:
    print(agent.predict(np.array([[2, 4, 5, 7, 3, 0, 0, 0, 0, 0]], np.float32)).argmax())
    try:
        agent.predict(["milk"])
    except FedstillError as error:
        print(error)
"""


def test_without_the_library_numbers_are_answered_and_texts_say_what_to_install(tmp_path: Path) -> None:
    home_of(tmp_path, classifier_package())
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "0",
        "reading texts as sub-words needs the package 'tokenizers', which is not installed: "
        "pip install 'fedstill[subwords]'",
    ]


def test_a_tokenizer_that_is_not_its_student_s_is_refused_at_the_gate() -> None:
    package = classifier_package()
    with pytest.raises(PackageError, match="a sub-word of number 15; the student knows 0 to 14"):
        check_package(replace(package, tokenizer=tokenizer_file((*WORDS, "more"))))
    with pytest.raises(PackageError, match="not a tokenizer"):
        check_package(replace(package, tokenizer=b"{"))


def test_an_older_library_is_refused(tmp_path: Path) -> None:
    package = classifier_package()
    assert package.manifest.subwords is not None
    newer = replace(package.manifest.subwords, library="99.0.0")
    home_of(tmp_path, replace(package, manifest=replace(package.manifest, subwords=newer)))
    with Agent.open(tmp_path) as agent, pytest.raises(FedstillError, match="was made with tokenizers 99"):
        agent.predict(["milk"])
    assert package.manifest.family == FAMILY
