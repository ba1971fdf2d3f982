"""Texts in a distillation: their files, teachers that are asked by rows or by text, and the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from fedstill_proto.errors import FedstillError, WireError
from fedstill_proto.package.artifact import load_student
from fedstill_proto.package.manifest import StudentManifest
from fedstill_proto.subwords.reader import SubwordReader
from fedstill_server.distill.request import DistillRequest, read_request
from fedstill_server.distill.run import distil
from fedstill_server.distill.subword_request import open_subwords
from fedstill_server.distill.teachers.hub import AskedByText, first_parameters, hub_teacher
from fedstill_server.distill.teachers.torch_module import TorchTeacher
from fedstill_server.distill.text_tables import is_text_table, read_text_files
from fedstill_server.families import FAMILIES, build_student
from fedstill_server.hugging_face.opening import open_model
from fedstill_server.training.networks import load_parameters, logits_of
from safetensors.torch import load_file, save_file

import fedstill as fs
from tests.server.hub_models import SIZE, SPECIAL, WORDS, configuration, save_model

pytest.importorskip("transformers", reason="models of Hugging Face need fedstill[transformers]")

ANIMALS, COLOURS = ("cat", "dog", "fox"), ("red", "blue", "black")


def sentences(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Texts and the animal that each is of."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        animal = str(random.choice(ANIMALS))
        found.append((f"the {random.choice(COLOURS)} {animal} {random.choice(('runs', 'sleeps'))}", animal))
    return found


def written(folder: Path, name: str = "texts.csv", *, count: int = 60, labelled: bool = True) -> Path:
    """A table of sentences."""
    folder.mkdir(exist_ok=True)
    lines = [f"{text},{label}" if labelled else text for text, label in sentences(count)]
    path = folder / name
    path.write_text("\n".join(["text,label" if labelled else "text", *lines]) + "\n")
    return path


def asked(task: Path, teacher: str, student: str = "", **others: object) -> DistillRequest:
    return read_request(None, {"task": str(task), "teacher": [teacher], "family": student, **others})


def test_files_of_texts_say_what_is_learned_and_what_is_tested_on(tmp_path: Path) -> None:
    table = read_text_files(str(written(tmp_path)))
    assert [len(part) for part in (table.public, table.test, table.validation)] == [48, 6, 6]
    assert table.class_names == ("cat", "dog", "fox")
    folder = tmp_path / "folder"
    written(folder, "public.csv", labelled=False)
    (folder / "pairs.tsv").write_text("text\tother\tscore\nthe cat\ta cat\t5\nthe cat\ta dog\t1\n")
    assert is_text_table(str(folder))
    own = read_text_files(str(folder))
    assert own.class_names == ()
    assert own.pairs is not None
    assert own.pairs.scores.tolist() == [5, 1]
    assert (len(own.public), len(own.test)) == (54, 0)  # pairs are there to test on
    place = f"hf:{save_model(tmp_path / 'model')}"
    _, task = open_subwords(asked(folder, place))
    assert (task.answer, task.classes, len(task.test), task.score_name) == (
        "embedding",
        16,
        2,
        "rank correlation",
    )
    # By the words that two texts share, "a cat" is nearer to "the cat" than "a dog" is, as people said.
    assert task.scored(lambda x: np.eye(SIZE, dtype=np.float32)[x.astype(int)].sum(1)) == pytest.approx(1)
    for content, says in (
        ("words\nthe cat\n", "no column text among words"),
        ("text,other\na,b\n", "two texts and no column score"),
        ("text,other,score\nthe cat,a dog,\n", "has no score"),
        ("text,label\n,cat\n", "has no text"),
    ):
        (tmp_path / "bad.csv").write_text(content)
        with pytest.raises(FedstillError, match=says):
            read_text_files(str(tmp_path / "bad.csv"))


def test_a_teacher_with_another_tokenizer_is_asked_by_text(tmp_path: Path) -> None:
    turned = WORDS[::-1]
    first = save_model(tmp_path / "first", labels=("dog", "fox", "cat"))
    # The same model, whose sub-words have other numbers.
    second = save_model(tmp_path / "second", labels=("dog", "fox", "cat"), words=turned)
    weights = load_file(second / "model.safetensors")
    table = weights["bert.embeddings.word_embeddings.weight"]
    weights["bert.embeddings.word_embeddings.weight"] = torch.cat(
        [table[: len(SPECIAL)], table[len(SPECIAL) :].flip(0)]
    )
    save_file(weights, second / "model.safetensors", metadata={"format": "pt"})
    _, task = open_subwords(asked(written(tmp_path), f"hf:{first}", f"hf:{first}?num_hidden_layers=1"))

    by_rows, by_text = (hub_teacher(f"hf:{place}", task) for place in (first, second))

    assert isinstance(by_rows, TorchTeacher)
    assert isinstance(by_text, AskedByText)
    answers = by_rows.answer(task.test.x).logits
    np.testing.assert_allclose(by_text.answer(task.test.x).logits, answers, atol=1e-5)
    # The task's classes are in order, cat first; the teacher's are not.
    own = open_model(f"hf:{first}")
    np.testing.assert_allclose(answers, logits_of(own.network, task.test.x)[:, [2, 0, 1]], atol=1e-6)
    with pytest.raises(FedstillError, match="1 rows are of no text of it"):
        by_text.answer(np.full((1, 8), 7, np.float32))
    with pytest.raises(FedstillError, match="shows answers only"):
        by_text.answer(task.test.x, layers=("model",))


def test_what_a_teacher_does_not_say_is_refused(tmp_path: Path) -> None:
    plain = f"hf:{save_model(tmp_path / 'plain')}"
    three = f"hf:{save_model(tmp_path / 'three', labels=('cat', 'dog', 'fox'))}"
    table = written(tmp_path)
    _, task = open_subwords(asked(table, plain))
    with pytest.raises(FedstillError, match="its answer is embedding, and the task"):
        hub_teacher(plain, task)
    _, vectors = open_subwords(asked(written(tmp_path, "plain.csv", labelled=False), plain))
    assert hub_teacher(three, vectors).answer(vectors.test.x).logits.shape == (6, 16)
    with pytest.raises(FedstillError, match=r"reads texts, and the task digits has none"):
        distil(DistillRequest(teacher=(plain,)), tmp_path / "out")
    with pytest.raises(FedstillError, match="answer=classes or answer=embedding"):
        open_subwords(asked(table, three, f"{plain}?answer=next-token"))


def test_a_student_of_texts_is_packed_with_its_tokenizer(tmp_path: Path) -> None:
    teacher = save_model(tmp_path / "teacher", labels=ANIMALS, layers=2)
    config = tmp_path / "student"  # config.json alone: the weights and the tokenizer are the teacher's
    configuration("bert", layers=1, pad_token_id=1).save_pretrained(config)
    request = asked(
        written(tmp_path), f"hf:{teacher}", f"hf:{config}", **{"plan.learning_rate": 3e-3, "plan.epochs": 3}
    )
    opened, task = open_subwords(request)
    name = FAMILIES.named_one(opened.family)
    assert (name, task.input_shape) == ("hf-student-pad_token_id-0", (8,))
    taught = hub_teacher(f"hf:{teacher}", task)
    start = first_parameters(name, task, taught)
    assert start is not None
    last = load_file(teacher / "model.safetensors")["bert.encoder.layer.1.output.dense.weight"]
    assert np.array_equal(start["model.encoder.layer.0.output.dense.weight"], last.numpy())

    texts = [list(column) for column in zip(*sentences(60), strict=True)]
    made = fs.distill(
        f"hf:{teacher}",
        public=(texts[0], texts[1]),
        student=f"hf:{config}",
        epochs=3,
        learning_rate=3e-3,
        out=tmp_path / "out",
    )

    package = load_student(made.package)
    subwords = package.manifest.subwords
    assert subwords is not None
    assert package.tokenizer is not None
    assert (subwords.places, subwords.pad, subwords.answer) == (8, 0, "classes")
    assert package.manifest.class_names == ANIMALS
    assert StudentManifest.from_json(package.manifest.to_json()) == package.manifest
    spoken = ["the red dog runs", "a cat"]
    rows = SubwordReader(package.tokenizer, places=8, pad=0).rows(spoken)
    network = load_parameters(build_student(name, (8,), 3), package.parameters)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    for graph, far in ((package.inference_graph, 1e-5), (package.int8_graph, 0.3)):
        assert graph is not None
        answered = ort.InferenceSession(graph, options).run(["logits"], {"x": rows})[0]
        np.testing.assert_allclose(answered, logits_of(network, rows), atol=far)
    np.testing.assert_allclose(made.student.logits(spoken), logits_of(network, rows), atol=1e-5)
    assert made.predict(spoken).sum() == pytest.approx(2)
    (made.package / "tokenizer.json").write_bytes(b"{}")
    with pytest.raises(WireError, match="is not the file that the manifest describes"):
        load_student(made.package)
