"""Students with recurrent layers: steps as torch takes them, alike in every stack; dropout between layers."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import torch
from fedstill_client.packages.operators import check_graph
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import TrainingArtifact
from fedstill_server.export import ArtifactOptions, build_artifact
from fedstill_server.export.gate import verify_artifact
from fedstill_server.export.trial import random_batch
from fedstill_server.families import FAMILIES, initial_parameters
from torch import Tensor, nn

PLACES, INPUTS = 2, 2


class FromGivenState(nn.Module):
    """Two layers, both ways, places first, from states that learn; answers with means of what comes out."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layer = nn.LSTM(INPUTS, 3, 2, bidirectional=True)
        self.h, self.c = nn.Parameter(torch.full((4, 1, 3), 0.1)), nn.Parameter(torch.full((4, 1, 3), -0.2))
        self.output = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        start = [state.expand(4, x.shape[0], 3).contiguous() for state in (self.h, self.c)]
        states, (_, c) = self.layer(x.transpose(0, 1), start)
        return self.output(states.mean(0) + torch.cat(list(c[2:]), -1))  # type: ignore[no-any-return]


class SideBySide(nn.Module):
    """The other kinds of layers over the same rows, with and without biases; answers with the last states."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.gru = nn.GRU(INPUTS, 3, batch_first=True)
        self.plain_gru = nn.GRU(INPUTS, 2, batch_first=True, bias=False, bidirectional=True)
        self.tanh = nn.RNN(INPUTS, 2, batch_first=True, bias=False)
        self.relu = nn.RNN(INPUTS, 2, batch_first=True, nonlinearity="relu")
        self.output = nn.Linear(11, classes)

    def forward(self, x: Tensor) -> Tensor:
        layers = self.gru, self.plain_gru, self.tanh, self.relu
        return self.output(torch.cat([layer(x)[0][:, -1] for layer in layers], -1))  # type: ignore[no-any-return]


class Cells(nn.Module):
    """A cell of each kind, place by place."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.lstm, self.gru, self.rnn = nn.LSTMCell(INPUTS, 3), nn.GRUCell(INPUTS, 3), nn.RNNCell(INPUTS, 3)
        self.output = nn.Linear(9, classes)

    def forward(self, x: Tensor) -> Tensor:
        lstm, gru, rnn = None, None, None
        for place in x.unbind(1):
            lstm, gru, rnn = self.lstm(place, lstm), self.gru(place, gru), self.rnn(place, rnn)
        return self.output(torch.cat([lstm[0], gru, rnn], -1))  # type: ignore[no-any-return]


NETWORKS: dict[str, type[nn.Module]] = {
    "given-state": FromGivenState,
    "side-by-side": SideBySide,
    "cells": Cells,
}


@pytest.fixture(scope="module", autouse=True)
def _families() -> None:
    for name, network in NETWORKS.items():
        FAMILIES.register(name, network)


def _artifact(family: str, stack_size: int) -> TrainingArtifact:
    options = ArtifactOptions(
        family=family,
        input_shape=(PLACES, INPUTS),
        classes=2,
        optimizer=Optimizer.SGD,
        soft_labels="none",
        stack_size=stack_size,
        step_rows=3,
    )
    return build_artifact(options, verify=False)


@pytest.mark.parametrize("family", NETWORKS)
def test_a_step_is_torchs_and_the_same_in_every_stack(family: str) -> None:
    stack, alone = _artifact(family, 2), _artifact(family, 1)
    verify_artifact(stack, threads=(1,), steps=3)
    for graph in (stack.training_graph, stack.forward_graph):
        check_graph(graph)
    students = [initial_parameters(family, (PLACES, INPUTS), 2, seed) for seed in range(2)]
    batch = random_batch(stack.manifest, 0) | {"lr": np.array([0.1, 0.2], np.float32)}
    feeds = batch | {name: np.stack([each[name] for each in students]) for name in students[0]}

    stacked = _run(stack.training_graph, feeds)

    for device in range(2):
        own = _run(alone.training_graph, {name: array[device : device + 1] for name, array in feeds.items()})
        for name, array in own.items():
            np.testing.assert_array_equal(array[0], stacked[name][device], err_msg=name)


def _run(graph: bytes, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_outputs()]
    values = session.run(names, {port.name: feeds[port.name] for port in session.get_inputs()})
    return dict(zip(names, values, strict=True))
