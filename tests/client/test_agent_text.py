"""The agent with a student of text: it says which word comes next, and learns the words of its own device."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.agent_types import PersonalizeOptions
from fedstill_client.cli import app
from fedstill_client.home import AgentHome
from fedstill_client.model.predictor import Predictor
from fedstill_client.packages import check_package
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_proto.errors import InvalidValue
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import StudentPackage, save_package
from fedstill_server.export.build import ArtifactOptions
from fedstill_server.families import FAMILIES, TEXT, initial_parameters
from fedstill_server.publish.package import package_of
from typer.testing import CliRunner

PLACES, WORDS = 5, 40


@functools.cache
def text_package(family: str) -> StudentPackage:
    """Steps of 4 rows of 5 words see 30 words of 40, and top-k soft labels of 3."""
    options = ArtifactOptions(
        family=family,
        input_shape=(PLACES,),
        classes=WORDS,
        optimizer=Optimizer.ADAMW,
        soft_labels="top-k",
        k=3,
        stack_size=1,
        step_rows=8,
        step_vocabulary=30,
    )
    public = np.random.default_rng(0).integers(0, WORDS, (20, PLACES))
    weights = initial_parameters(family, (PLACES,), WORDS, 0)
    return package_of(options, weights, package_version=1, public_x=public)


@pytest.fixture(params=sorted(FAMILIES.of_task(TEXT)))
def home(request: pytest.FixtureRequest, tmp_path: Path) -> AgentHome:
    home = AgentHome(tmp_path / "home")
    home.create()
    home.description.write_text(json.dumps({"name": "keyboard", "family": request.param}))
    with PrivateStore.create(home) as store:
        install(home, store, text_package(request.param))
    return home


def sentences(count: int) -> tuple[np.ndarray, np.ndarray]:
    """This device counts: after each word comes the next number, modulo 7."""
    first = np.random.default_rng(1).integers(0, 7, (count, 1))
    words = (first + np.arange(PLACES + 1)) % 7
    return words[:, :-1], words[:, 1:]


def test_a_package_of_text_is_what_a_device_takes() -> None:
    package = text_package("gru")

    check_package(package)
    assert package.manifest.vocabulary is not None
    assert package.int8_graph is not None
    assert dict(package.manifest.quality)["top1_agreement_int8"] >= 0.9  # of an untrained student


def test_it_learns_what_its_device_writes(home: AgentHome) -> None:
    x, labels = sentences(60)
    with Agent.open(home.folder) as agent:
        before = agent.predict(x[:, :3])
        agent.observe(x, labels)
        learned = agent.personalize(PersonalizeOptions(epochs=20, batch_size=4, soft_weight=0.1, seed=0))
        after = agent.predict(x[:, :3])

        assert before.shape == (60, WORDS)
        np.testing.assert_allclose(after.sum(-1), 1, rtol=1e-5)
        assert (before.argmax(-1) == labels[:, 2]).mean() < 0.5
        assert learned.result == "replaced"
        assert learned.soft_labels == "installed"
        assert (after.argmax(-1) == labels[:, 2]).mean() > 0.95
        with Agent.open(home.folder, precision="int8") as small:
            in_8_bits = small.predict(x[:, :3])
        assert np.abs(in_8_bits - after).max() > 0
        np.testing.assert_allclose(in_8_bits, after, atol=0.1)
        assert agent.forget(everything=True).examples == 60
        np.testing.assert_allclose(agent.predict(x[:, :3]), before, atol=1e-6)


def test_words_that_follow_change_nothing(home: AgentHome) -> None:
    x = np.random.default_rng(2).integers(0, WORDS, (3, PLACES))
    with Agent.open(home.folder) as agent:
        whole = agent.predict(x)
        short = agent.predict(x[:, :1])

        assert whole.shape == short.shape == (3, WORDS)
        np.testing.assert_allclose(agent.predict(x[:1]), whole[:1], atol=1e-6)
        x[:, 1:] = 0
        np.testing.assert_allclose(agent.predict(x[:, :1]), short, atol=1e-6)


def test_the_command_says_the_next_word_of_a_student_folder(tmp_path: Path) -> None:
    package = text_package("gru")
    save_package(tmp_path / "gru", package)
    (tmp_path / "words.csv").write_text("3,4,5\n1,2,3\n")

    asked = ["predict", "--student", str(tmp_path / "gru"), "--input", str(tmp_path / "words.csv"), "--json"]
    result = CliRunner().invoke(app, asked)

    assert result.exit_code == 0, result.output
    answers = json.loads(result.stdout)
    expected = Predictor(package).next_words(np.array([[3, 4, 5], [1, 2, 3]]))
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-6)
    assert answers["classes"] == expected.argmax(-1).tolist()


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((2, 6), np.int64), r"shape \[2, 6\]; .* takes \[n, 1 to 5\] words"),
        (np.zeros((2, 0), np.int64), r"shape \[2, 0\]"),
        (np.zeros((2, 5)), "is of type float64; give the numbers of words"),
        (np.full((2, 5), WORDS), "holds a word outside 0 to 39"),
    ],
)
def test_what_is_no_text(tmp_path: Path, x: np.ndarray, words: str) -> None:
    home = AgentHome(tmp_path / "home")
    home.create()
    home.description.write_text(json.dumps({"name": "keyboard", "family": "gru"}))
    with PrivateStore.create(home) as store:
        install(home, store, text_package("gru"))
    with Agent.open(home.folder) as agent, pytest.raises(InvalidValue, match=words):
        agent.predict(x)
