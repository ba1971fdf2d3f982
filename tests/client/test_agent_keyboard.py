"""The agent as a keyboard: its owner's words come, stay over a restart, and go when they are forgotten."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from fedstill_client import AgentClient
from fedstill_client.agent.agent import Agent
from fedstill_client.agent.keyboard import AgentKeyboard
from fedstill_client.agent_types import AgentError, AgentRefused, PersonalizeOptions
from fedstill_client.cli import app
from fedstill_client.home import AgentHome
from fedstill_client.keyboard.next_word_model import StudentNextWordModel
from fedstill_client.keyboard.typed_rows import typed_rows
from fedstill_client.learning.settings import LearningSettings
from fedstill_client.packages.errors import PackageError
from fedstill_client.packages.install import install
from fedstill_client.packages.operators import check_package
from fedstill_client.rounds.device import FleetDevice
from fedstill_client.service.endpoint import serving_lock
from fedstill_client.service.server import running
from fedstill_client.store import PrivateStore, Retention, StoredText
from fedstill_proto.errors import FedstillError, InvalidValue
from fedstill_proto.text.vocabulary import START
from typer.testing import CliRunner

from tests.client.keyboard_samples import PLACES, WORD_LIST, keyboard_home, keyboard_package
from tests.client.recording_agent import short_home

OWN = "quillfeather"


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    return keyboard_home(tmp_path / "home")


def suggested(agent: Agent | AgentClient, context: str, prefix: str) -> list[str]:
    return [suggestion.word for suggestion in agent.suggest(context, prefix)]


def test_a_word_typed_three_times_stays_over_a_restart_and_goes_when_forgotten(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        assert OWN not in WORD_LIST
        other = agent.observe_text("the quest is over")
        ids = [agent.observe_text(text) for text in ("meet Quillfeather", f"{OWN}!", f"is {OWN} there?")]
        assert OWN.capitalize() in suggested(agent, "we meet", "qu")
        assert suggested(agent, "we meet", "Quillf") == ["Quillfeather"]

    with Agent.open(home.folder) as agent:
        found = agent.suggest("we meet", "qu")
        assert [each.own for each in found if each.word == OWN.capitalize()] == [True]
        assert len(found) == 3

        agent.forget(ids=tuple(ids[:2]))
        assert OWN in suggested(agent, "we meet", "qu")  # typed once, as far as it remembers
        assert agent.forget(ids=(ids[2],)).examples == 1
        assert suggested(agent, "we meet", "quillf") == []
        assert agent.forget(everything=True).examples == 1
        with pytest.raises(InvalidValue, match="holds no word"):
            agent.observe_text(" ... ")
    assert other < min(ids)
    for file in home.folder.glob("store.db*"):
        assert OWN.encode() not in file.read_bytes().lower()


def test_another_process_s_texts_are_seen(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent, Agent.open(home.folder) as other:
        for _ in range(3):
            other.observe_text(f"dear {OWN}")
        assert OWN in suggested(agent, "", "qu")
        other.forget(everything=True)
        assert OWN not in suggested(agent, "", "qu")


def test_the_student_s_words_and_slips(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        assert {*suggested(agent, "the", "qu")} < {
            word for word in WORD_LIST.entries if word.startswith("qu")
        }
        assert "house" in suggested(agent, "the", "hpuse")
        everything = agent.suggest("the quick brown fox jumps over the lazy dog and then", "", 20)
        assert len(everything) == 20
        chances = [each.chance for each in everything]
        assert chances == sorted(chances, reverse=True)
        assert 0 < sum(chances) < 1


def test_typed_text_is_what_the_student_learns_from(home: AgentHome) -> None:
    with Agent.open(home.folder) as agent:
        for _ in range(30):
            agent.observe_text("we meet the old fox tonight")
        result = agent.personalize(PersonalizeOptions(epochs=3, batch_size=4, learning_rate=0.05, seed=0))
        assert result.result == "replaced"
        assert result.after is not None
        assert result.before is not None
        assert result.after.loss < result.before.loss
        status = agent.status()
        assert status.training_examples + status.held_out_examples == 30
    with FleetDevice.opened(home.folder) as device, PrivateStore.open(home) as store:
        held_out = sum(text.held_out for text in store.texts())
        assert int(device.private.counts[0]) == (7 * (30 - held_out) - 1) // PLACES
        assert int(device.held_out.counts[0]) == (7 * held_out - 1) // PLACES > 0


def test_rows_of_typed_texts_by_hand() -> None:
    package = keyboard_package()
    the, fox, dog = (WORD_LIST.number(word) for word in ("the", "fox", "dog"))
    texts = [StoredText(4, "The fox. " * 2, False), StoredText(9, "the dog the dog the dog", False)]

    rows = typed_rows(texts, WORD_LIST, package.manifest)

    dot = WORD_LIST.number(".")
    assert rows.x.tolist() == [[START, the, fox, dot, the, fox], [dot, START, the, dog, the, dog]]
    assert rows.labels.tolist() == [[the, fox, dot, the, fox, dot], [START, the, dog, the, dog, the]]
    assert rows.ids.tolist() == [1 << 40 | 4, 2 << 40 | 4]
    assert typed_rows([], WORD_LIST, package.manifest).x.shape == (0, PLACES)


class Counting:
    """A student that counts its runs, of whole rows: its package has no graph of one word at a time."""

    def __init__(self) -> None:
        self.manifest, self.runs, self.weights = keyboard_package().manifest, 0, {}

    def stream(self) -> None:
        return None

    def expected_words(self, x: np.ndarray) -> np.ndarray:
        self.runs += 1
        return np.eye(len(WORD_LIST), dtype=np.float32)[x[:, -1]]

    def probabilities_along(self, x: np.ndarray) -> np.ndarray:
        self.runs += 1
        return np.eye(len(WORD_LIST), dtype=np.float32)[x]


def test_a_keystroke_costs_no_run_and_a_word_costs_one() -> None:
    student = Counting()
    words = StudentNextWordModel(student)  # type: ignore[arg-type]
    for context in ([START, 5], [START, 5], [START, 5], [START, 5, 6], [START, 5, 6], [1] * 30, [1] * 31):
        assert words.next_words(context).argmax() == context[-1]
    assert student.runs == 3  # what lies further back than the student sees is no other context
    text = [START, *range(2, 50)]
    assert [int(each.argmax()) for each in words.along(text)] == text
    assert student.runs == 4


def test_weights_come_of_what_is_held_out(home: AgentHome) -> None:
    with PrivateStore.open(home) as store:
        for number in range(60):
            store.observe_text("the fox", held_out=number % 2 == 0)
        keyboard = AgentKeyboard(WORD_LIST)
        student = Counting()
        suggester = keyboard.refresh(store, student)  # type: ignore[arg-type]
        # 60 words of which the student knows none, and a prior of 0.29 that counts like 60.
        assert suggester.weights[9] == pytest.approx((60 + 0.29 * 60) / 120)
        runs = student.runs
        store.observe_text("the fox", held_out=True)
        assert keyboard.refresh(store, student).ngrams.texts == 61  # type: ignore[arg-type]
        assert student.runs == runs + 1  # not for one more, to which the student is adapted


def test_the_adaptation_is_to_the_texts_there_and_of_the_student_that_answers(home: AgentHome) -> None:
    with PrivateStore.open(home) as store:
        for _ in range(10):
            store.observe_text("the fox", held_out=False)
        keyboard, student = AgentKeyboard(WORD_LIST), Counting()

        def factors() -> np.ndarray:
            keyboard.refresh(store, student)  # type: ignore[arg-type]
            assert keyboard.adaptation is not None
            return keyboard.adaptation.unigrams.factors()

        first = factors()
        # It predicts the word before again: START ten times, and "the" ten times, as often as that is there.
        expected = np.ones(len(WORD_LIST))
        expected[START] = (2 / 12) ** 0.5
        expected[WORD_LIST.number("fox")] = (12 / 2) ** 0.5
        np.testing.assert_allclose(first, expected)
        np.testing.assert_array_equal(factors(), first)
        runs = student.runs
        student.weights = {}  # another student
        np.testing.assert_array_equal(factors(), first)
        assert student.runs == runs + 10
        store.forget(everything=True)
        np.testing.assert_array_equal(factors(), 1)
        assert keyboard.adaptation is not None
        assert len(keyboard.adaptation.cache) == 0


def test_old_texts_are_not_counted(home: AgentHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedstill_client.agent.keyboard.COUNTED_WORDS", 20)
    with PrivateStore.open(home) as store:
        keyboard, student = AgentKeyboard(WORD_LIST), Counting()
        for number in range(40):
            store.observe_text("one two", held_out=False)
            own = keyboard.refresh(store, student).ngrams  # type: ignore[arg-type]
            assert own.count(own.number("one")) == min(number + 1, 10)
        store.observe_text("x " * 200, held_out=False)
        store.observe_text("y", held_out=False)
        assert AgentKeyboard(WORD_LIST).refresh(store, student).ngrams.texts == 1  # type: ignore[arg-type]


def test_texts_are_pruned_as_examples_are(home: AgentHome) -> None:
    with PrivateStore.open(home) as store:
        store.retention = Retention(max_examples=2)
        ids = [store.observe_text(text) for text in ("one", "two", "ø\n3")]
        assert store.prune() == 1
        assert [(text.id, text.text) for text in store.texts()] == [(ids[1], "two"), (ids[2], "ø\n3")]
        assert list(store.texts(after=ids[2])) == []
        assert (store.text_count(), store.counts().bytes) == (2, 3 + 4)


def test_a_student_without_words_suggests_none(tmp_path: Path) -> None:
    home = keyboard_home(tmp_path / "home")
    with PrivateStore.open(home) as store:
        install(home, store, dataclasses.replace(keyboard_package(2), vocabulary=None))
    with Agent.open(home.folder) as agent:
        for call in (lambda: agent.suggest(""), lambda: agent.observe_text("a word")):
            with pytest.raises(AgentError, match=r"suggests no words: .* vocabulary\.json"):
                call()


@pytest.mark.parametrize("content", [b"{}", WORD_LIST.to_json().replace(b'"fox"', b'"Fox"')])
def test_a_package_with_a_wrong_vocabulary_is_refused(content: bytes) -> None:
    package = keyboard_package()
    check_package(package)
    with pytest.raises(PackageError, match=r"vocabulary\.json"):
        check_package(dataclasses.replace(package, vocabulary=content))


def test_through_the_socket_and_by_commands(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, [arguments[0], "--home", str(home.folder), *arguments[1:]])
        if isinstance(result.exception, FedstillError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    (tmp_path / "typed.txt").write_text(f"dear {OWN}\n\n...\nso {OWN} it is\n")
    with short_home() as made:
        home = keyboard_home(made.folder)
        with (
            serving_lock(home) as address,
            Agent.open(home.folder) as agent,
            running(agent, address, home.socket, threading.Event()),
            AgentClient(home.folder) as client,
        ):
            assert client.observe_text(f"hello {OWN}\ud800") == 1
            kept = json.loads(run("observe-text", "--input", str(tmp_path / "typed.txt"), "--json"))
            assert kept["ids"] == [2, 3]
            assert client.suggest("we meet", "qu") == agent.suggest("we meet", "qu")
            assert OWN in suggested(client, "we meet", "qu")
            assert "a word of your own" in run("suggest", "we meet", "--prefix", "qui")
            found = json.loads(run("suggest", "--json", "-k", "2"))["suggestions"]
            assert [each["word"] for each in found] == [each.word for each in agent.suggest("", k=2)]
            for asked in (("", "", 21), ("x" * 100_001, "", 3)):
                with pytest.raises(AgentRefused, match=r"k: 21|text"):
                    client.suggest(*asked)
            for name in ("qwertz", "azerty"):
                assert client.suggest("we", "quiy", layout=name) == agent.suggest("we", "quiy", layout=name)
            assert "quit" in run("suggest", "we", "--prefix", "quiz", "--layout", "qwertz")
            with pytest.raises(AgentRefused, match=r"'qwerzt' is unknown; did you mean qwertz.*russian"):
                client.suggest("we", "quiz", layout="qwerzt")
            with pytest.raises(AgentRefused, match="holds no word"):
                client.observe_text("?")
            with pytest.raises(FedstillError, match="give a text, or --input"):
                run("observe-text")
            assert client.forget(everything=True).examples == 3
            assert suggested(client, "", "quillf") == []


def test_text_is_learned_in_small_steps() -> None:
    manifest = keyboard_package().manifest
    for chosen, rate in ((LearningSettings(), 1e-4), (LearningSettings(learning_rate=0.2), 0.2)):
        plan = chosen.plan(manifest, public=False, temperature=1.0, soft=False)
        assert plan.learning_rate == rate
