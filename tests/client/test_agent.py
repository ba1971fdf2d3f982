"""The agent in its own process: it answers, keeps, learns, notices and forgets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.agent_types import AgentBusy, LearningProgress, PersonalizeOptions
from fedstill_client.home import AgentHome
from fedstill_client.model.label_prior import log_label_prior
from fedstill_client.model.student_store import DeviceStoreError, OwnStudent
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore, Release
from fedstill_proto.arrays import Parameters
from fedstill_proto.errors import InvalidValue, UnknownName

from tests.client.agent_samples import enrolled_home, trainable_package
from tests.client.samples import examples, mlp_logits, softmax, student

X = examples(30, seed=9)[0]


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    return enrolled_home(tmp_path / "home", owner_share=0.0)


@pytest.fixture
def agent(home: AgentHome) -> Iterator[Agent]:
    with Agent.open(home.folder) as opened:
        yield opened


def put_student(
    home: AgentHome,
    parameters: Parameters,
    *,
    run: str = "abcd",
    round: int = 1,
    version: int = 1,
    fleet: Parameters | None = None,
) -> None:
    """As a round in another process does, or a learning."""
    with PrivateStore.open(home) as store:
        students = store.students(trainable_package(version).manifest, version)
        students.save(OwnStudent(run, round, parameters), before=students.latest(), fleet=fleet)


def assert_answers_as(agent: Agent, parameters: Parameters) -> None:
    np.testing.assert_allclose(agent.predict(X), softmax(mlp_logits(parameters, X)), atol=1e-5)


class TestAnswers:
    """Who answers: the package's student, the device's own, whichever is the newest."""

    def test_the_package_s_student_answers_first(self, agent: Agent) -> None:
        assert_answers_as(agent, student())

    def test_a_package_without_8_bit_weights_answers_in_float32(self, home: AgentHome) -> None:
        with Agent.open(home.folder, precision="int8") as agent:
            assert_answers_as(agent, student())

        with pytest.raises(UnknownName, match="did you mean int8"):
            Agent.open(home.folder, precision="int4")  # type: ignore[arg-type]

    def test_weights_from_another_process_take_their_place(self, home: AgentHome, agent: Agent) -> None:
        put_student(home, student(5))
        assert_answers_as(agent, student(5))

        put_student(home, student(6), round=2)
        assert_answers_as(agent, student(6))
        assert (agent.status().student_run, agent.status().student_round) == ("abcd", 2)

    def test_under_a_new_package_the_owner_s_student_goes_on(self, home: AgentHome, agent: Agent) -> None:
        put_student(home, student(5))
        with PrivateStore.open(home) as store:
            install(home, store, trainable_package(2))

        assert agent.status().package_version == 2
        assert_answers_as(agent, student(5))

    def test_for_everyone_the_fleet_s_student_answers_alone(self, tmp_path: Path) -> None:
        home = enrolled_home(tmp_path / "two")
        with Agent.open(home.folder) as agent:
            agent.observe(X, np.zeros(30, np.int64))

            def answers_everyone_as(parameters: Parameters) -> None:
                wanted = softmax(mlp_logits(parameters, X))
                np.testing.assert_allclose(agent.predict(X, scope="everyone"), wanted, atol=1e-5)
                assert not np.allclose(agent.predict(X), wanted, atol=1e-2)

            answers_everyone_as(student())
            put_student(home, student(6), run="offline")  # learned here: the package's is the fleet's
            answers_everyone_as(student())
            put_student(home, student(7), fleet=student(5))
            answers_everyone_as(student(5))
            with pytest.raises(UnknownName, match="did you mean owner"):
                agent.predict(X, scope="owners")  # type: ignore[arg-type]

    def test_how_often_the_device_sees_a_class(self, tmp_path: Path) -> None:
        home = enrolled_home(tmp_path / "prior", owner_share=1.0)
        with PrivateStore.open(home) as store:  # none held out that would say how sure it may be
            store.observe_all([(np.zeros(6, np.float32), 0)] * 4, held_out=False)
        with Agent.open(home.folder) as agent:
            prior = log_label_prior(np.zeros((1, 4), np.int64), np.array([4]), classes=3)
            wanted = mlp_logits(student(), X) + prior[0]
            np.testing.assert_allclose(agent.predict(X), softmax(wanted), atol=1e-5)

    def test_held_out_examples_say_how_sure_it_may_be(self, home: AgentHome, agent: Agent) -> None:
        with PrivateStore.open(home) as store:  # it is right of none, and never says so again
            labels = mlp_logits(student(), X).argmin(axis=1)
            store.observe_all(list(zip(X, labels.tolist(), strict=True)), held_out=True)

        assert agent.predict(X).max() < agent.predict(X, scope="everyone").max()
        assert agent.predict(X).argmax(axis=1).tolist() == mlp_logits(student(), X).argmax(axis=1).tolist()

    @pytest.mark.parametrize(
        ("x", "words"),
        [
            (np.zeros((2, 5)), r"x: has shape \[2, 5\]; the student 'mlp-small' takes \[n, 6\]"),
            (np.float32(1), r"x: has shape \[\]"),
            (np.full((3, 6), np.inf), "x: row 0 holds a value that is not a finite"),
            (np.array([["a"] * 6]), "x: are texts; the installed student reads no sub-words"),
            (np.zeros((4097, 6)), "x: 4097 examples; send 4096 at most"),
        ],
    )
    def test_what_is_no_example(self, agent: Agent, x: np.ndarray, words: str) -> None:
        with pytest.raises(InvalidValue, match=words):
            agent.predict(x)


class TestExamples:
    """What the device keeps, and gives up."""

    def test_kept_examples_are_there_again(self, home: AgentHome, agent: Agent) -> None:
        x, labels = examples(20)

        ids = agent.observe(x, labels)

        assert ids == tuple(range(1, 21))
        with PrivateStore.open(home) as store:
            kept = store.examples("all")
        np.testing.assert_array_equal(kept.x, x)
        np.testing.assert_array_equal(kept.labels, labels)
        status = agent.status()
        assert status.training_examples + status.held_out_examples == 20

    @pytest.mark.parametrize(
        ("x", "labels", "words"),
        [
            (X[:2], [0], "give one label an example"),
            (X[:2], [0, 3], r"labels\[1\]"),
            (X[:2, :4], [0, 1], r"x\[0\]"),
            (X[:2], [0.5, 1.0], r"labels\[0\]"),
        ],
    )
    def test_all_or_none(self, agent: Agent, x: np.ndarray, labels: list[float], words: str) -> None:
        with pytest.raises(InvalidValue, match=words):
            agent.observe(x, labels)
        assert agent.status().stored_bytes == 0

    def test_forgetting_goes_back_to_the_package_s_student(self, home: AgentHome, agent: Agent) -> None:
        ids = agent.observe(*examples(20))
        put_student(home, student(5))

        gone = agent.forget(ids=ids[:3])

        assert (gone.examples, gone.students, gone.learning) == (3, 1, False)
        assert agent.predict(X).argmax(axis=1).tolist() == mlp_logits(student(), X).argmax(axis=1).tolist()
        assert agent.forget(everything=True).examples == 17
        assert_answers_as(agent, student())
        with pytest.raises(InvalidValue, match="one of them"):
            agent.forget()

    def test_what_left_the_device_is_in_the_status(self, home: AgentHome, agent: Agent) -> None:
        with PrivateStore.open(home) as store:
            store.ledger.debit(Release("abcd", 1, "class-means", 9, 120, "0" * 64))

        assert (agent.status().releases, agent.status().released_bytes) == (1, 120)


class TestLearning:
    """From the device's own examples."""

    def test_it_gets_better_and_answers_with_what_it_learned(self, agent: Agent) -> None:
        agent.observe(*examples(120))
        before, seen = agent.predict(X), list[LearningProgress]()

        result = agent.personalize(PersonalizeOptions(epochs=10), on_progress=seen.append)

        assert result.result == "replaced"
        assert result.before is not None
        assert result.after is not None
        assert result.after.loss < result.before.loss
        assert [progress.steps for progress in seen] == sorted(progress.steps for progress in seen)
        assert seen[-1].epochs == 10
        right = (agent.predict(X).argmax(axis=1) == X[:, :3].argmax(axis=1)).mean()
        assert right > (before.argmax(axis=1) == X[:, :3].argmax(axis=1)).mean()
        assert agent.status().student_run

    def test_too_few_examples(self, agent: Agent) -> None:
        assert agent.personalize().result == "nothing"

    def test_it_answers_while_it_learns_and_learns_once_at_a_time(self, agent: Agent) -> None:
        agent.observe(*examples(120))
        learning, enough = threading.Event(), threading.Event()
        results: list[str] = []

        def learn() -> None:
            outcome = agent.personalize(
                PersonalizeOptions(epochs=50),
                on_progress=lambda _: learning.set(),
                stop=lambda: "enough" if enough.wait(0.05) else None,
            )
            results.append(outcome.result)

        thread = threading.Thread(target=learn)
        thread.start()
        assert learning.wait(20)
        assert agent.status().personalizing
        assert agent.predict(X).shape == (30, 3)
        for call in (agent.personalize, lambda: agent.forget(everything=True)):
            with pytest.raises(AgentBusy, match="learning"):
                call()
        enough.set()
        thread.join(20)
        assert results == ["interrupted"]
        assert agent.personalize(PersonalizeOptions(epochs=50)).resumed


def test_a_folder_that_is_no_home(tmp_path: Path) -> None:
    with pytest.raises(DeviceStoreError, match="enrol the device first"):
        Agent.open(tmp_path)
