"""Training artifacts: what they compute, for every family, optimizer and form of soft labels."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import TrainingArtifact, load_artifact, save_artifact
from fedstill_server.export import ArtifactOptions, ExportError, build_artifact
from fedstill_server.export.trial import random_batch
from fedstill_server.families import FAMILIES, TEXT, initial_parameters

FORMS = [("none", 0), ("dense", 0), ("top-k", 2)]
Arrays = dict[str, np.ndarray]


def build(
    family: str = "mlp-small",
    input_shape: tuple[int, ...] = (6,),
    *,
    optimizer: Optimizer = Optimizer.SGD,
    soft_labels: str = "none",
    k: int = 0,
    stack_size: int = 2,
    step_rows: int = 5,
    verify: bool = False,
) -> TrainingArtifact:
    return build_artifact(
        ArtifactOptions(
            family=family,
            input_shape=input_shape,
            classes=4,
            optimizer=optimizer,
            soft_labels=soft_labels,
            k=k,
            stack_size=stack_size,
            step_rows=step_rows,
            step_vocabulary=4 if family in FAMILIES.of_task(TEXT) else None,
        ),
        verify=verify,
    )


def stack_feeds(artifact: TrainingArtifact, *, learning_rate: float = 0.1) -> Arrays:
    """A different student and batch for each device of the stack, in the middle of its training."""
    manifest = artifact.manifest
    random = np.random.default_rng(0)
    students = [
        initial_parameters(manifest.family, manifest.input_shape, manifest.classes, seed)
        for seed in range(manifest.stack_size)
    ]
    feeds: Arrays = {name: np.stack([student[name] for student in students]) for name in students[0]}
    for slot in ("momentum", "first_moment", "second_moment"):
        feeds |= {
            f"{spec.name}.{slot}": random.uniform(0, 0.1, (manifest.stack_size, *spec.shape)).astype(
                np.float32
            )
            for spec in manifest.parameters
        }
    return {
        **feeds,
        **random_batch(manifest, seed=1),
        "lr": np.full(manifest.stack_size, learning_rate, np.float32),
        "bias_correction1": np.array([0.2], np.float32),
        "bias_correction2": np.array([0.002], np.float32),
        "epsilon": np.array([1e-8], np.float32),
    }


def run(graph: bytes, feeds: Arrays, *, threads: int = 1) -> Arrays:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_outputs()]
    values = session.run(names, {port.name: feeds[port.name] for port in session.get_inputs()})
    return dict(zip(names, values, strict=True))


@pytest.mark.parametrize(
    ("family", "input_shape", "optimizer", "soft_labels", "k", "rows"),
    [
        ("mlp-small", (6,), Optimizer.SGD, "none", 0, 5),
        ("mlp-small", (6,), Optimizer.SGD, "none", 0, 16),
        ("mlp-wide", (7,), Optimizer.ADAMW, "dense", 0, 5),
        ("mlp-wide", (7,), Optimizer.ADAMW, "dense", 0, 16),
        ("cnn", (5, 6), Optimizer.SGD, "dense", 0, 5),
        ("cnn", (5, 6), Optimizer.SGD, "dense", 0, 16),
        ("cnn", (9,), Optimizer.MOMENTUM, "top-k", 2, 5),
        ("cnn", (9,), Optimizer.MOMENTUM, "top-k", 2, 16),
        ("gru", (3,), Optimizer.SGD, "dense", 0, 5),
        ("transformer", (3,), Optimizer.MOMENTUM, "top-k", 2, 5),
    ],
)
def test_a_device_gets_the_same_bits_in_any_stack(
    family: str, input_shape: tuple[int, ...], optimizer: Optimizer, soft_labels: str, k: int, rows: int
) -> None:
    """Alone, in a stack of 3 in another order and with 2 threads: the step never depends on the stack."""
    alone, few, many = (
        build(
            family,
            input_shape,
            optimizer=optimizer,
            soft_labels=soft_labels,
            k=k,
            stack_size=size,
            step_rows=rows,
        )
        for size in (1, 3, 32)
    )
    feeds = stack_feeds(many)
    expected = run(many.training_graph, feeds)

    for artifact, devices, threads in (
        (alone, [0], 1),
        (alone, [13], 1),
        (few, [30, 2, 7], 1),
        (few, [5, 31, 0], 2),
    ):
        chosen = {name: array[devices] if len(array) == 32 else array for name, array in feeds.items()}
        found = run(artifact.training_graph, chosen, threads=threads)
        for name, array in expected.items():
            assert np.array_equal(found[name], array[devices]), name


def test_ports_are_the_contract() -> None:
    artifact = build(optimizer=Optimizer.ADAMW, soft_labels="top-k", k=2, stack_size=3)

    session = ort.InferenceSession(artifact.training_graph, providers=["CPUExecutionProvider"])

    shapes = {port.name: port.shape for port in session.get_inputs()}
    parameters = {
        "hidden.weight": [3, 64, 6],
        "hidden.bias": [3, 64],
        "output.weight": [3, 4, 64],
        "output.bias": [3, 4],
    }
    slots = {f"{n}.{slot}": s for n, s in parameters.items() for slot in ("first_moment", "second_moment")}
    assert shapes == {
        **parameters,
        **slots,
        "x": [3, 5, 6],
        "labels": [3, 5],
        "hard_weight": [3, 5],
        "soft_indices": [3, 5, 2],
        "soft_probabilities": [3, 5, 2],
        "soft_weight": [3, 5],
        "temperature": [1],
        "lr": [3],
        "bias_correction1": [1],
        "bias_correction2": [1],
        "epsilon": [1],
    }
    outputs = {port.name: port.shape for port in session.get_outputs()}
    assert outputs == {f"{name}.new": shape for name, shape in (parameters | slots).items()} | {"loss": [3]}
    forward = ort.InferenceSession(artifact.forward_graph, providers=["CPUExecutionProvider"])
    assert [port.shape for port in forward.get_outputs()] == [[3, 64, 4]]


def test_plain_training_takes_neither_soft_labels_nor_a_temperature() -> None:
    session = ort.InferenceSession(build().training_graph, providers=["CPUExecutionProvider"])

    names = {port.name for port in session.get_inputs()}

    assert names == {"hidden.weight", "hidden.bias", "output.weight", "output.bias"} | {
        "x",
        "labels",
        "hard_weight",
        "lr",
    }


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_a_device_with_learning_rate_0_waits(optimizer: Optimizer) -> None:
    artifact = build(optimizer=optimizer)
    feeds = stack_feeds(artifact)
    feeds["lr"][1] = 0

    new = run(artifact.training_graph, feeds)

    for spec in artifact.manifest.parameters:
        assert np.array_equal(new[f"{spec.name}.new"][1], feeds[spec.name][1])
        assert not np.array_equal(new[f"{spec.name}.new"][0], feeds[spec.name][0])


@pytest.mark.parametrize(("soft_labels", "k"), FORMS)
def test_rows_of_weight_0_do_not_matter(soft_labels: str, k: int) -> None:
    artifact = build("cnn", (5, 6), soft_labels=soft_labels, k=k)
    feeds = stack_feeds(artifact)  # the last row weighs 0
    changed = {name: array.copy() for name, array in feeds.items()}
    changed["x"][:, -1] = 100.0
    changed["labels"][:, -1] = 3

    before, after = run(artifact.training_graph, feeds), run(artifact.training_graph, changed)

    for name in before:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-6, atol=1e-7)


def test_the_loss_of_equal_logits_is_the_logarithm_of_the_classes() -> None:
    artifact = build(step_rows=2)
    feeds = stack_feeds(artifact)
    feeds["output.weight"][:] = 0
    feeds["output.bias"][:] = 0
    feeds["hard_weight"] = np.array([[1.0, 0.0], [0.5, 0.5]], np.float32)

    loss = run(artifact.training_graph, feeds)["loss"]

    np.testing.assert_allclose(loss, np.log([4.0, 4.0]), rtol=1e-6)


def test_a_plain_step_by_hand() -> None:
    """Zero weights give probabilities 1/4: the bias moves by 0.4 * [.75, -.25, -.25, -.25]."""
    artifact = build(stack_size=1, step_rows=1)
    feeds = stack_feeds(artifact, learning_rate=0.4)
    feeds["output.weight"][:] = 0
    feeds["output.bias"][:] = 0
    feeds["labels"][:] = 0
    feeds["hard_weight"][:] = 1

    new = run(artifact.training_graph, feeds)

    np.testing.assert_allclose(new["output.bias.new"], [[0.3, -0.1, -0.1, -0.1]], rtol=1e-6)
    assert np.array_equal(
        new["hidden.weight.new"], feeds["hidden.weight"]
    )  # no way back through zero weights


def test_soft_labels_of_all_but_one_class_agree_with_dense_ones() -> None:
    """With k = classes - 1 the rest bucket is the last class."""
    dense, top_k = build(soft_labels="dense"), build(soft_labels="top-k", k=3)
    feeds = stack_feeds(top_k)

    expected, found = run(dense.training_graph, feeds), run(top_k.training_graph, feeds)

    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)


def test_a_build_is_reproducible() -> None:
    first, second = build("cnn", (5, 6), soft_labels="dense"), build("cnn", (5, 6), soft_labels="dense")

    assert first.training_graph == second.training_graph
    assert first.forward_graph == second.forward_graph
    assert first.manifest == second.manifest


def test_graphs_are_valid_onnx_and_survive_a_folder(tmp_path) -> None:  # type: ignore[no-untyped-def]
    artifact = build("cnn", (5, 6))

    save_artifact(artifact, tmp_path / "artifact")
    loaded = load_artifact(tmp_path / "artifact")

    onnx.checker.check_model(onnx.load_from_string(loaded.forward_graph), full_check=True)
    assert loaded.training_graph == artifact.training_graph
    assert loaded.manifest == artifact.manifest
    assert loaded.manifest.parameter_count == (9 * 8 + 8) + (72 * 16 + 16) + (16 * 1 * 1 * 4 + 4)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"soft_labels": "sparse"}, "'sparse'"),
        ({"soft_labels": "top-k", "k": 4}, "name 1 to 3"),
        ({"soft_labels": "dense", "k": 2}, "have no k"),
        ({"stack_size": 0}, "stack_size = 0"),
        ({"step_rows": 0}, "step_rows = 0"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], named: str) -> None:
    with pytest.raises(ExportError, match=named):
        build(**options)  # type: ignore[arg-type]
