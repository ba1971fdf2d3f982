"""What graphs are computed on: the processor, or a GPU where ONNX Runtime has one."""

import numpy as np
import onnxruntime as ort
import pytest
from fedstill_client.model import placed
from fedstill_client.model.placed import (
    NoComputeDevice,
    PlacedArrays,
    check_compute_device,
    check_opened,
    compute_device,
    computing_on,
    providers,
)
from fedstill_client.model.trainer import Personalizer
from fedstill_proto.messages import Optimizer
from fedstill_server.export import build_artifact
from fedstill_server.export.build import ArtifactOptions
from fedstill_sim.runner.stack_size import measured_plan

HAS_CUDA = "CUDAExecutionProvider" in ort.get_available_providers()
needs_cuda = pytest.mark.skipif(not HAS_CUDA, reason="ONNX Runtime has no CUDA provider here")


@pytest.fixture(scope="module")
def artifact():
    options = ArtifactOptions(
        family="mlp-small",
        input_shape=(8, 8),
        classes=10,
        optimizer=Optimizer.MOMENTUM,
        soft_labels="none",
        stack_size=2,
        step_rows=8,
    )
    return build_artifact(options, verify=False)


@pytest.fixture
def with_cuda(monkeypatch):
    """ONNX Runtime as onnxruntime-gpu has it."""
    have = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(placed.ort, "get_available_providers", lambda: have)


@pytest.fixture
def without_cuda(monkeypatch):
    monkeypatch.setattr(placed.ort, "get_available_providers", lambda: ["CPUExecutionProvider"])


def trained(artifact):
    generator = np.random.default_rng(0)
    student = {
        spec.name: generator.normal(0, 0.1, spec.shape).astype(np.float32)
        for spec in artifact.manifest.parameters
    }
    return Personalizer(artifact).train(student, measured_plan(artifact.manifest, generator))


def test_graphs_are_computed_on_the_processor_unless_a_block_says_otherwise(with_cuda):
    assert compute_device() == "cpu"
    assert providers() == ["CPUExecutionProvider"]

    with computing_on("cuda"):
        (first, options), second = providers()
        assert (first, second) == ("CUDAExecutionProvider", "CPUExecutionProvider")
        assert options["use_tf32"] == "0"

    assert providers() == ["CPUExecutionProvider"]


def test_a_gpu_that_onnx_runtime_does_not_know_is_an_error_with_a_remedy(without_cuda):
    with pytest.raises(NoComputeDevice, match=r"no CUDAExecutionProvider.*onnxruntime-gpu"):
        check_compute_device("cuda")
    with pytest.raises(NoComputeDevice, match="'tpu' is none of cpu, cuda"):
        check_compute_device("tpu")
    with pytest.raises(NoComputeDevice), computing_on("cuda"):
        pass
    assert compute_device() == "cpu"


def test_a_session_that_went_back_to_the_processor_is_an_error(with_cuda):
    class FellBack:
        def get_providers(self):
            return ["CPUExecutionProvider"]

    check_opened(FellBack())  # nobody asked for a GPU
    with computing_on("cuda"), pytest.raises(NoComputeDevice, match="found no GPU"):
        check_opened(FellBack())


def test_arrays_that_stand_apart_train_the_same_students(artifact, monkeypatch):
    here, loss = trained(artifact)

    # Copies in this process's memory stand for those of a GPU.
    apart_on_the_processor = classmethod(lambda cls: cls("cpu", is_shared=False))
    monkeypatch.setattr(PlacedArrays, "here", apart_on_the_processor)
    apart, loss_apart = trained(artifact)

    assert all(np.array_equal(here[name], apart[name]) for name in here)
    assert np.array_equal(loss, loss_apart)


@needs_cuda
def test_a_gpu_trains_the_same_students_to_rounding(artifact):
    here, loss = trained(artifact)

    with computing_on("cuda"):
        there, loss_there = trained(artifact)

    for name, array in here.items():
        np.testing.assert_allclose(there[name], array, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(loss_there, loss, rtol=1e-3)
