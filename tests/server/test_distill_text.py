"""Text as a task of distill: next words, the teacher's own sentences, and the package that comes out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.arrays import FloatArray
from fedstill_proto.package.artifact import load_student
from fedstill_proto.text.vocabulary import START, WordList
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.job import UNKNOWN, DistillJob
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.distill.recipes.sequence_level import SequenceLevel, SyntheticText, continued
from fedstill_server.distill.request import DistillRequest
from fedstill_server.distill.run import distil, reopen_distillation
from fedstill_server.distill.stage_runner import StageRunner
from fedstill_server.distill.text_task import TextDistillTask, open_text
from fedstill_server.inspection.inspection import inspect_package
from fedstill_server.inspection.options import InspectOptions
from fedstill_server.teachers.interface import TeacherAnswers

WORDS = ("ant", "bee", "cat", "dog", "elk", "fox")
PLAN = DistillPlan(epochs=3, batch_size=16, learning_rate=2e-2, temperature=2.0)


def written(file: Path, *, texts: int, seed: int = 0) -> Path:
    """Texts in which each word is followed by the next one, or by the one after it."""
    random = np.random.default_rng(seed)
    lines = np.cumsum(random.integers(1, 3, (texts, 8)), axis=1) % len(WORDS)
    file.write_text("\n".join(" ".join(WORDS[word] for word in line) for line in lines))
    return file


class Counting:
    """A teacher of seven words that says the one after the last."""

    digest = "counting"
    layers: tuple[str, ...] = ()
    attention: tuple[str, ...] = ()

    def answer(self, x: FloatArray, *, layers: Sequence[str] = ()) -> TeacherAnswers:
        return TeacherAnswers(9 * np.eye(7, dtype=np.float32)[(x + 1) % 7])


def rows_of(count: int) -> DistillJob:
    x = np.arange(6 * count).reshape(count, 6) % 7
    return DistillJob(family="gru-4-4", classes=7, x=x, labels=(x + 1) % 7, plan=PLAN, teacher=Counting())  # type: ignore[arg-type]


def test_of_ten_texts_one_tests_and_one_validates(tmp_path: Path) -> None:
    file = written(tmp_path / "animals.txt", texts=40)
    assert TextDistillTask.is_at(str(file))

    task = open_text(str(file), words=100, places=4)

    # 40 texts of 8 words, each behind a START: rows of 4 words and one more to say.
    assert [len(part) for part in (task.public, task.test, task.validation)] == [71, 8, 8]
    assert task.public.y is not None
    assert np.array_equal(task.public.x[:, 1:], task.public.y[:, :-1])
    assert task.files.vocabulary is not None
    assert set(WORDS) < set(WordList.from_json(task.files.vocabulary).entries)
    assert (task.input_shape, task.name) == ((4,), "animals")


def test_a_folder_says_itself_what_is_held_out(tmp_path: Path) -> None:
    for name, texts in (("public", 20), ("test", 5), ("validation", 3), ("private", 2)):
        written(tmp_path / f"{name}.txt", texts=texts)
    task = open_text(str(tmp_path), words=100, places=4)
    parts = (task.public, task.test, task.validation, task.private)
    assert [len(part) for part in parts] == [44, 11, 6, 4]


def test_a_student_of_text_is_packed_with_its_words_and_opened_again(tmp_path: Path) -> None:
    file = written(tmp_path / "animals.txt", texts=60)
    plan = replace(PLAN, epochs=15)
    request = DistillRequest(
        task=str(file), teacher=("train:gru-8-16",), family="gru-8-12", places=4, plan=plan
    )

    outcome = distil(request, tmp_path / "out")

    assert outcome.perplexity is not None
    assert 1.5 < outcome.perplexity < 20  # at best two words may follow; the list has 50
    assert outcome.teacher_accuracy is not None
    package = load_student(outcome.package)
    assert package.vocabulary is not None
    assert dict(package.manifest.quality)["perplexity"] == outcome.perplexity
    again = open_text(str(file), words=500, places=4, vocabulary=str(outcome.package))
    assert again.files.vocabulary == package.vocabulary
    record = json.loads((tmp_path / "out" / "distill.json").read_text())
    assert record["request"]["family"] == "gru-8-12"
    opened, teacher = reopen_distillation(tmp_path / "out" / "distill.json", teacher=str(outcome.package))
    assert opened.files.vocabulary == package.vocabulary
    inspected = inspect_package(outcome.package, opened, teacher=teacher, options=InspectOptions(seconds=0))
    assert inspected.next_tokens is not None
    assert inspected.next_tokens.perplexity == pytest.approx(outcome.perplexity, rel=1e-3)
    assert inspected.plain.accuracy == pytest.approx(outcome.accuracy)
    assert inspected.agreement is not None
    assert inspected.agreement.overall == 1.0  # it is its own teacher


def test_a_teacher_goes_on_with_what_it_is_given() -> None:
    given = np.array([[1, 2], [5, 6]])
    rows = continued(Counting(), given, places=4, warmth=0, seed=0)
    assert rows.tolist() == [[1, 2, 3, 4, 5], [5, 6, 0, 1, 2]]
    # At a temperature of 3, e^3 to 6 x 1: the next word three times in four.
    warm = [continued(Counting(), np.full((400, 1), 3), places=4, warmth=3, seed=seed) for seed in (1, 1, 2)]
    assert np.array_equal(warm[0], warm[1])
    assert not np.array_equal(warm[0], warm[2])
    assert ((warm[0][:, 1:] - warm[0][:, :-1]) % 7 == 1).mean() == pytest.approx(0.77, abs=0.05)


class Kept(StageRunner):
    """Keeps the job instead of training."""

    def train(self, stage: str, job: DistillJob) -> object:  # type: ignore[override]
        self.job = job
        return None


def test_what_was_given_is_no_label(tmp_path: Path) -> None:
    base, shop = rows_of(3), Kept()

    SequenceLevel(beginning=3).run(base, shop)

    assert np.array_equal(shop.job.x[:, :3], base.x[:, :3])
    assert (shop.job.labels[:, :2] == UNKNOWN).all()
    assert np.array_equal(shop.job.labels[:, 2:], (shop.job.x[:, 2:] + 1) % 7)
    SequenceLevel(beginning=3, mixed=True).run(base, shop)
    assert len(shop.job.x) == 6
    SyntheticText(count=5).run(base, shop)
    assert (shop.job.x[:, 0] == START).all()
    assert (shop.job.labels >= 0).all()


def test_a_student_learns_what_its_teacher_writes() -> None:
    """The public rows are of words that follow at random; the teacher's own sentences count on."""
    x = np.random.default_rng(3).integers(0, 7, (80, 6))
    plan = replace(PLAN, epochs=25)
    base = replace(rows_of(80), family="gru-8-16", x=x, labels=np.roll(x, -1, axis=1), plan=plan)
    losses: list[float] = []

    shop = StageRunner(watch=lambda stage, report: losses.append(report.loss))
    SequenceLevel(beginning=1).run(base, shop)

    assert losses[-1] < 0.2 < 1.0 < losses[0]
    assert shop.notes == ["sequence-level: 80 rows written by the teacher"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answers": "kept.safetensors"}, "answers to text are not cached"),
        ({"places": 40}, "fewer than 41 words"),
        ({"vocabulary": "nowhere.json"}, "vocabulary: nowhere.json: not a word list"),
        ({"technique": ("sequence-level",)}, "there is no teacher to write"),
    ],
)
def test_what_cannot_be_is_said(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    file = written(tmp_path / "animals.txt", texts=20)
    values = {"task": str(file), "places": 4, "technique": (), "plan": PLAN, **changes}
    with pytest.raises(DistillError, match=message):
        distil(DistillRequest(**values), tmp_path / "out")  # type: ignore[arg-type]


def test_sequences_are_of_text() -> None:
    x = np.zeros((4, 2), np.float32)
    job = DistillJob(
        family="mlp-3", classes=2, x=x, labels=np.array([0, 1, 0, 1]), plan=PLAN, teacher=Counting()
    )
    with pytest.raises(DistillError, match="sequence-level: is for text"):
        SequenceLevel().run(job, StageRunner())
