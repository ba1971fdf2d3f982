"""Captures what a student computes, for one device, as a small graph of aten operators.

`make_fx` runs the function once on tensors without storage and writes down every operator. Devices are
stacked later, when the graph is lowered to ONNX (see `fedstill_server.export.lowering`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from fedstill_proto.messages import Optimizer
from torch import Tensor, nn
from torch.func import functional_call, vjp
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.graph_module import GraphModule

from fedstill_server.export.loss import StepTargets, loss_and_logit_gradient
from fedstill_server.export.optimizers import RULES, Scalars
from fedstill_server.export.ports import CapturedGraph, Port
from fedstill_server.export.rewrites import rewrite
from fedstill_server.export.text_loss import text_loss_and_logit_gradient
from fedstill_server.families.features import with_features


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
    """

    rows: int
    input_shape: tuple[int, ...]
    classes: int
    soft_labels: str
    k: int = 0
    label_shape: tuple[int, ...] = ()
    input_type: torch.dtype = torch.float32

    @property
    def ports(self) -> list[Port]:
        """The graph's inputs of a batch: examples, labels, and the soft part in its form."""
        places = (self.rows, *self.label_shape)
        ports = [
            Port("x", (self.rows, *self.input_shape), self.input_type),
            Port("labels", places, torch.int64),
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
        return [*ports, Port("soft_weight", places), Port("temperature", (), per_device=False)]


def capture_training_step(student: nn.Module, batch: StepBatch, *, optimizer: Optimizer) -> CapturedGraph:
    """Capture the forward pass, distillation loss, backward pass and optimizer of one step.

    Where rows have a label at each of several places, the loss takes all places as rows.
    """
    rule = RULES[optimizer]
    places = len(batch.label_shape)
    loss_of = text_loss_and_logit_gradient if places else loss_and_logit_gradient
    names = [name for name, _ in student.named_parameters()]
    state = parameter_ports(student) + slot_ports(student, optimizer)
    scalar_ports = [Port(name, (), per_device=False) for name in rule.scalars]
    ports = state + batch.ports + [Port("lr", ())] + scalar_ports

    def step(*arguments: Tensor) -> tuple[Tensor, ...]:
        values = {port.name: value for port, value in zip(ports, arguments, strict=True)}
        parameters = {name: values[name] for name in names}

        def answer(parameters: dict[str, Tensor]) -> Tensor:
            logits: Tensor = functional_call(student, parameters, (values["x"],))
            return logits.flatten(0, places) if places else logits

        logits, pull_back, *_ = vjp(answer, parameters)
        loss, logit_gradient = loss_of(
            logits,
            _targets(values, places=places),
            step_scale=values["lr"] if rule.scales_rows else None,
        )
        (gradients,) = pull_back(logit_gradient)
        scalars: Scalars = {name: values[name] for name in ("lr", *rule.scalars)}
        updated: dict[str, Tensor] = {}
        for name in names:
            slots = tuple(values[f"{name}.{slot}"] for slot in rule.slots)
            updated[name], new_slots = rule.update(parameters[name], gradients[name], slots, scalars)
            updated |= {f"{name}.{slot}": new for slot, new in zip(rule.slots, new_slots, strict=True)}
        return (*(updated[port.name] for port in state), loss)

    outputs = (*(f"{port.name}.new" for port in state), "loss")
    return CapturedGraph(trace(step, ports), tuple(ports), outputs)


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
    ports = [*parameter_ports(student), Port("x", (rows, *input_shape), input_type)]

    def forward(*arguments: Tensor) -> tuple[Tensor, ...]:
        *parameters, x = arguments
        named = {port.name: value for port, value in zip(ports, parameters, strict=False)}
        if features:
            return with_features(student, lambda: functional_call(student, named, (x,)))
        return (functional_call(student, named, (x,)),)

    outputs = ("logits", "features") if features else ("logits",)
    return CapturedGraph(trace(forward, ports), tuple(ports), outputs)


def parameter_ports(student: nn.Module) -> list[Port]:
    """The inputs of a graph for the student's parameters."""
    return [Port(name, tuple(value.shape), is_state=True) for name, value in student.named_parameters()]


def slot_ports(student: nn.Module, optimizer: Optimizer) -> list[Port]:
    """The optimizer's memory: for each slot, one value for every parameter."""
    return [
        Port(f"{port.name}.{slot}", port.shape, is_state=True)
        for slot in RULES[optimizer].slots
        for port in parameter_ports(student)
    ]


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
    module = make_fx(function, tracing_mode="fake")(*examples)
    rewrite(module)
    return module
