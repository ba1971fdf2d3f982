"""The deployable student's inference graph."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from fedstill_client.model.predictor import Predictor
from fedstill_proto.package.artifact import StudentPackage, load_student, save_student
from fedstill_server.export import ExportError, export_student
from fedstill_server.export.student import check_weights_stay_weights, load_parameters
from fedstill_server.families import FAMILIES, TEXT, build_student, initial_parameters
from fedstill_server.families.language import GatedRecurrentNetwork
from onnx import helper, numpy_helper
from torch import nn


@pytest.mark.parametrize(
    ("family", "input_shape"), [("mlp-small", (6,)), ("mlp-wide", (2, 3)), ("cnn", (5, 6))]
)
def test_logits_are_torchs_for_any_batch(family: str, input_shape: tuple[int, ...]) -> None:
    parameters = initial_parameters(family, input_shape, 4, seed=3)
    student = build_student(family, input_shape, 4)
    load_parameters(student, parameters)

    manifest, graph = export_student(family=family, input_shape=input_shape, classes=4, parameters=parameters)

    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for rows in (1, 7):
        x = np.random.default_rng(rows).normal(size=(rows, *input_shape)).astype(np.float32)
        expected = student(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(session.run(["logits"], {"x": x})[0], expected, atol=1e-6)
    assert [(port.name, port.shape) for port in manifest.inputs] == [("x", (-1, *input_shape))]
    assert [(port.name, port.shape) for port in manifest.outputs] == [("logits", (-1, 4))]
    assert manifest.parameter_count == sum(array.size for array in parameters.values())


@pytest.mark.parametrize("family", sorted(FAMILIES.of_task(TEXT)))
def test_logits_of_text_are_torchs_for_any_batch(family: str) -> None:
    parameters = initial_parameters(family, (5,), 37, seed=3)
    student = build_student(family, (5,), 37)
    load_parameters(student, parameters)

    manifest, graph = export_student(family=family, input_shape=(5,), classes=37, parameters=parameters)

    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for rows in (1, 7):
        x = np.random.default_rng(rows).integers(0, 37, (rows, 5))
        expected = student(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(session.run(["logits"], {"x": x})[0], expected, atol=1e-5)
    assert [(port.shape, port.element_type) for port in manifest.inputs] == [((-1, 5), "int64")]
    assert [port.shape for port in manifest.outputs] == [(-1, 5, 37)]
    assert (manifest.input_type, manifest.label_shape) == ("int64", (5,))


def test_weights_that_are_alike_keep_their_own_names() -> None:
    """All scales of a new transformer are 1."""
    parameters = initial_parameters("transformer", (5,), 37, seed=0)

    _, graph = export_student(family="transformer", input_shape=(5,), classes=37, parameters=parameters)

    assert parameters.keys() <= {tensor.name for tensor in onnx.load_from_string(graph).graph.initializer}


def test_weights_in_a_constant_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read by word as well, a table times rows the other way round is folded by torch.onnx."""
    monkeypatch.setattr(
        GatedRecurrentNetwork, "logits", lambda self, state: state @ self.embedding.weight.t()
    )
    parameters = initial_parameters("gru", (2,), 9, seed=0)

    with pytest.raises(ExportError, match="does not answer as torch does"):
        export_student(family="gru", input_shape=(2,), classes=9, parameters=parameters)


def test_weights_are_inside_under_their_names(tmp_path) -> None:  # type: ignore[no-untyped-def]
    parameters = initial_parameters("mlp-small", (6,), 4, seed=1)

    manifest, graph = export_student(family="mlp-small", input_shape=(6,), classes=4, parameters=parameters)
    save_student(tmp_path / "student", manifest, graph, parameters)

    inside = {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(graph).graph.initializer}
    assert all(np.array_equal(inside[name], array) for name, array in parameters.items())
    assert load_student(tmp_path / "student").inference_graph == graph


class Mixed(nn.Module):
    """Weights that exporters and runtimes like to compute with before an example is there."""

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(input_shape[0], 4, 3, bias=False)
        self.norm = nn.BatchNorm1d(4)
        self.places = nn.Embedding(6, 4)
        self.output = nn.Linear(4, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states = self.norm(self.convolution(x)).transpose(1, 2)
        states = states + self.places(torch.arange(6)).expand(x.shape[0], -1, -1)
        return self.output(states).mean(1)  # type: ignore[no-any-return]


def test_every_tensor_of_an_own_student_is_replaced_by_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES._registered, "mixed", Mixed)
    first, other = (initial_parameters("mixed", (2, 8), 3, seed=seed) for seed in (0, 1))
    other["norm.running_mean"] = np.array([1, -1, 2, 0], np.float32)
    other["norm.running_var"] = np.array([4, 1, 9, 0.25], np.float32)

    manifest, graph = export_student(family="mixed", input_shape=(2, 8), classes=3, parameters=first)

    student = build_student("mixed", (2, 8), 3).eval()
    load_parameters(student, other)
    predictor = Predictor(StudentPackage(manifest, graph, other))
    x = np.random.default_rng(0).normal(size=(5, 2, 8)).astype(np.float32)
    expected = student(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(predictor.logits(x), expected, atol=1e-5)
    np.testing.assert_allclose(predictor.logits(x[:1]), expected[:1], atol=1e-5)


def test_parameters_of_another_family_are_refused() -> None:
    wide = initial_parameters("mlp-wide", (6,), 4, seed=1)

    with pytest.raises(ExportError, match=r"hidden\.weight"):
        export_student(family="mlp-small", input_shape=(6,), classes=4, parameters=wide)


def test_a_node_on_weights_alone_is_refused() -> None:
    """Folded into a constant, it would outlive the weights that a device puts in their place."""
    weight = numpy_helper.from_array(np.zeros((2, 3), np.float32), "weight")
    turned = helper.make_node("Transpose", ["weight"], ["turned"], name="turn")
    product = helper.make_node("MatMul", ["x", "turned"], ["logits"])
    folded = helper.make_graph([turned, product], "folded", [], [], [weight])

    with pytest.raises(ExportError, match="Transpose 'turn'"):
        check_weights_stay_weights(folded, {"weight": np.zeros((2, 3), np.float32)})
    with pytest.raises(ExportError, match="bias"):
        check_weights_stay_weights(folded, {"bias": np.zeros(3, np.float32)})
