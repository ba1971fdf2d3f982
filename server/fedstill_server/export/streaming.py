"""Exports a student of text one word at a time: (word, state) -> (logits of the next word, new state).

A keystroke then costs one step, however long the text before it is. A family can stream if it has, besides
`forward`, the methods

    start_state()                      its state before the first word, by name: zeros
    step(word, *state)                 (logits [1, V], *state) of the word [1] after such a state

and, as `stream_places`, how many words a state can take in (0: any number). One that has them and cannot use
them says so as `streams`, False. A family whose state keeps all its places, with `next_place` among them, may
have besides

    block(words, *state)               (logits [T, V], *state) of words [T] after such a state, at once

which costs little more than one word, and is what checks the words that a smaller student has drafted
(speculative decoding: Leviathan et al., 2023, arXiv 2211.17192).
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import onnx
import torch
from fedstill_proto.arrays import Parameters
from fedstill_proto.package.manifest import WORD_INPUT, GraphPort, Streaming
from torch import Tensor, nn

from fedstill_server.export.errors import ExportError
from fedstill_server.export.graph import OPSET
from fedstill_server.export.opened import open_graph
from fedstill_server.export.student import (
    captured_with_weights,
    check_weights_stay_weights,
    load_parameters,
    put_weights,
    quiet_exporter,
    varied,
)
from fedstill_server.families import FAMILIES, build_student
from fedstill_server.families.state import student_state
from fedstill_server.plugins import called

_PREFIX = "student."
_WORDS_COMPARED = 3
MOST_AT_ONCE = 512  # words of a block


def export_step(
    *, family: str, input_shape: tuple[int, ...], classes: int, parameters: Parameters
) -> tuple[Streaming, bytes] | None:
    """The graph of one word with its weights, and its state.

    Returns:
        The state and the graph; None for a family without `step`.
    """
    student: Any = build_student(family, input_shape, classes).eval()
    if not (hasattr(student, "step") and getattr(student, "streams", True)):
        return None
    load_parameters(student, parameters)
    state: dict[str, Tensor] = student.start_state()
    if state.keys() & parameters.keys():
        raise ExportError(f"{family}: the state's {sorted(state)} have names of parameters; rename them")
    if FAMILIES.is_own(family):
        graph = called(
            f"{family}: no graph of a word can be made of it", lambda: _captured_own(student, state)
        )
    else:
        graph = _captured(copy.deepcopy(student), state)
    finished = _finished(graph, parameters)
    ports = tuple(
        GraphPort(name, tuple(value.shape), "int64" if value.dtype == torch.int64 else "float32")
        for name, value in state.items()
    )
    _check_answers(student, finished, state, classes=classes)
    return Streaming(ports, int(student.stream_places)), finished


def export_block(
    *, family: str, input_shape: tuple[int, ...], classes: int, parameters: Parameters
) -> bytes | None:
    """The graph of several words with its weights, of the same state as that of one; None for a family
    without `block`.
    """
    student: Any = build_student(family, input_shape, classes).eval()
    if not (hasattr(student, "block") and getattr(student, "streams", True)):
        return None
    load_parameters(student, parameters)
    state: dict[str, Tensor] = student.start_state()
    graph = called(
        f"{family}: no graph of several words can be made of it",
        lambda: _captured_own(student, state, words=_WORDS_COMPARED),
    )
    finished = _finished(graph, parameters)
    _check_answers(student, finished, state, classes=classes, at_once=True)
    return finished


class _Step(nn.Module):
    """One word, or with `at_once` several."""

    def __init__(self, student: nn.Module, *, at_once: bool = False) -> None:
        super().__init__()
        self.student, self.at_once = student, at_once

    def forward(self, word: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        student: Any = self.student
        step: tuple[Tensor, ...] = (student.block if self.at_once else student.step)(word, *state)
        return step


def _finished(graph: bytes, parameters: Parameters) -> bytes:
    """A captured graph with the student's weights under their own names."""
    model = onnx.load_from_string(graph)
    _without_prefix(model.graph)
    put_weights(model.graph, parameters)
    check_weights_stay_weights(model.graph, parameters)
    finished: bytes = model.SerializeToString(deterministic=True)
    return finished


def _captured_own(student: nn.Module, state: dict[str, Tensor], *, words: int = 1) -> bytes:
    return captured_with_weights(
        _Step(student, at_once=words > 1),
        student_state(student).tensors,
        {WORD_INPUT: torch.zeros(words, dtype=torch.int64), **state},
        outputs=("logits", *(f"{name}.new" for name in state)),
        shapes=_free(state, words),
    )


def _free(state: dict[str, Tensor], words: int) -> list[Any] | None:
    """Any number of words, where there are several."""
    return None if words == 1 else [{0: torch.export.Dim("words", max=MOST_AT_ONCE)}, *[None] * len(state)]


def _captured(student: nn.Module, state: dict[str, Tensor]) -> bytes:
    with quiet_exporter():
        program = torch.onnx.export(
            _Step(varied(student)),
            (torch.zeros(1, dtype=torch.int64), *state.values()),
            dynamo=True,
            input_names=[WORD_INPUT, *state],
            output_names=["logits", *(f"{name}.new" for name in state)],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    graph: bytes = program.model_proto.SerializeToString(deterministic=True)
    return graph


def _without_prefix(graph: onnx.GraphProto) -> None:
    """The graph with weights under the student's own names."""
    for tensor in graph.initializer:
        tensor.name = tensor.name.removeprefix(_PREFIX)
    for node in graph.node:
        node.input[:] = [name.removeprefix(_PREFIX) for name in node.input]


def _check_answers(
    student: Any, graph: bytes, state: dict[str, Tensor], *, classes: int, at_once: bool = False
) -> None:
    """Refuse a graph that does not predict, word by word or in two blocks, what the student predicts for all
    of them together.
    """
    opened = open_graph(graph)
    words = np.arange(_WORDS_COMPARED) % classes
    given = {name: value.numpy() for name, value in state.items()}
    answered: list[Any] = []
    for part in (words[:1], words[1:]) if at_once else words[:, None]:
        logits, *after = opened.run(None, {WORD_INPUT: part, **given})
        given = dict(zip(state, after, strict=True))
        answered.extend(logits)
    with torch.no_grad():
        if student.stream_places:  # rows have one length only: no place sees what follows it
            row = torch.zeros(1, student.stream_places, dtype=torch.int64)
            row[0, : len(words)] = torch.from_numpy(words)[: student.stream_places]
        else:
            row = torch.from_numpy(words)[None]
        expected = student(row)[0, : len(words)].numpy()
    size = max(1.0, float(np.abs(expected).max()))
    if not np.allclose(np.stack(answered)[: len(expected)], expected, rtol=1e-3, atol=1e-4 * size):
        raise ExportError(
            "the graph of one word at a time does not say what the student says; do its step and its forward "
            "compute the same?"
        )
