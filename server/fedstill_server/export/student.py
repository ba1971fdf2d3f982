"""Exports a finished student as a graph that any ONNX runtime can run, with its weights inside."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from fedstill_proto.arrays import Parameters, ParameterSpec
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import INFERENCE_FILE, GraphPort, StudentManifest
from fedstill_proto.package.target import SINGLE_LABEL, Target
from onnx import numpy_helper
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from fedstill_server.data.forms import ExampleForm
from fedstill_server.export.cache import cache_key, keep_graph, kept_graph
from fedstill_server.export.errors import ExportError
from fedstill_server.export.graph import OPSET
from fedstill_server.export.opened import open_graph
from fedstill_server.export.randomness import Randomness
from fedstill_server.export.structure import structure_of
from fedstill_server.export.substitutes import Substitutes, attention, substituted
from fedstill_server.families import FAMILIES, build_student
from fedstill_server.families.state import student_state
from fedstill_server.plugins import called

_STUDENT = "student."  # what _Given puts before the names of tensors that are not given
_READERS = {"Conv", "Gather", "Gemm", "GroupNormalization", "LayerNormalization", "MatMul"}
_FOLDED_INTO_CONVOLUTIONS = {"Add", "BatchNormalization", "Div", "Mul", "Sub"}


def export_student(
    *,
    family: str,
    input_shape: Sequence[int],
    classes: int,
    parameters: Parameters,
    target: Target = SINGLE_LABEL,
    cache: Path | None = None,
) -> tuple[StudentManifest, bytes]:
    """The inference graph `x [batch, *input_shape] -> logits [batch, classes]` and its manifest.

    For a student of text x is int64 [batch, S] and the logits are [batch, S, classes], for the word after
    each. The initializers have the names of the parameters, so that a device can put its own weights in their
    place.

    Args:
        family: The student's.
        input_shape: The shape of an example.
        classes: How many classes it tells apart, or words it knows.
        parameters: Its weights.
        target: What it says of an example.
        cache: A folder that keeps what torch.onnx makes of a family, which takes some seconds.

    Raises:
        ExportError: The family has no such graph, or its graph answers differently.
    """
    student = build_student(family, input_shape, classes, target=target).eval()
    load_parameters(student, parameters)
    shape = tuple(input_shape)
    structure = structure_of(family, shape, target.outputs(classes))
    if structure is None:
        graph = _captured(family, shape, classes, target, structure, cache)
    else:
        graph = called(
            f"{family}: no graph can be made of it",
            lambda: _captured(family, shape, classes, target, structure, cache),
        )
    return _finished(
        student,
        graph,
        family=family,
        input_shape=shape,
        classes=classes,
        form=FAMILIES.form_of(family),
        target=target,
    )


def _finished(
    student: nn.Module,
    captured: bytes,
    *,
    family: str,
    input_shape: Sequence[int],
    classes: int,
    form: ExampleForm,
    target: Target,
) -> tuple[StudentManifest, bytes]:
    """The captured graph with the student's own weights, and its manifest."""
    own = student_state(student)
    parameters = {name: value.detach().numpy() for name, value in own.tensors.items()}
    model = onnx.load_from_string(captured)
    put_weights(model.graph, parameters)
    check_weights_stay_weights(model.graph, parameters)
    _check_any_batch(model.graph)
    graph = model.SerializeToString(deterministic=True)
    _check_answers(student, graph, _examples(form, input_shape))
    label_shape = target.label_shape or form.label_shape(input_shape)
    manifest = StudentManifest(
        family=family,
        classes=classes,
        input_shape=tuple(input_shape),
        parameters=tuple(ParameterSpec(name, array.shape) for name, array in parameters.items()),
        optimizer=Optimizer.SGD,
        soft_labels="none",
        opset=OPSET,
        buffers=tuple(own.buffers),
        inputs=(GraphPort("x", (-1, *input_shape), form.input_type),),
        outputs=(GraphPort("logits", (-1, *label_shape, classes), "float32"),),
        label_shape=label_shape,
        input_type=form.input_type,
        target=target,
    )
    return manifest.with_parts({INFERENCE_FILE: graph}), graph


def inference_graph(family: str, input_shape: tuple[int, ...], classes: int) -> bytes:
    """The family's inference graph, whole; what trains has arbitrary weights in it."""
    structure = structure_of(family, input_shape, classes)
    return _captured(family, input_shape, classes, SINGLE_LABEL, structure, None)


def _captured(
    family: str,
    input_shape: tuple[int, ...],
    classes: int,
    target: Target,
    structure: str | None,
    cache: Path | None,
) -> bytes:
    """The family's graph with arbitrary weights; those of a student, and the check of its answers, come
    after.
    """
    decides: dict[str, Any] = {
        "family": family,
        "input_shape": input_shape,
        "classes": classes,
        "structure": structure,
    }
    if not target.is_single:
        decides["target"] = [target.kind.value, target.size]
    key = cache_key(decides)
    file = None if cache is None else cache / f"{family}-{key}.onnx"
    graph = None if file is None else kept_graph(file)
    if graph is None:
        graph = _captured_anew(family, input_shape, classes, target, structure)
        if file is not None:
            keep_graph(graph, file)
    return graph


@functools.lru_cache(maxsize=16)
def _captured_anew(
    family: str, input_shape: tuple[int, ...], classes: int, target: Target, structure: str | None
) -> bytes:
    """The same where no folder has it; `structure` tells networks apart that go by one name."""
    examples = _examples(FAMILIES.form_of(family), input_shape)
    capture = _capture_own if FAMILIES.is_own(family) else _capture
    return capture(build_student(family, input_shape, classes, target=target).eval(), examples)


def _capture(student: nn.Module, examples: torch.Tensor) -> bytes:
    """The graph of a student, whose weights are changed."""
    with quiet_exporter():
        program = torch.onnx.export(
            varied(student),
            (examples,),
            dynamo=True,
            input_names=["x"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    graph: bytes = program.model_proto.SerializeToString(deterministic=True)
    return graph


class _Given(nn.Module):
    """A network whose weights come with its examples: an exporter can fold none of them into a constant."""

    def __init__(self, student: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.student = student
        self.names = tuple(names)

    def forward(self, read: list[torch.Tensor], weights: list[torch.Tensor]) -> Any:
        given = dict(zip(self.names, weights, strict=True))
        return functional_call(self.student, given, tuple(read))


def _capture_own(student: nn.Module, examples: torch.Tensor) -> bytes:
    """The graph of a student of one's own, whatever it computes with its weights before an example is there.

    A weight that a runtime might fold into a constant is an initializer and an input as well, which is how
    ONNX says that it may be replaced: the statistics of batch normalization, a weight that is turned round,
    the gates of an LSTM.
    """
    weights = student_state(student).tensors
    return captured_with_weights(
        student, weights, {"x": examples}, outputs=("logits",), shapes=[{0: torch.export.Dim("batch")}]
    )


def captured_with_weights(
    network: nn.Module,
    weights: Mapping[str, torch.Tensor],
    examples: Mapping[str, torch.Tensor],
    *,
    outputs: Sequence[str],
    shapes: Sequence[Any] | None = None,
) -> bytes:
    """The graph of a network of one's own, with weights that a device may replace, and arbitrary ones in it.

    Args:
        network: What is called with the examples.
        weights: Those that may be replaced, by the name that they have in the graph: theirs in the network,
            or in its part `student`.
        examples: What it reads, by name.
        outputs: The names of what it answers.
        shapes: Of each example the dimensions that vary, as torch.export takes them.
    """
    from torch._dynamo.exc import UserError  # takes a second to import

    own = {name: value.detach() for name, value in weights.items()}
    inside = set(dict(network.named_parameters()) | dict(network.named_buffers()))
    given = _Given(network, [name if name in inside else _STUDENT + name for name in own])
    read = (list(examples.values()), list(own.values()))
    free = (list(shapes or [None] * len(examples)), [None] * len(own))
    with quiet_exporter(), torch.no_grad(), substituted(_written_out()):
        try:
            program = torch.export.export(given, read, dynamic_shapes=free)
        except UserError:  # len(x) is a number there, and stands for any batch only if the code is read
            program = torch.export.export(given, read, dynamic_shapes=free, strict=True)
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=[*examples, *own],
            output_names=list(outputs),
            opset_version=OPSET,
            verbose=False,
        )
    assert exported is not None
    model = exported.model_proto
    for names in (node.input for node in model.graph.node):
        names[:] = [_without_prefix(name) for name in names]
    for tensor in model.graph.initializer:
        tensor.name = _without_prefix(tensor.name)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(value.numpy()), name) for name, value in own.items()
    )
    foldable = _foldable(model.graph, own)
    kept = [port for port in model.graph.input if port.name not in own or port.name in foldable]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    graph: bytes = model.SerializeToString(deterministic=True)
    return graph


def _without_prefix(name: str) -> str:
    while name.startswith(_STUDENT):
        name = name.removeprefix(_STUDENT)
    return name


def _foldable(graph: onnx.GraphProto, weights: Collection[str]) -> set[str]:
    """The weights that a runtime might compute with before an example is there."""
    known = {tensor.name for tensor in graph.initializer}
    found: set[str] = set()
    for node in graph.node:
        read = [name for name in node.input if name]
        if known.issuperset(read):
            known.update(node.output)
        # A runtime multiplies a convolution's weights by what its result is multiplied by.
        after = {one.op_type for one in graph.node if node.output[0] in one.input}
        is_plain = node.op_type in _READERS and not known.issuperset(read)
        is_plain = is_plain and not (node.op_type == "Conv" and after & _FOLDED_INTO_CONVOLUTIONS)
        found |= set() if is_plain else set(read)
    return found & set(weights)


def _written_out() -> Substitutes:
    """What torch.onnx has no words for: attention over other ranks than 4, and dropout that drops nothing.

    Linear layers see rows of two dimensions: of others torch.onnx turns the weights round, in every answer.
    """
    of_rank_4, of_rows = functional.scaled_dot_product_attention, functional.linear

    def of_any_rank(query: torch.Tensor, *others: Any, **options: Any) -> torch.Tensor:
        return (of_rank_4 if query.dim() == 4 else attention)(query, *others, **options)

    def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        if x.dim() < 3:
            return of_rows(x, weight, bias)
        return of_rows(x.reshape(-1, x.shape[-1]), weight, bias).reshape(*x.shape[:-1], weight.shape[0])

    return {
        **Randomness().substitutes,
        (functional, "scaled_dot_product_attention"): of_any_rank,
        (functional, "linear"): linear,
    }


def varied(student: nn.Module) -> nn.Module:
    """The student with weights that are all different numbers, and none of those it will have.

    torch.onnx gives equal weights one name, such as the ones that all scales begin with.
    """
    numbers = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in student_state(student).trainable.values():
            value.normal_(generator=numbers)
    return student


def _examples(form: ExampleForm, input_shape: Sequence[int]) -> torch.Tensor:
    return torch.zeros(2, *input_shape, dtype=getattr(torch, form.input_type))


def put_weights(graph: onnx.GraphProto, parameters: Parameters) -> None:
    """Give the initializers of these names their values."""
    for tensor in graph.initializer:
        if tensor.name in parameters:
            tensor.CopyFrom(
                numpy_helper.from_array(np.ascontiguousarray(parameters[tensor.name]), tensor.name)
            )


def _check_any_batch(graph: onnx.GraphProto) -> None:
    """Refuses a graph that takes as many examples at once as it was captured with, and no others."""
    batch = graph.input[0].type.tensor_type.shape.dim[0]
    if batch.HasField("dim_value"):
        raise ExportError(
            f"the inference graph takes {batch.dim_value} examples at once and no others: the family makes a "
            "number of their count, as len(x) does; x.shape[0] stands for any"
        )


def _check_answers(student: nn.Module, graph: bytes, examples: torch.Tensor) -> None:
    """Refuses a graph with constants that torch.onnx made of the weights that it was captured with."""
    opened = open_graph(graph)
    answered = opened.run(["logits"], {"x": examples.numpy()})[0]
    with torch.no_grad():
        expected = student(examples).numpy()
    if not np.allclose(answered, expected, rtol=1e-3, atol=1e-4 * max(1.0, float(np.abs(expected).max()))):
        raise ExportError(
            "the inference graph does not answer as torch does: it computes with weights that are not the "
            "student's. Write the family so that torch.onnx folds none of them into a constant."
        )


def load_parameters(student: torch.nn.Module, parameters: Mapping[str, np.ndarray]) -> None:
    """Puts weights into a student; they must be exactly the student's."""
    tensors = student_state(student).tensors
    own = {name: tuple(value.shape) for name, value in tensors.items()}
    given = {name: tuple(array.shape) for name, array in parameters.items()}
    if own != given:
        differing = sorted(own.items() ^ given.items())
        raise ExportError(
            f"these are not the student's parameters; name and shape differ in {differing[:4]} "
            f"({len(differing)} in all). Use those of the same family, input shape and number of classes."
        )
    with torch.no_grad():
        for name, value in tensors.items():
            value.copy_(torch.from_numpy(np.array(parameters[name])))


def check_weights_stay_weights(graph: onnx.GraphProto, parameters: Mapping[str, np.ndarray]) -> None:
    """Refuses a node that computes on weights alone, unless they are inputs of the graph as well.

    ONNX Runtime folds such a node into a constant, and may go on using it when a device has put its own
    weights in place.
    """
    constants = {tensor.name for tensor in graph.initializer}
    missing = sorted(parameters.keys() - constants)
    if missing:
        raise ExportError(
            f"the inference graph has no weights named {missing}; a device could not replace them"
        )
    constants -= {port.name for port in graph.input}
    for node in graph.node:
        if parameters.keys() & set(node.input) and constants.issuperset(node.input):
            raise ExportError(
                f"{node.op_type} {node.name!r} of the inference graph computes on weights alone"
            )


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """A context in which torch.onnx does not report missing optional packages, and what it cannot fold."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
