"""Causal students with sizes in their names: what they compute, a word at a time and in training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime as ort
import pytest
import torch
from fedstill_proto.errors import UnknownName
from fedstill_proto.messages import Optimizer
from fedstill_server.export import ArtifactOptions, build_artifact
from fedstill_server.export.stacks import same_bits
from fedstill_server.export.streaming import export_step
from fedstill_server.export.student import export_student
from fedstill_server.families import FAMILIES, FamilyError, build_student, initial_parameters
from fedstill_server.families.language import GatedRecurrentNetwork
from fedstill_server.families.state_space import SelectiveBlock
from fedstill_server.training.networks import load_parameters

WORDS = 31


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def by_hand(w: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """A block over a row x [S, width], number by number as the paper writes it."""
    channels, rank = w["direct"].size, w["to_step.weight"].shape[1]
    normal = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * w["norm.weight"]
    inputs, gate = np.split(normal @ w["inward.weight"].T, 2, -1)
    out, state = [], np.zeros((8, channels))
    first = np.linspace(-4.6, -0.4, channels)
    for place in range(len(x)):
        window = [inputs[back] if back >= 0 else np.zeros(channels) for back in range(place - 3, place + 1)]
        u = silu(
            sum(weight * seen for weight, seen in zip(w["kernel"], window, strict=True)) + w["kernel_bias"]
        )
        chosen = w["chosen.weight"] @ u
        step, into, read = chosen[:rank], chosen[rank : rank + 8], chosen[rank + 8 :]
        d = np.log1p(np.exp(w["to_step.weight"] @ step + w["to_step.bias"] + first))
        for n in range(8):
            state[n] = np.exp(-(n + 1) * abs(w["rates"][n]) * d) * state[n] + d * into[n] * u
        out.append(x[place] + w["outward.weight"] @ ((read @ state + w["direct"] * u) * silu(gate[place])))
    return np.stack(out)


def test_a_block_is_the_recurrence_of_the_paper() -> None:
    torch.manual_seed(0)
    block = SelectiveBlock(6, 5).double()
    with torch.no_grad():
        for value in block.parameters():
            value += 0.3 * torch.randn_like(value)
    x = torch.randn(2, 7, 6, dtype=torch.float64)

    found = block(x.reshape(14, 6), 7).reshape(2, 7, 6).detach().numpy()

    weights = {name: value.detach().numpy() for name, value in block.named_parameters()}
    for row in range(2):
        np.testing.assert_allclose(found[row], by_hand(weights, x[row].numpy()), rtol=1e-9)


@pytest.mark.parametrize("family", ["ssm-8-12-2", "transformer-16-2-2"])
def test_the_graph_of_a_word_is_torch_over_200_words(family: str) -> None:
    parameters = initial_parameters(family, (200,), WORDS, 3)
    made = export_step(family=family, input_shape=(200,), classes=WORDS, parameters=parameters)
    assert made is not None
    streaming, graph = made
    step = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    state = {port.name: np.zeros(port.shape, port.element_type) for port in streaming.state}
    words = np.random.default_rng(0).integers(0, WORDS, 200)

    said = []
    for word in words:
        logits, *after = step.run(None, {"word": np.array([word]), **state})
        state = dict(zip(state, after, strict=True))
        said.append(logits[0])

    student = load_parameters(build_student(family, (200,), WORDS), parameters).eval()
    with torch.no_grad():
        expected = student(torch.from_numpy(words)[None])[0].numpy()
    np.testing.assert_allclose(np.stack(said), expected, atol=1e-5 * np.abs(expected).max(), rtol=1e-4)
    assert streaming.places == (200 if family.startswith("transformer") else 0)
    if not streaming.places:  # three inputs and eight numbers of each channel, however long the text is
        assert {port.name: port.shape for port in streaming.state} == {"inputs": (6, 12), "state": (16, 12)}


def test_the_graph_of_rows_takes_any_number() -> None:
    parameters = initial_parameters("ssm-8-12-1", (4,), WORDS, 3)
    _, graph = export_student(family="ssm-8-12-1", input_shape=(4,), classes=WORDS, parameters=parameters)
    student = load_parameters(build_student("ssm-8-12-1", (4,), WORDS), parameters).eval()
    x = torch.arange(20).reshape(5, 4)

    (found,) = ort.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"x": x.numpy()})

    np.testing.assert_allclose(found, student(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_a_training_step_passes_the_gate_and_stacks() -> None:
    options = {
        "family": "ssm-6-8-1", "input_shape": (3,), "classes": WORDS, "optimizer": Optimizer.ADAMW,
        "soft_labels": "top-k", "k": 3, "step_rows": 2, "step_vocabulary": 11,
    }  # fmt: skip
    alone = build_artifact(ArtifactOptions(**options, stack_size=1))  # type: ignore[arg-type]
    pair = build_artifact(ArtifactOptions(**options, stack_size=2), verify=False)  # type: ignore[arg-type]

    assert same_bits(alone, pair)


def test_names_hold_sizes() -> None:
    count = {
        family: sum(value.numel() for value in build_student(family, (16,), WORDS).parameters())
        for family in ("ssm-64-128", "ssm-64-128-1", "transformer", "transformer-64-4-2")
    }
    block = 64 + 64 * 256 + 5 * 128 + 128 * 20 + 4 * 128 + 128 + 8 * 128 + 128 + 128 * 64
    assert count["ssm-64-128"] == WORDS * 64 + 2 * block + 64
    assert count["ssm-64-128-1"] == WORDS * 64 + block + 64
    assert count["transformer-64-4-2"] == count["transformer"]
    assert isinstance(build_student("gru-4-6", (16,), WORDS), GatedRecurrentNetwork)
    assert all(FAMILIES.task_of(family) == "text" for family in count)
    for unknown in ("ssm-64", "ssm-64-128-17", "ssm-0-8", "transformer-64-4"):
        with pytest.raises(UnknownName, match="ssm-64-128"):
            build_student(unknown, (16,), WORDS)
    with pytest.raises(FamilyError, match="3 heads do not share a width of 64"):
        build_student("transformer-64-3-2", (16,), WORDS)
