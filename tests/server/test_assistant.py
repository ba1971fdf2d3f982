"""The assistant on the server: its teacher, its students, and when an answer is sure enough."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.intents import OUT_OF_SCOPE
from fedstill_proto.text.ngrams import NgramHashing
from fedstill_server.tasks.utterances import encoder
from fedstill_server.tasks.utterances.confidence import Confidence, abstaining, fitted_confidence
from fedstill_server.tasks.utterances.encoder import EncoderError, SentenceEncoder, SentenceModelFiles
from fedstill_server.tasks.utterances.pipeline import AssistantError, AssistantPlan
from fedstill_server.tasks.utterances.students import IntentPlan, IntentStudent, distilled, trained_on_labels
from fedstill_server.tasks.utterances.tables import FleetUtterances, read_fleet_utterances
from fedstill_server.tasks.utterances.teacher import TeacherPlan, TrainedTeacher

TEXTS = ["turn on the lamp", "what time is it", "switch the light on", "tell me the time"]
INTENTS = [0, 1, 0, 1]
PLAN = TeacherPlan(epochs=6, batch_size=2, learning_rate=3e-3, trained_layers=0)


def logits_of(confidences: list[float]) -> np.ndarray:
    """Rows of two classes whose softmax has these for the first."""
    chances = np.array(confidences)
    return np.log(np.stack([chances, 1 - chances], axis=1))


def test_the_threshold_by_hand() -> None:
    # From sure to unsure: right, right, wrong, right, right, wrong -> 1, 1, 2/3, 3/4, 4/5, 4/6 are right.
    confidences = [0.95, 0.9, 0.85, 0.8, 0.7, 0.6]
    labels = np.array([0, 0, 1, 0, 0, 1])
    many = (logits_of(confidences * 20), np.tile(labels, 20))

    def rule(precision: float) -> float:
        found = fitted_confidence(*many, precision=precision)
        scaled = logits_of(confidences) / found.temperature
        chances = np.exp(scaled) / np.exp(scaled).sum(-1, keepdims=True)
        return min(range(6), key=lambda at: abs(float(chances[at, 0]) - found.threshold))

    assert [rule(precision) for precision in (0.6, 0.75, 0.9, 0.97)] == [5, 4, 1, 1]
    assert fitted_confidence(*many, precision=0.98).threshold == 1.0  # 40 of 40 promise no more than 40/41
    assert fitted_confidence(many[0], 1 - many[1], precision=0.9).threshold == 1.0  # nothing is sure


def test_abstaining_by_hand() -> None:
    points = abstaining(
        logits_of([0.9, 0.8, 0.7, 0.6]), np.array([0, 1, 0, 0]), temperature=1.0, thresholds=[0.0, 0.75, 0.95]
    )

    assert [(point.coverage, point.precision) for point in points] == [(1.0, 0.75), (0.5, 0.5), (0.0, 1.0)]
    with pytest.raises(InvalidValue, match="precision: 0"):
        fitted_confidence(logits_of([0.9]), np.array([0]), precision=0)
    with pytest.raises(InvalidValue, match="none; confidence is fitted"):
        fitted_confidence(logits_of([]), np.array([], np.int64))


def test_students_learn_labels_and_answers() -> None:
    texts = [f"{text} {word}" for text in TEXTS for word in ("please", "now", "dear", "quick")]
    labels = np.repeat(INTENTS, 4)
    answers = np.where(labels[:, None] == np.arange(2), 4.0, 0.0).astype(np.float32)
    plan = IntentPlan(epochs=60, batch_size=8, ngram_dropout=0.0)

    by_labels = trained_on_labels("ngrams-small", texts, labels, classes=2, plan=plan)
    by_answers = distilled("ngrams-small", texts, answers, plan=plan)

    assert (by_labels.logits(TEXTS).argmax(-1) == INTENTS).all()
    said = by_answers.logits(texts)
    apart = said[:, 0] - said[:, 1]
    np.testing.assert_allclose(np.abs(apart), 4.0, atol=0.6)  # as sure as the teacher, and no surer
    schema = by_answers.schema(("on", "time"), Confidence(1.5, 0.7))
    assert (schema.names, schema.temperature, schema.threshold) == (("on", "time"), 1.5, 0.7)
    with pytest.raises(InvalidValue, match="'mlp-small' is none of utterances"):
        distilled("mlp-small", texts, answers)


def test_the_sentence_model_is_the_published_one() -> None:
    """Its numbers for "This is an example sentence" begin as on its model card."""
    sentences = SentenceEncoder(SentenceModelFiles.installed()).eval()

    with torch.inference_mode():
        rows = torch.nn.functional.normalize(sentences([*TEXTS, "This is an example sentence"]), dim=-1)

    assert sum(weight.numel() for weight in sentences.parameters()) == 22_713_216
    close = rows @ rows.T
    assert close[0, 2] > 0.7 > 0.4 > close[0, 1]
    np.testing.assert_allclose(rows[4, :3].numpy(), [0.0676, 0.0635, 0.0487], atol=1e-3)


def test_what_the_teacher_learned_and_answered_is_kept(tmp_path: Path) -> None:
    epochs: list[int] = []

    def taught(intents: list[int]) -> TrainedTeacher:
        return TrainedTeacher(
            TEXTS,
            intents,
            classes=2,
            plan=PLAN,
            cache=tmp_path,
            on_epoch=lambda epoch, loss: epochs.append(epoch),
        )

    first = taught(INTENTS)
    logits = first.logits([*TEXTS, "light on"])
    assert epochs == [1, 2, 3, 4, 5, 6]
    assert (logits.argmax(-1) == [*INTENTS, 0]).all()

    again = taught(INTENTS)
    assert len(epochs) == 6
    np.testing.assert_array_equal(again.logits(["light on", TEXTS[0]]), logits[[4, 0]])
    (kept,) = tmp_path.glob("*.npz")
    kept.write_bytes(b"PK not whole")
    np.testing.assert_allclose(taught(INTENTS).logits(TEXTS), logits[:4], rtol=1e-4, atol=1e-4)

    taught(INTENTS[::-1])  # learned from something else: another teacher
    assert len(epochs) == 12


def test_what_has_no_label_gets_the_sentence_models(tmp_path: Path) -> None:
    names = ("light", "time")
    lines = [f"{text},{names[intent]}" for text, intent in zip(TEXTS, INTENTS, strict=True)]
    public = tmp_path / "public.csv"
    public.write_text("\n".join(["text,label", *lines, "what is the time,", "light on,"]))

    told: list[str] = []
    plan = AssistantPlan(
        families=("ngrams-small",), teacher=PLAN, distilling=IntentPlan(epochs=60, batch_size=2), hidden=8
    )

    def read() -> FleetUtterances:
        return read_fleet_utterances(
            public,
            None,
            cache=tmp_path / "cache",
            plan=plan,
            on_progress=lambda what, done, total: told.append(what),
        )

    first = read()
    assert first.schema.intents == names
    assert first.schema.out_of_scope == OUT_OF_SCOPE
    assert first.teaching.y is not None
    asked = len(INTENTS) + 2  # what asks for nothing stands behind
    assert first.teaching.y[:asked].tolist() == [*INTENTS, 1, 0]
    np.testing.assert_array_equal(first.teaching.x[asked - 1], first.schema.hashing.encode("light on"))
    assert "the sentence model learns" in told

    told.clear()
    again = read()  # what the sentence model taught is kept
    assert "the sentence model learns" not in told
    assert first.made is not None
    assert again.made is not None
    student = first.made.students["ngrams-small"]
    for name, array in again.made.students["ngrams-small"].items():
        np.testing.assert_array_equal(array, student[name])
    assert first.made.teacher["embedding.weight"].shape == (8192, 64)
    by_student = IntentStudent("ngrams-small", 3, student, NgramHashing()).logits(TEXTS)
    assert (by_student.argmax(-1) == INTENTS).all()

    (kept,) = (tmp_path / "cache").glob("student-*.safetensors")
    kept.write_bytes(b"not whole")
    with pytest.raises(AssistantError, match="delete the file to make it anew"):
        read()


def test_what_is_missing_or_wrong_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="give one from 0 to 1 for each"):
        TrainedTeacher(TEXTS, [0, 1, 2, 0], classes=2, plan=PLAN, cache=tmp_path)
    with pytest.raises(InvalidValue, match="trained_layers: 7"):
        TeacherPlan(trained_layers=7)
    monkeypatch.setattr(encoder, "PACKAGE", "gt_none")
    with pytest.raises(EncoderError, match=r"pip install 'fedstill\[assistant\]'"):
        SentenceModelFiles.installed()
