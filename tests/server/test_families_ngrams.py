"""Students of utterances: what they compute, as torch and as graphs for a device."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
import torch
from fedstill_client.model.predictor import Predictor
from fedstill_proto.messages import Optimizer
from fedstill_server.export import ArtifactOptions, build_artifact
from fedstill_server.families import FAMILIES, UTTERANCES, FamilyError, build_student, initial_parameters
from fedstill_server.families.ngrams import BagOfNgrams, weigh_terms

from tests.client.utterance_samples import assistant

PLACES, CLASSES = 16, 3


def test_a_bag_by_hand() -> None:
    student = BagOfNgrams(4, 2, width=1, hidden=1)
    values = {
        "embedding.weight": [[9.0], [1.0], [2.0], [4.0]],
        "weight.weight": [[0.0], [0.0], [0.0], [math.log(2)]],
        "direct.weight": [[10.0], [0.0]],
        "hidden.weight": [[2.0]],
        "hidden.bias": [1.0],
        "output.weight": [[1.0], [-1.0]],
        "output.bias": [0.0, 0.5],
    }
    student.load_state_dict({name: torch.tensor(value) for name, value in values.items()})

    logits = student(torch.tensor([[1.0, 2, 0, 0], [0, 0, 0, 0], [3, -7, 1e9, 0]]))

    # (1 + 2) / sqrt(2); nothing; what is too large is the last number, and weighs 2: (8 + 8) / sqrt(8)
    mean = torch.tensor([3 / 2**0.5, 0.0, 16 / 8**0.5])
    hidden = 2 * mean + 1
    torch.testing.assert_close(logits, torch.stack([hidden + 10 * mean, 0.5 - hidden], -1))


def test_what_is_rare_weighs_more_by_hand() -> None:
    student = BagOfNgrams(4, 2, width=1, hidden=1)
    x = np.array([[1, 2, 0], [1, 0, 0], [1, 3, 0]], np.float32)

    weigh_terms(student, x)

    weights = student.weight.weight.detach().exp()[:, 0]
    rare = 1 + math.log(2) / 2  # in one of three: log(4 / 2)
    torch.testing.assert_close(weights[1:], torch.tensor([1.0, rare, rare]))


@pytest.mark.parametrize("family", sorted(FAMILIES.of_task(UTTERANCES)))
def test_the_order_and_the_rest_of_the_row_do_not_matter(family: str) -> None:
    student = build_student(family, (PLACES,), CLASSES)
    rows = torch.zeros(2, PLACES)
    rows[0, :3] = torch.tensor([5.0, 70, 8000])
    rows[1, 9:12] = torch.tensor([8000.0, 5, 70])

    torch.testing.assert_close(student(rows)[0], student(rows)[1])


def test_half_a_million_parameters_at_most() -> None:
    sizes = {
        family: sum(array.size for array in initial_parameters(family, (128,), 42, 0).values())
        for family in FAMILIES.of_task(UTTERANCES)
    }

    assert sizes == {
        "ngrams": 8192 * 49 + 48 * 128 + 128 + 128 * 42 + 42 + 48 * 42,
        "ngrams-small": 8192 * 9 + 8 * 32 + 32 + 32 * 42 + 42 + 8 * 42,
    }
    assert max(sizes.values()) <= 500_000
    with pytest.raises(FamilyError, match="an utterance is"):
        build_student("ngrams", (8, 8), 3)


def test_its_training_step_passes_the_gate() -> None:
    """Which compares 20 steps with torch in float64, with 1 thread and with 2; and it fits a small device."""
    artifact = build_artifact(
        ArtifactOptions(
            family="ngrams",
            input_shape=(PLACES,),
            classes=CLASSES,
            optimizer=Optimizer.MOMENTUM,
            soft_labels="dense",
            stack_size=2,
            step_rows=4,
            features=True,
        )
    )

    assert artifact.manifest.input_type == "float32"
    assert artifact.manifest.feature_width == 128
    assert len(artifact.training_graph) < 50_000  # not the numbers of a table of zeros


def test_in_8_bits_it_answers_as_before() -> None:
    package = assistant()

    assert package.int8_graph is not None
    assert len(package.int8_graph) < 0.34 * len(package.inference_graph)
    names = {tensor.name for tensor in onnx.load_from_string(package.int8_graph).graph.initializer}
    assert "embedding.weight" not in names
    x = package.public_x
    assert x is not None
    float32, int8 = Predictor(package).logits(x), Predictor(package, precision="int8").logits(x)
    assert (float32.argmax(-1) == int8.argmax(-1)).all()
    assert 0 < np.abs(int8 - float32).max() < 0.05 * np.abs(float32).max()
