from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from fedstill_proto.arrays import Parameters, ParameterSpec
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.messages import Optimizer
from fedstill_proto.package import artifact as artifacts
from fedstill_proto.package.artifact import (
    GraphPort,
    PackagePart,
    StudentManifest,
    TrainingArtifact,
    load_artifact,
    load_student,
    save_artifact,
    save_student,
)
from fedstill_proto.package.manifest import MANIFEST_LIMIT_BYTES
from hypothesis import given
from hypothesis import strategies as st

MANIFEST = StudentManifest(
    family="mlp-small",
    classes=3,
    input_shape=(8, 8),
    parameters=(ParameterSpec("z.weight", (3, 2)), ParameterSpec("a.bias", (3,))),
    optimizer=Optimizer.ADAMW,
    soft_labels="top-k",
    opset=18,
    k=2,
    stack_size=16,
    step_rows=32,
    inputs=(GraphPort("x", (-1, 8, 8), "float32"),),
    outputs=(GraphPort("logits", (-1, 3), "float32"),),
)
GRAPH = b"not a real graph: these functions carry bytes and do not look inside"


def weights() -> Parameters:
    return {"z.weight": np.arange(6, dtype=np.float32).reshape(3, 2), "a.bias": np.ones(3, np.float32)}


@pytest.fixture
def student(tmp_path: Path) -> Path:
    folder = tmp_path / "student"
    save_student(folder, MANIFEST, GRAPH, weights())
    return folder


def edit_manifest(folder: Path, **fields: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def refused(folder: Path) -> WireError:
    with pytest.raises(WireError) as caught:
        load_student(folder)
    return caught.value


def test_an_artifact_survives_its_folder(tmp_path: Path) -> None:
    save_artifact(TrainingArtifact(MANIFEST, b"training", b"forward"), tmp_path / "deep" / "artifact")
    loaded = load_artifact(tmp_path / "deep" / "artifact")
    assert (loaded.training_graph, loaded.forward_graph) == (b"training", b"forward")
    parts = {"training.onnx": b"training", "forward.onnx": b"forward"}
    assert loaded.manifest == MANIFEST.with_parts(parts)


def test_a_student_survives_its_folder_in_the_manifest_s_order(student: Path) -> None:
    loaded = load_student(student)
    assert loaded.inference_graph == GRAPH
    assert list(loaded.parameters) == ["z.weight", "a.bias"]
    for name, array in weights().items():
        np.testing.assert_array_equal(loaded.parameters[name], array)
    assert sorted(path.name for path in student.parent.iterdir()) == ["student"]


def test_the_manifest_is_readable(student: Path) -> None:
    manifest = json.loads((student / "manifest.json").read_text())
    assert manifest["opset"] == 18
    assert manifest["parameter_count"] == "9"
    assert manifest["parts"][0] == {
        "name": "inference.onnx",
        "sha256": PackagePart.of("inference.onnx", GRAPH).sha256,
        "size_bytes": str(len(GRAPH)),
    }


def test_saving_again_replaces_the_folder(student: Path) -> None:
    (student / "left over").write_text("from an older release")
    save_student(student, MANIFEST, b"another graph", weights())
    assert load_student(student).inference_graph == b"another graph"
    assert not (student / "left over").exists()
    assert sorted(path.name for path in student.parent.iterdir()) == ["student"]


def test_a_save_that_fails_leaves_the_old_folder(student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifacts, "_write_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_student(student, MANIFEST, b"another graph", weights())
    assert load_student(student).inference_graph == GRAPH
    assert sorted(path.name for path in student.parent.iterdir()) == ["student"]


@pytest.mark.parametrize("name", ["inference.onnx", "parameters.safetensors"])
def test_an_altered_file_is_refused(student: Path, name: str) -> None:
    content = bytearray((student / name).read_bytes())
    content[-1] ^= 1
    (student / name).write_bytes(content)
    assert refused(student).field == f"parts[{name}]"


@pytest.mark.parametrize("name", ["inference.onnx", "parameters.safetensors", "manifest.json"])
def test_a_missing_or_longer_file_is_refused(student: Path, name: str) -> None:
    content = (student / name).read_bytes()
    (student / name).write_bytes(content + b" " * MANIFEST_LIMIT_BYTES)
    assert refused(student).field == name
    (student / name).unlink()
    assert refused(student).field == name


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"protocol_version": 2}, "protocol_version"),
        ({"family": "../x"}, "family"),
        ({"classes": 0}, "classes"),
        ({"optimizer": 0}, "optimizer"),
        ({"optimizer": "OPTIMIZER_OTHER"}, "manifest"),
        ({"soft_labels": "sparse"}, "soft_labels"),
        ({"soft_labels": "dense"}, "k"),
        ({"k": 4}, "k"),
        ({"stack_size": 0}, "stack_size"),
        ({"input_shape": [0]}, "shape"),
        ({"parameter_count": "8"}, "parameter_count"),
        ({"unknown": 1}, "manifest"),
        ({"classes": "many"}, "manifest"),
        ({"parts": []}, "parts"),
        ({"parts": [{"name": "../inference.onnx", "sha256": "0" * 64, "size_bytes": 1}]}, "name"),
        ({"parts": [{"name": "inference.onnx", "sha256": "0" * 63, "size_bytes": 1}]}, "sha256"),
        ({"parts": [{"name": "inference.onnx", "sha256": "0" * 64, "size_bytes": 2**40}]}, "size_bytes"),
        ({"inputs": [{"name": "x", "shape": ["-2"], "element_type": "float32"}]}, "shape"),
        ({"inputs": [{"name": "x", "shape": ["1"], "element_type": "object"}]}, "element_type"),
        ({"parameters": [{"name": "w"}, {"name": "w"}]}, "parameters"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused_by_field(
    student: Path, fields: dict[str, Any], field: str
) -> None:
    edit_manifest(student, **fields)
    assert refused(student).field == field


def put_parameters(folder: Path, content: bytes) -> None:
    """Replace the weights and fit the manifest to them, as a forger would."""
    (folder / "parameters.safetensors").write_bytes(content)
    manifest = StudentManifest.from_json((folder / "manifest.json").read_bytes())
    graph = (folder / "inference.onnx").read_bytes()
    fitted = manifest.with_parts({"inference.onnx": graph, "parameters.safetensors": content})
    (folder / "manifest.json").write_text(fitted.to_json())


@pytest.mark.parametrize(
    "arrays",
    [
        {"z.weight": np.zeros((3, 2), np.float32)},
        {**weights(), "more": np.zeros(1, np.float32)},
        {**weights(), "a.bias": np.zeros(4, np.float32)},
        {**weights(), "a.bias": np.zeros(3, np.float64)},
        {**weights(), "a.bias": np.full(3, np.nan, np.float32)},
    ],
)
def test_weights_that_do_not_fit_the_manifest_are_refused(student: Path, arrays: Parameters) -> None:
    put_parameters(student, safetensors.numpy.save(arrays))
    assert refused(student).field.startswith("parameters.safetensors")


@given(content=st.binary(max_size=200), prefix=st.integers(0, 200))
def test_noise_in_place_of_weights_is_refused(content: bytes, prefix: int) -> None:
    good = artifacts.encode_parameters(weights())
    noise = good[:prefix] + content
    if noise != good:
        try:
            decoded = artifacts.decode_parameters(noise, MANIFEST.parameters, field="weights")
        except WireError as error:
            assert error.field.startswith("weights")  # noqa: PT017
        else:  # as many bytes of other finite numbers: the digest is what tells them apart
            assert list(decoded) == ["z.weight", "a.bias"]


@given(
    st.text(max_size=100) | st.recursive(st.integers() | st.text(), st.lists, max_leaves=5).map(json.dumps)
)
def test_no_other_text_is_a_manifest(text: str) -> None:
    with pytest.raises(WireError):
        StudentManifest.from_json(text)


def test_a_student_is_only_saved_with_the_weights_of_its_manifest(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"^parameters: not as the manifest says: a\.bias$"):
        save_student(tmp_path / "student", MANIFEST, GRAPH, {"z.weight": weights()["z.weight"]})
    assert not (tmp_path / "student").exists()
