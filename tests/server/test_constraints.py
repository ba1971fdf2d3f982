"""Constraints on the server: inherited by distillation, probed at build, and never dropped by a release."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.package.artifact import CONSTRAINTS_FILE, StudentPackage, load_student, save_package
from fedstill_proto.package.constraints.constraints import Constraints, SuppressedTopic
from fedstill_proto.package.constraints.suppressor import Suppressor
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.inheritance import with_constraints
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.distill.request import DistillRequest
from fedstill_server.distill.run import distil
from fedstill_server.distill.text_task import open_text
from fedstill_server.fleet.handover import inherit_constraints
from fedstill_server.publish.constraints import constraints_of, folder_constraints, suppress_in_fleet
from fedstill_server.publish.errors import PublishError
from fedstill_server.publish.probing import check_classes_known, probe_package
from fedstill_server.publish.repository import Repository

from tests.client.keyboard_samples import keyboard_package
from tests.client.test_constraints import linear_package
from tests.server.test_distill_text import written

BINDING = Constraints(words=("quick", "lazy fox"), topics=(SuppressedTopic(name="homes", words=("house",)),))


def with_list(
    package: StudentPackage, constraints: Constraints | None, *, version: int = 1
) -> StudentPackage:
    manifest = replace(package.manifest, package_version=version)
    content = None if constraints is None else constraints.to_json()
    return replace(package, manifest=manifest, constraints=content)


def test_a_student_inherits_what_its_teacher_must_not_say(tmp_path: Path) -> None:
    file = written(tmp_path / "animals.txt", texts=40)
    (tmp_path / "one.txt").write_text("# never\nbee\ncat dog\n")
    (tmp_path / "two.json").write_bytes(Constraints(sequences=("elk",)).to_json())
    plan = DistillPlan(epochs=1, batch_size=16)
    asked = DistillRequest(task=str(file), family="gru-4-4", technique=(), words=100, places=4, plan=plan)
    distil(replace(asked, suppress=str(tmp_path / "one.txt")), tmp_path / "first")
    teacher = tmp_path / "first" / "student"
    request = replace(asked, teacher=(str(teacher),), suppress=str(tmp_path / "two.json"))
    task = with_constraints(request, open_text(str(file), words=100, places=4))
    asked_of = Suppressor(Constraints.from_json(task.files.constraints or b""))
    assert asked_of.word("bee")
    assert asked_of.word("elk")
    assert asked_of.after(["cat"]) == {"dog"}
    package = load_student(teacher)
    assert constraints_of(package).words == ("bee", "cat dog")
    assert CONSTRAINTS_FILE in {part.name for part in package.manifest.parts}  # signed with all others
    (teacher / CONSTRAINTS_FILE).unlink()  # whoever takes the list away has no teacher either
    with pytest.raises(PublishError, match=r"constraints\.json"):
        with_constraints(request, task)


def test_a_class_that_is_misspelled_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_bytes(Constraints(classes=("eleven",)).to_json())
    with pytest.raises(DistillError, match="suppress: classes: 'eleven' is no class of this student"):
        distil(DistillRequest(suppress=str(tmp_path / "list.json"), technique=()), tmp_path / "out")
    with pytest.raises(DistillError, match=r"suppress: .*cannot be read"):
        distil(DistillRequest(suppress=str(tmp_path / "none.json"), technique=()), tmp_path / "out")
    with pytest.raises(PublishError, match="'eleven' is no class"):
        check_classes_known(with_list(linear_package(), Constraints(classes=("eleven",))))


def test_a_package_is_probed_before_anybody_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    words = with_list(keyboard_package(), BINDING)
    rows = np.arange(24).reshape(4, 6) % words.manifest.classes
    probe_package(words, rows)
    classes = with_list(linear_package(), Constraints(classes=("lock",)))
    x = np.eye(3, dtype=np.float32)
    probe_package(classes, x)
    with pytest.raises(PublishError, match="all 4 classes are suppressed"):
        probe_package(with_list(linear_package(), Constraints(classes=(0, 1, 2, 3))), x)
    masks = "fedstill_proto.package.constraints.token_mask.TokenMask"
    with monkeypatch.context() as broken:
        broken.setattr(f"{masks}.masked", lambda self, logits, ids: logits)
        probe_package(words, rows)  # whoever draws asks for each token by itself, too
        broken.setattr(f"{masks}.allows", lambda self, ids, token: True)
        with pytest.raises(PublishError, match="constraints do not hold in float32: 'quick'"):
            probe_package(words, rows)
    monkeypatch.setattr(f"{masks}.suppressed", lambda self, ids: np.zeros(words.manifest.classes, bool))
    with pytest.raises(PublishError, match="'house' may come anywhere"):
        probe_package(words, rows)
    monkeypatch.setattr("fedstill_server.publish.probing.without_classes", lambda shares, numbers: shares)
    with pytest.raises(PublishError, match="class 3 is answered"):
        probe_package(classes, x)


def test_a_release_keeps_binding_constraints_until_they_are_lifted(tmp_path: Path) -> None:
    repository, package = Repository.create(tmp_path), keyboard_package()
    repository.publish([with_list(package, BINDING)])
    assert repository.constraints("bigram") == BINDING
    for fewer in (None, Constraints(words=("quick",))):
        with pytest.raises(PublishError, match=r"no longer suppresses .*lazy fox"):
            repository.publish([with_list(package, fewer, version=2)])
    repository.publish([with_list(package, replace(BINDING, words=("quick", "lazy fox", "over")), version=2)])
    lifting = Constraints(words=("quick", "over"), lifted=("words: lazy fox", "topics: homes"))
    repository.publish([with_list(package, lifting, version=3)])


def test_a_fleet_s_list_grows_and_loses_what_is_lifted(tmp_path: Path) -> None:
    suppress_in_fleet(tmp_path, BINDING)
    suppress_in_fleet(tmp_path, Constraints(words=("over",), lifted=("words: Quick", "topics: homes")))
    kept = folder_constraints(tmp_path)
    assert (kept.all_words, kept.lifted) == (("lazy fox", "over"), ("words: Quick", "topics: homes"))
    inherit_constraints(tmp_path, [with_list(keyboard_package(), Constraints(classes=(3,)))])
    assert folder_constraints(tmp_path) == replace(kept, classes=(3,))
    save_package(tmp_path / "package", with_list(keyboard_package(), BINDING))
    assert folder_constraints(tmp_path / "package") == BINDING
