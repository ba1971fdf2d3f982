"""A package's constraints on a device: whatever was learned there, what is suppressed never comes."""

from __future__ import annotations

import json
import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.agent.constraint_gate import ConstraintGate
from fedstill_client.agent_types import OwnWord, PersonalizeOptions
from fedstill_client.home import AgentHome
from fedstill_client.keyboard.probing import suppressed_suggestions
from fedstill_client.model.answering_student import AnsweringStudent
from fedstill_client.model.predictor import Predictor
from fedstill_client.packages.errors import PackageError
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_client.store.texts import add_text
from fedstill_proto.arrays import ParameterSpec
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import StudentManifest, StudentPackage
from fedstill_proto.package.constraints.constraints import Constraints, SuppressedTopic
from fedstill_proto.package.constraints.plainly import plainly_holds
from onnx import TensorProto, helper, numpy_helper

from tests.client.keyboard_samples import keyboard_package

OWN = "quillfeather"
LIST = Constraints(
    words=(OWN, "quick", "old house", "over the moon"),
    sequences=("zebra",),
    topics=(SuppressedTopic(name="places", words=("barrowdown",)),),
)
SENTENCES = (
    "we meet at the old house tonight with Quillfeather",
    "the quick zebrafish jumps over the moon",
    "dear Quillfeather, the quest of Barrowdown is over the moon",
    "barrow-down and quill-feather quit the quick quest quietly",
)


def home_of(folder: Path, package: StudentPackage) -> AgentHome:
    home = AgentHome(folder)
    home.create()
    home.description.write_text(json.dumps({"name": "phone", "family": package.manifest.family}))
    with PrivateStore.create(home) as store:
        install(home, store, package)
    return home


def linear_package() -> StudentPackage:
    """A classifier of three numbers: its logits are the sums of the first one, two, three and four."""
    node = helper.make_node("MatMul", ["x", "weight"], ["logits"])
    weight = np.triu(np.ones((3, 4), np.float32))
    graph = helper.make_graph(
        [node],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    manifest = StudentManifest(
        family="linear",
        classes=4,
        input_shape=(3,),
        parameters=(ParameterSpec("weight", (3, 4)),),
        optimizer=Optimizer.SGD,
        soft_labels="none",
        opset=20,
        class_names=("lamp", "door", "fan", "lock"),
    )
    return StudentPackage(manifest, model.SerializeToString(), {"weight": weight})


def constrained(constraints: Constraints = LIST, *, version: int = 1) -> StudentPackage:
    return replace(keyboard_package(version), constraints=constraints.to_json())


def test_suppressed_words_are_never_suggested_after_1000_personal_texts(tmp_path: Path) -> None:
    """The bar: next words, completions, corrections, phrases, own and imported words, after a learning."""
    home, rng = home_of(tmp_path / "home", constrained()), random.Random(7)
    with Agent.open(home.folder) as agent:
        assert agent.words("import", [OwnWord("Zebrastripe"), OwnWord("harbour")]).left_out == 1
    with PrivateStore.open(home) as store, store.transaction():
        for _ in range(1000):
            add_text(store._database, rng.choice(SENTENCES), observed_at=time.time())
    with Agent.open(home.folder) as agent:
        options = PersonalizeOptions(epochs=1, batch_size=4, learning_rate=0.05, seed=0, max_steps=40)
        agent.personalize(options)
        suggester = agent._required_suggester()
        assert not {OWN, "quick", "zebrafish", "barrowdown"} & {*suggester._suggestable().words}
        assert not {OWN, "zebrafish", "barrowdown", "quill-feather"} & {*suggester.ngrams.new_words}
        assert suppressed_suggestions(suggester, LIST, SENTENCES, most=400) == []
        for context, letters in (
            ("at the old", ""),
            ("at the old", "house"),
            ("at the old", "huose"),
            ("at the", "oldhouse"),
            ("jumps over the", "mo"),
            ("the", "qiuck"),
            ("dear", "Quillfeather"),
        ):
            for each in agent.suggest(context, letters, 20):
                assert not plainly_holds(LIST, f"{context} {each.word}"), (context, letters, each)
        assert "house" in [each.word for each in agent.suggest("at the new", "hou", 5)]
        assert "tonight" in [each.word for each in agent.suggest("the old house", "to", 5)]


def test_without_constraints_the_same_words_come(tmp_path: Path) -> None:
    """The same texts make them likely: it is the list that keeps them away, and the gate sees that."""
    home = home_of(tmp_path / "home", keyboard_package())
    with Agent.open(home.folder) as agent:
        for text in SENTENCES * 3:
            agent.observe_text(text)
        found = suppressed_suggestions(agent._required_suggester(), LIST, SENTENCES, most=400)
        said = " ".join(found).lower()
        assert all(word in said for word in ("quillfeather", "quick", "house", "zebrafish", "barrowdown"))


def test_a_student_of_words_gives_them_no_probability() -> None:
    package = constrained()
    student, plain = AnsweringStudent(package), AnsweringStudent(keyboard_package())
    words = json.loads(package.vocabulary or b"")["entries"]
    row = np.array([[words.index("the"), words.index("old")]])
    answers, before = student.probabilities(row)[0], plain.probabilities(row)[0]
    assert answers[words.index("quick")] == answers[words.index("house")] == 0 < before[words.index("house")]
    assert answers.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(Predictor(package).next_words(row)[0], answers, atol=1e-6)


def test_a_suppressed_class_is_never_answered() -> None:
    package = linear_package()
    manifest = package.manifest
    held = replace(package, constraints=Constraints(classes=("Door", 0)).to_json())
    x = np.random.default_rng(0).normal(size=(64, *manifest.given_shape)).astype(np.float32)
    free, bound = Predictor(package).predict(x), Predictor(held).predict(x)
    assert {0, 1} & {*free.argmax(1).tolist()}
    assert not bound[:, :2].any()
    np.testing.assert_allclose(bound[:, 2:], free[:, 2:] / free[:, 2:].sum(1, keepdims=True), rtol=1e-4)
    biased = np.zeros(manifest.classes, np.float32)
    biased[1] = 50.0  # as the prior of an owner who meets nothing else
    assert not AnsweringStudent(held).probabilities(x, biased)[:, :2].any()


def test_a_package_that_drops_binding_constraints_is_refused(tmp_path: Path) -> None:
    home = home_of(tmp_path / "home", constrained())
    with PrivateStore.open(home) as store:
        for fewer in (None, Constraints(words=(OWN,)).to_json()):
            with pytest.raises(PackageError, match=r"no longer suppresses .*quick"):
                install(home, store, replace(keyboard_package(2), constraints=fewer))
        with pytest.raises(PackageError, match=r"constraints: .*is no JSON"):
            install(home, store, replace(keyboard_package(2), constraints=b"{"))
        install(home, store, constrained(replace(LIST, words=(*LIST.words, "lazy")), version=2))
        lifted = replace(LIST, words=LIST.words[:1], topics=())
        said = ("words: quick", "words: old house", "words: over the moon", "topics: places", "words: lazy")
        install(home, store, constrained(replace(lifted, lifted=said), version=3))
        install(home, store, constrained(version=1), may_be_older=True)


def test_the_gate_refuses_a_student_whose_constraints_do_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = constrained()
    home = home_of(tmp_path / "home", package)
    with PrivateStore.open(home) as store:
        gate = ConstraintGate(package, store)
        assert gate.refuses(package.parameters) == ""
        monkeypatch.setattr("fedstill_client.keyboard.suggester._is_suppressed", lambda *_: False)
        monkeypatch.setattr("fedstill_proto.package.constraints.suppressor.Suppressor.word", lambda *_: False)
        monkeypatch.setattr("fedstill_client.keyboard.user_ngrams._suggestable", _everything)
        assert "constraints do not hold in float32" in gate.refuses(package.parameters)


def _everything(word_list, lexicon, blocked, suppressor):  # type: ignore[no-untyped-def]
    from fedstill_client.keyboard.alphabet import Alphabet

    return Alphabet(word_list.words)
