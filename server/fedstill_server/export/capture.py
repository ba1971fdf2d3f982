"""Captures what a student computes, for one device, as a small graph of aten operators.

`make_fx` runs the function once on tensors without storage and writes down every operator. A second pass
replaces what is changed in place by new values, and operators without a translation by those that they are
made of (decompositions.py). Devices are stacked later, when the graph is lowered to ONNX (see
`fedstill_server.export.lowering`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import Any

import torch
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.target import SINGLE_LABEL, Target
from torch import Tensor, nn
from torch.func import functional_call, functionalize, vjp
from torch.fx import Interpreter
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.graph_module import GraphModule
from torch.fx.traceback import preserve_node_meta
from torch.nn import functional

from fedstill_server.export.decompositions import decomposition_table
from fedstill_server.export.errors import ExportError
from fedstill_server.export.gaussian_loss import gaussian_loss_and_gradient
from fedstill_server.export.loss import StepLoss, StepTargets, loss_and_logit_gradient
from fedstill_server.export.optimizers import RULES, Scalars
from fedstill_server.export.ports import CapturedGraph, Port
from fedstill_server.export.randomness import Randomness, uniform_ports
from fedstill_server.export.recurrent import layers
from fedstill_server.export.rewrites import rewrite
from fedstill_server.export.substitutes import (
    ADAPTIVE_POOLS,
    BatchNormalization,
    attention,
    bag_of_rows,
    substituted,
    without_changes_in_place,
)
from fedstill_server.export.text_loss import text_loss_and_logit_gradient
from fedstill_server.families.features import with_features
from fedstill_server.families.state import frozen_tensors, student_state, train_mode


@dataclass(frozen=True, kw_only=True)
class StepBatch:
    """What one device's step learns from.

    Attributes:
        rows: Examples.
        input_shape: The shape of one.
        classes: Classes of its soft label.
        soft_labels: Their form: "none", "dense" or "top-k".
        k: Classes that a top-k soft label names.
        label_shape: () for one label an example, (S,) for one at each of S places.
        input_type: The type of an example's values.
        target: What the student says of an example.
    """

    rows: int
    input_shape: tuple[int, ...]
    classes: int
    soft_labels: str
    k: int = 0
    label_shape: tuple[int, ...] = ()
    input_type: torch.dtype = torch.float32
    target: Target = SINGLE_LABEL

    @property
    def ports(self) -> list[Port]:
        """The graph's inputs of a batch: examples, labels, and the soft part in its form."""
        places = (self.rows, *self.label_shape)
        ports = [
            Port("x", (self.rows, *self.input_shape), self.input_type),
            Port("labels", places, getattr(torch, self.target.label_type)),
            Port("hard_weight", places),
        ]
        if self.soft_labels == "none":
            return ports
        if self.soft_labels == "dense":
            ports.append(Port("soft_labels", (*places, self.classes)))
        else:
            ports += [
                Port("soft_indices", (*places, self.k), torch.int64),
                Port("soft_probabilities", (*places, self.k)),
            ]
        ports.append(Port("soft_weight", places))
        return ports if self.target.is_regression else [*ports, Port("temperature", (), per_device=False)]

    @property
    def loss(self) -> StepLoss:
        """The loss of a step, whose rows are the places of all rows."""
        if self.target.is_regression:
            return gaussian_loss_and_gradient
        if self.label_shape and self.target.is_single:
            return text_loss_and_logit_gradient
        return loss_and_logit_gradient


def capture_training_step(student: nn.Module, batch: StepBatch, *, optimizer: Optimizer) -> CapturedGraph:
    """Capture the forward pass, distillation loss, backward pass and optimizer of one step.

    Where rows have a label at each of several places, the loss takes all places as rows.
    """
    rule = RULES[optimizer]
    places = len(batch.label_shape)
    own = student_state(student)
    state = state_ports(student) + slot_ports(student, optimizer)
    scalar_ports = [Port(name, (), per_device=False) for name in rule.scalars]
    ports = state + batch.ports + [Port("lr", ())] + scalar_ports + frozen_ports(student)
    frozen = list(frozen_tensors(student))
    # What batch normalization counts is of no use: its momentum is a number.
    counters = [name for name, _ in student.named_buffers() if name.endswith("num_batches_tracked")]
    without_changes_in_place(student)
    train_mode(student)

    def step(*arguments: Tensor) -> tuple[Tensor, ...]:
        values = {port.name: value for port, value in zip(ports, arguments, strict=True)}
        buffers = {name: values[name] for name in own.buffers}
        others = buffers | {name: values[name] for name in frozen}
        norms = BatchNormalization(rows=batch.rows, weighing=_weighing(values, places), buffers=buffers)

        def answer(parameters: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            tensors = parameters | others | {name: torch.zeros((), dtype=torch.int64) for name in counters}
            with _written_out(norms):
                logits: Tensor = functional_call(student, tensors, (values["x"],))
            return (logits.flatten(0, places) if places else logits), norms.moved

        parameters = {name: values[name] for name in own.trainable}
        logits, pull_back, moved = vjp(answer, parameters, has_aux=True)  # type: ignore[misc]
        loss, logit_gradient = batch.loss(
            logits,
            _targets(values, places=places),
            step_scale=values["lr"] if rule.scales_rows else None,
        )
        (gradients,) = pull_back(logit_gradient)
        scalars: Scalars = {name: values[name] for name in ("lr", *rule.scalars)}
        updated: dict[str, Tensor] = {name: moved.get(name, before) for name, before in buffers.items()}
        for name in own.trainable:
            slots = tuple(values[f"{name}.{slot}"] for slot in rule.slots)
            updated[name], new_slots = rule.update(parameters[name], gradients[name], slots, scalars)
            updated |= {f"{name}.{slot}": new for slot, new in zip(rule.slots, new_slots, strict=True)}
        return (*(updated[port.name] for port in state), loss)

    outputs = (*(f"{port.name}.new" for port in state), "loss")
    module = trace(step, ports)
    return CapturedGraph(module, (*ports, *uniform_ports(module)), outputs)


def capture_forward(
    student: nn.Module,
    *,
    input_shape: tuple[int, ...],
    rows: int,
    input_type: torch.dtype = torch.float32,
    features: bool = False,
) -> CapturedGraph:
    """Capture the logits [rows, *label_shape, classes] of examples `x`.

    Args:
        student: The student.
        input_shape: The shape of an example.
        rows: Examples of a pass.
        input_type: The type of their values.
        features: Whether to capture what the last layer reads, too: [rows, width].
    """
    ports = [*state_ports(student), *frozen_ports(student), Port("x", (rows, *input_shape), input_type)]
    without_changes_in_place(student)
    student.eval()

    def forward(*arguments: Tensor) -> tuple[Tensor, ...]:
        *tensors, x = arguments
        named = {port.name: value for port, value in zip(ports, tensors, strict=False)}
        with _written_out(BatchNormalization(rows=rows, weighing=None, buffers={})):
            if features:
                return with_features(student, lambda: functional_call(student, named, (x,)))
            return (functional_call(student, named, (x,)),)

    outputs = ("logits", "features") if features else ("logits",)
    module = trace(forward, ports)
    if random := uniform_ports(module):
        raise ExportError(
            f"the student draws random numbers {[port.shape for port in random]} when it answers, too; drop "
            "only in training, as dropout(x, training=self.training) does"
        )
    return CapturedGraph(module, tuple(ports), outputs)


def state_ports(student: nn.Module) -> list[Port]:
    """The inputs of a graph for what is the student's own: its parameters, and its moving buffers."""
    return [
        Port(name, tuple(value.shape), is_state=True)
        for name, value in student_state(student).tensors.items()
    ]


def frozen_ports(student: nn.Module) -> list[Port]:
    """What all students of a family share: constants of a graph, under their own names."""
    return [
        Port(name, tuple(value.shape), value.dtype, per_device=False, constant=value.detach())
        for name, value in frozen_tensors(student).items()
    ]


def slot_ports(student: nn.Module, optimizer: Optimizer) -> list[Port]:
    """The optimizer's memory: for each slot, one value for every parameter that learns."""
    return [
        Port(f"{name}.{slot}", tuple(value.shape), is_state=True)
        for slot in RULES[optimizer].slots
        for name, value in student_state(student).trainable.items()
    ]


def _weighing(values: Mapping[str, Tensor], places: int) -> Tensor:
    """Which rows of a step weigh, 1 or 0 each: float [rows]."""
    weight = values["hard_weight"]
    if "soft_weight" in values:
        weight = weight + values["soft_weight"]
    if places:
        weight = weight.sum(tuple(range(1, 1 + places)))
    return torch.lt(torch.zeros(()), weight).to(weight.dtype)


def _written_out(norms: BatchNormalization) -> AbstractContextManager[None]:
    """A context in which torch's functions are those that a capture can take."""
    return substituted(
        {
            (functional, "batch_norm"): norms,
            (functional, "scaled_dot_product_attention"): attention,
            (functional, "embedding_bag"): bag_of_rows,
            **ADAPTIVE_POOLS,
            **layers(),
            **Randomness().substitutes,
        }
    )


def _targets(values: dict[str, Tensor], *, places: int) -> StepTargets:
    """The targets; where rows have several `places`, each place becomes a row."""
    if places:
        temperature = {"temperature": values["temperature"]} if "temperature" in values else {}
        names = {field.name for field in fields(StepTargets)} - {"temperature"}
        values = {n: v.flatten(0, places) for n, v in values.items() if n in names} | temperature
    return StepTargets(
        labels=values["labels"],
        hard_weight=values["hard_weight"],
        soft_weight=values.get("soft_weight"),
        soft_labels=values.get("soft_labels"),
        soft_indices=values.get("soft_indices"),
        soft_probabilities=values.get("soft_probabilities"),
        temperature=values.get("temperature"),
    )


def trace(function: Callable[..., tuple[Tensor, ...]], ports: list[Port]) -> GraphModule:
    """The graph of a function of tensors, one for each port."""
    examples = [torch.zeros(port.shape, dtype=port.dtype) for port in ports]
    traced = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True, record_stack_traces=True)(
        *examples
    )
    with preserve_node_meta():  # the second pass knows which line of a module an operator came from
        module = make_fx(
            functionalize(_Again(traced).run),
            decomposition_table=decomposition_table(),
            tracing_mode="fake",
            _allow_non_fake_inputs=True,
        )(*examples)
    rewrite(module)
    return module


class _Again(Interpreter):
    """Runs a traced graph again. What was a view of a tensor in one order may not be one in another, which
    a decomposition has chosen.
    """

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target in (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default):
            return args[0].reshape(args[1])
        return super().call_function(target, args, kwargs)
