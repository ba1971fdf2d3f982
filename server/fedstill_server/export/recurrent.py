"""Recurrent layers as two operators of a captured graph: all places of one layer, and their gradients.

torch's own take one operator or twenty for each place. What these compute is said by their translation
(`fedstill_server.export.lowering.recurrent`); torch needs little more than the shapes. A layer in one
direction is

    recurrence(kind, is_reversed, keeps, x, h0, c0, w, r, b) -> [y, c_end, *kept]
    recurrence_backward(kind, is_reversed, dy, dc_end, kept, w, r) -> [dx, dh0, dc0, dw, dr, db]

over x [T, B, I], with w [G * H, I] and r [G * H, H] as torch has them, and `kept`, which only the second
reads. c0, c_end and their gradients are those of an LSTM, and copies of h0 for the others. The bias b is the
sum of torch's two; of a GRU, whose new state reads them apart, it is [of r in n, r, z, of x in n].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from fedstill_server.export.errors import ExportError
from fedstill_server.export.substitutes import Substitutes

KINDS = {"lstm": 7, "gru": 6, "rnn_tanh": 2, "rnn_relu": 2}
"""Kinds of layers, and how many tensors each keeps for its gradients."""

_TORCHS = {kind: getattr(torch._VF, kind) for kind in KINDS}


def _shapes(
    kind: str, is_reversed: bool, keeps: bool, x: Tensor, h0: Tensor, *others: Tensor
) -> list[Tensor]:
    y = x.new_empty(*x.shape[:2], h0.shape[-1])
    return [y, torch.empty_like(h0), *(torch.empty_like(y) for _ in range(KINDS[kind] * keeps))]


def _gradient_shapes(
    kind: str, is_reversed: bool, dy: Tensor, dc_end: Tensor, kept: Sequence[Tensor], w: Tensor, r: Tensor
) -> list[Tensor]:
    dx = dy.new_empty(*dy.shape[:2], w.shape[1])
    biases = 4 * r.shape[1] if kind == "gru" else len(r)
    states = [torch.empty_like(dc_end) for _ in range(2)]
    return [dx, *states, torch.empty_like(w), torch.empty_like(r), dy.new_empty(biases)]


def _computed(kind: str, is_reversed: bool, keeps: bool, x: Tensor, *others: Tensor) -> list[Tensor]:
    """The layer by torch's own: a part of a network that nobody trains is computed while it is captured."""
    h0, c0, w, r, b = others
    if keeps:
        raise NotImplementedError(f"{kind}: only a graph has the gradients of fedstill::recurrence")
    biases = b, torch.zeros_like(b)
    if kind == "gru":
        of_q, of_x = b[: r.shape[1]], b[r.shape[1] :]
        biases = of_x, torch.cat([torch.zeros_like(of_x[: -len(of_q)]), of_q])
    states: Any = (h0[None], c0[None]) if kind == "lstm" else h0[None]
    read = x.flip(0) if is_reversed else x
    y, *ends = _TORCHS[kind](read, states, [w, r, *biases], True, 1, 0.0, False, False, False)
    return [y.flip(0) if is_reversed else y, ends[-1][0]]


torch.library.define(
    "fedstill::recurrence",
    "(str kind, bool is_reversed, bool keeps, Tensor x, Tensor h0, Tensor c0, Tensor w, Tensor r, Tensor b)"
    " -> Tensor[]",
)
torch.library.define(
    "fedstill::recurrence_backward",
    "(str kind, bool is_reversed, Tensor dy, Tensor dc_end, Tensor[] kept, Tensor w, Tensor r) -> Tensor[]",
)
torch.library.register_fake("fedstill::recurrence", _shapes)
torch.library.impl("fedstill::recurrence", "cpu", _computed)
torch.library.register_fake("fedstill::recurrence_backward", _gradient_shapes)


class _Recurrence(torch.autograd.Function):
    """`recurrence`, with `recurrence_backward` as its gradient."""

    @staticmethod
    def forward(kind: str, is_reversed: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.ops.fedstill.recurrence(kind, is_reversed, True, *tensors))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.form = inputs[:2]
        ctx.save_for_backward(*inputs[-3:-1], *output[2:])
        ctx.mark_non_differentiable(*output[2:])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        w, r, *kept = ctx.saved_tensors
        found = torch.ops.fedstill.recurrence_backward(*ctx.form, *gradients[:2], kept, w, r)
        return None, None, *found


class _Call(NamedTuple):
    """What torch.nn.LSTM and its kin give to torch.lstm and its kin."""

    input: Tensor  # [rows, T, I] or [T, rows, I]
    states: Any
    parameters: Sequence[Tensor]
    has_biases: bool
    layers: int
    dropout: float
    training: bool
    both_ways: bool
    rows_first: bool


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """A recurrent layer or a stack of them: what torch.lstm, gru, rnn_tanh or rnn_relu computes.

    Attributes:
        kind: A name of `KINDS`.
    """

    kind: str

    def __call__(self, *arguments: Any) -> tuple[Tensor, ...]:
        """The states of the last layer at all places, and the states of all layers after the last."""
        if not isinstance(arguments[3], bool):
            raise ExportError(
                f"{self.kind}: rows of torch.nn.utils.rnn.pack_padded_sequence; those of a step have one "
                "length: give the layer the padded tensor"
            )
        call = _Call(*arguments)
        h0, c0 = call.states if self.kind == "lstm" else (call.states, call.states)
        if h0.shape[-1] != c0.shape[-1]:
            raise ExportError("lstm: proj_size; leave it 0, and put a Linear behind the layer")
        directions, each = 1 + call.both_ways, 2 + 2 * call.has_biases
        y = call.input
        ends = []
        for layer in range(call.layers):
            if layer and call.dropout and call.training:
                y = functional.dropout(y, call.dropout, training=True)
            found, x = [], y.transpose(0, 1) if call.rows_first else y
            for at in range(layer * directions, (layer + 1) * directions):
                own = call.parameters[at * each : (at + 1) * each]
                states = h0[at], c0[at]
                way, *end = _one_layer(self.kind, bool(at % directions), x, states, own)
                found.append(way)
                ends.append(end)
            y = torch.cat(found, -1) if call.both_ways else found[0]
            y = y.transpose(0, 1) if call.rows_first else y
        h, c = (torch.stack(states) for states in zip(*ends, strict=True))
        after = (h, c) if self.kind == "lstm" else (h,)
        return y, *after


def layers() -> Substitutes:
    """What stands for torch's recurrent layers."""
    return {(torch._VF, kind): Recurrence(kind=kind) for kind in KINDS}


def _one_layer(
    kind: str, is_reversed: bool, x: Tensor, states: tuple[Tensor, Tensor], parameters: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """The states [T, rows, H] of a layer in one direction, and the last ones."""
    w, r, *biases = parameters
    if not biases:
        b = torch.zeros(4 * r.shape[1] if kind == "gru" else len(r))
    elif kind == "gru":
        of_w, of_r = (bias.chunk(3) for bias in biases)
        b = torch.cat([of_r[2], of_w[0] + of_r[0], of_w[1] + of_r[1], of_w[2]])
    else:
        b = biases[0] + biases[1]
    tensors = x, *states, w, r, b
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        y, c_end, *_ = _Recurrence.apply(kind, is_reversed, *tensors)  # type: ignore[no-untyped-call]
    else:
        y, c_end = torch.ops.fedstill.recurrence(kind, is_reversed, False, *tensors)
    return y, y[0 if is_reversed else -1], c_end
