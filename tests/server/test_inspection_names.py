"""Students whose inputs are names, and whose answers are vectors: by hand, and of a model of Hugging Face."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from fedstill_server import cli
from fedstill_server.export.errors import ExportError
from fedstill_server.export.student import _check_any_batch
from fedstill_server.inspection.judging.of_vectors import nearest, unit
from fedstill_server.inspection.names import (
    dropped_accuracies,
    in_another_order,
    left_out,
    surrogate_of_names,
)
from onnx import TensorProto, helper
from typer.testing import CliRunner

from tests.client.subword_samples import tokenizer_file

ROWS = np.array([[5, 7, 9, 0], [7, 9, 0, 0], [9, 5, 5, 7], [8, 7, 0, 0]], np.float32)


def test_what_is_left_out_moves_the_rest_up() -> None:
    random = np.random.default_rng(0)
    np.testing.assert_array_equal(left_out(ROWS, 0.0, 0.0, random), ROWS)
    assert (left_out(ROWS, 1.0, 0.0, random) == 0).all()
    half = left_out(np.tile(ROWS, (50, 1)), 0.5, 0.0, random)
    there = half != 0
    assert (there[:, 1:] <= there[:, :-1]).all()  # nothing stands at the end
    assert there.mean() == pytest.approx(0.5 * (ROWS != 0).mean(), abs=0.05)
    for row, before in zip(half, np.tile(ROWS, (50, 1)), strict=True):
        rest = iter(before.tolist())
        assert all(name in rest for name in row[row != 0].tolist())  # in their order


def test_another_order_has_the_same_names_in_the_same_places() -> None:
    mixed = in_another_order(np.tile(ROWS, (20, 1)), 0.0, np.random.default_rng(1))
    np.testing.assert_array_equal(mixed != 0, np.tile(ROWS, (20, 1)) != 0)
    np.testing.assert_array_equal(np.sort(mixed, axis=1), np.sort(np.tile(ROWS, (20, 1)), axis=1))
    assert (mixed != np.tile(ROWS, (20, 1))).any()


def has_five(x: np.ndarray) -> np.ndarray:
    """Logits of a student that looks for one name."""
    return np.eye(2)[(x == 5).any(axis=1).astype(int)]


def test_a_student_that_looks_for_a_name_is_explained_by_it() -> None:
    x = np.random.default_rng(2).integers(1, 12, (80, 4)).astype(np.float32)
    said = has_five(x).argmax(-1)
    tree = surrogate_of_names(
        x[:60], said[:60], x[60:], said[60:], nothing=0.0, called=lambda name: f"word {name}"
    )
    assert (tree.fidelity, tree.depth, tree.important[0][0]) == (1.0, 1, "word 5")
    accuracies = [one.accuracy for one in dropped_accuracies(has_five, x, said, nothing=0.0)]
    assert accuracies[0] > accuracies[-1]


def test_the_nearest_other_vector() -> None:
    vectors = unit(np.array([[1.0, 0.0], [10.0, 1.0], [0.0, 2.0], [-1.0, 3.0]], np.float32))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert nearest(vectors).tolist() == [1, 0, 3, 2]


def test_a_graph_of_one_size_of_batch_is_refused() -> None:
    def graph(batch: int | str) -> onnx.GraphProto:
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3])
        return helper.make_graph([], "g", [x], [x])

    _check_any_batch(graph("batch"))
    with pytest.raises(ExportError, match="takes 2 examples at once"):
        _check_any_batch(graph(2))


def test_a_model_of_hugging_face_is_inspected(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra assistant is not installed")
    import torch

    words = ("red", "blue", "round", "ball", "box", "lamp", "on", "off")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=4 + len(words),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        pad_token_id=0,
    )
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    (tmp_path / "bert" / "tokenizer.json").write_bytes(tokenizer_file(words))
    random = np.random.default_rng(0)
    texts = [" ".join((*random.choice(words[:6], 3), words[6 + row % 2])) for row in range(60)]
    lines = [f"{text},{'yes' if text.endswith('on') else 'no'}" for text in texts]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *lines]))
    runner, out = CliRunner(env={"COLUMNS": "200"}), tmp_path / "out"
    place = f"hf:{tmp_path / 'bert'}"
    task = ["--task", str(tmp_path / "texts.csv"), "--teacher", f"train:{place}", "--family", place]
    made = runner.invoke(cli.cli, ["distill", *task, "--epochs", "1", "--out", str(out)])
    assert made.exit_code == 0, made.output

    seen = runner.invoke(cli.cli, ["inspect", str(out), "--json", "--seconds", "0"])

    assert seen.exit_code == 0, seen.output
    document = json.loads(seen.stdout)
    float32, int8 = document["forms"]
    # Rows of 8 places: [CLS], 4 words, [SEP], 2 of padding. Four products of [8, 8] and two of [8, 32] in
    # each place; 2 x 64 x 8 of attention; 8 x 2 to the classes.
    layer = 8 * (4 * 8 * 8 + 2 * 8 * 32) + 2 * 8 * 8 * 8
    assert float32["cost"]["multiply_adds"] == layer + 8 * 2
    assert float32["cost"]["not_counted"] == int8["cost"]["not_counted"] == []
    # 12 sub-words are looked up; the tables of places and of kinds are read in other ways.
    assert float32["cost"]["table_parameters"] >= 12 * 8
    assert {one["corruption"] for one in document["corrupted"]} == {"left out"}
    assert document["surrogate"]["fidelity"] > 0.5
    names = [one["name"] for one in document["agreement"]["slices"]]
    assert "length: lowest quarter" in names
    assert not any(name.startswith("brightness") for name in names)
