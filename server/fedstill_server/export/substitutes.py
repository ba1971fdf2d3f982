"""Functions of torch that a capture writes in other words, while a student is traced.

Batch normalization in training takes its statistics over the rows that weigh: the rows of a step beyond a
device's own are padding. Its running statistics come out as new values, for nothing is changed in place.
Attention is written as its products and its softmax, which every operator below knows how to lower.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.nn import functional

from fedstill_server.export.errors import ExportError
from fedstill_server.plugins import own_line

_FEW, _MANY = 512, 4096
"""Values of a channel from which a product of vectors is faster than two passes, and one of its lines."""

Substitutes = Mapping[tuple[Any, str], Callable[..., Any]]
"""What stands for an attribute of a module or class: (owner, name) -> function."""
_embedding_bag = functional.embedding_bag
_OF_DATA = ("_local_scalar_dense", "data-dependent")


@contextmanager
def substituted(substitutes: Substitutes) -> Iterator[None]:
    """A context in which these attributes are others, and modules are told that they are being compiled.

    They leave out what reads numbers then, such as warnings about the examples.

    Raises:
        ExportError: What is computed hangs on the numbers in a tensor.
    """
    substitutes = {(torch.compiler, "is_compiling"): lambda: True, **substitutes}
    before = {(owner, name): owner.__dict__.get(name) for owner, name in substitutes}
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        for (owner, name), function in substitutes.items():
            setattr(owner, name, function)
        yield
    except (RuntimeError, DataDependentOutputException, DynamicOutputShapeException) as error:
        if isinstance(error, RuntimeError) and not any(word in str(error) for word in _OF_DATA):
            raise
        raise ExportError(
            f"{own_line(error)}: decides by the numbers in a tensor (an if, .item(), a mask as an index), "
            "but a graph does the same for all examples; choose with torch.where, or multiply with the mask"
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for (owner, name), function in before.items():
            if function is None:
                delattr(owner, name)  # it was inherited
            else:
                setattr(owner, name, function)


class BatchNormalization:
    """Batch normalization (Ioffe and Szegedy, 2015, arXiv:1502.03167) as a capture writes it.

    Args:
        rows: The rows of a batch.
        weighing: Which of them weigh, 1 or 0 each: float [rows]; None outside of training.
        buffers: The moving buffers by name.

    Attributes:
        moved: The new values of the buffers that a pass has moved, by name.
    """

    def __init__(self, *, rows: int, weighing: Tensor | None, buffers: Mapping[str, Tensor]) -> None:
        self._rows, self._weighing = rows, weighing
        self._names = {id(value): name for name, value in buffers.items()}
        self.moved: dict[str, Tensor] = {}

    def __call__(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """What torch.nn.functional.batch_norm computes of [rows, channels, ...]."""
        frozen = not training or id(running_mean) not in self._names
        if running_mean is not None and running_var is not None and (frozen or self._weighing is None):
            return _with_statistics(input, running_mean, running_var, weight, bias, eps)
        if (
            input.shape[0] % self._rows
        ):  # no rows: such as weights, which are standardized so (arXiv:1903.10520)
            each = torch.ones(input.shape[0])
        elif self._weighing is not None:
            each = self._weighing.repeat_interleave(input.shape[0] // self._rows)
        else:
            raise ExportError(
                "batch normalization without running statistics: an answer would depend on the examples that "
                "come with it; keep track_running_stats=True, or take nn.GroupNorm"
            )
        ones, zeros = torch.ones(input.shape[1]), torch.zeros(input.shape[1])
        result, mean, variance = _Normalized.apply(
            input, each, ones if weight is None else weight, zeros if bias is None else bias, eps
        )  # type: ignore[no-untyped-call]
        if running_mean is not None and running_var is not None:
            count = each.sum() * math.prod(input.shape[2:])
            unbiased = variance * (count / (count - 1).clamp_min(1.0))
            share = momentum * torch.lt(torch.zeros(()), count).to(input.dtype)
            for buffer, now in ((running_mean, mean), (running_var, unbiased)):
                name = self._names[id(buffer)]
                before = self.moved.get(name, buffer)
                self.moved[name] = before + (now - before) * share
        return result  # type: ignore[no-any-return]


def pooled_adaptively(pool: Callable[..., Tensor], places: int) -> Callable[..., Tensor]:
    """One of torch's adaptive average pools; torch's own leaves a mean over everything in a strange layout.

    Args:
        pool: The pool.
        places: How many dimensions it pools.
    """

    def adaptive_average_pool(x: Tensor, output_size: int | Sequence[int | None]) -> Tensor:
        sizes = (output_size,) * places if isinstance(output_size, int) else tuple(output_size)
        if all(size == 1 for size in sizes):
            return x.mean(tuple(range(-places, 0)), keepdim=True)
        return pool(x.contiguous(), output_size)

    return adaptive_average_pool


ADAPTIVE_POOLS: dict[tuple[Any, str], Callable[..., Any]] = {
    (functional, f"adaptive_avg_pool{places}d"): pooled_adaptively(
        getattr(functional, f"adaptive_avg_pool{places}d"), places
    )
    for places in (1, 2, 3)
}


def without_changes_in_place(student: nn.Module) -> None:
    """Let layers that may write over what they read, such as nn.ReLU(inplace=True), not do so.

    They compute the same; but what is written through a view has no gradient that a graph could hold.
    """
    for layer in student.modules():
        if getattr(layer, "inplace", False) is True:
            setattr(layer, "inplace", False)  # noqa: B010 - nn.Module knows tensors and modules alone


def _channels(values: Tensor, like: Tensor) -> Tensor:
    """Values of channels [C] in the rank of [rows, C, ...]."""
    return values.reshape(1, -1, *(1,) * (like.dim() - 2))


def _with_statistics(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    scale = 1.0 / (variance + eps).sqrt()
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    if bias is not None:
        shift = shift + bias
    return x * _channels(scale, x) + _channels(shift, x)


class _Normalized(torch.autograd.Function):
    """Normalization by the statistics of the rows that weigh, its gradient in closed form.

    With n values of a channel, x' = (x - mean) / sqrt(variance + eps) and g the gradient of the result,

        dL/dx = weight / sqrt(variance + eps) * (g - (sum g + x' sum(g x')) / n)

    where rows that don't weigh have no part in the last term, as they had none in mean and variance. What is
    of a channel is multiplied out first: each pass over the values of an image costs more than its sums do.
    """

    @staticmethod
    def forward(
        x: Tensor, weighing: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        count = (weighing.sum() * math.prod(x.shape[2:])).clamp_min(1.0)
        mean = _row_sums(x, weighing) / count
        centred = x - _channels(mean, x)
        variance = _products(centred, centred * _rows(weighing, x)) / count
        scale = weight / (variance + eps).sqrt()
        return centred * _channels(scale, x) + _channels(bias, x), mean, variance

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, weighing, weight, _, eps = inputs
        _, mean, variance = output
        ctx.mark_non_differentiable(mean, variance)
        ctx.save_for_backward(x, weighing, weight, mean, variance)
        ctx.eps = eps

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        gradient = gradients[0]
        x, weighing, weight, mean, variance = ctx.saved_tensors
        count = (weighing.sum() * math.prod(x.shape[2:])).clamp_min(1.0)
        inverse = 1.0 / (variance + ctx.eps).sqrt()
        scale = weight * inverse
        rows = _rows(weighing, x)
        centred = x - _channels(mean, x)
        weighed = centred * rows
        bias_gradient = _sums(gradient)
        weight_gradient = _products(gradient, weighed) * inverse
        along = weighed * _channels(scale * inverse * weight_gradient / count, x)
        level = _channels(scale * bias_gradient / count, x) * rows
        x_gradient = gradient * _channels(scale, x) - along - level
        return x_gradient, None, weight_gradient, bias_gradient, None


def _rows(weighing: Tensor, like: Tensor) -> Tensor:
    """Values of rows [rows] in the rank of [rows, C, ...]."""
    return weighing.reshape(-1, *(1,) * (like.dim() - 1))


def _products(left: Tensor, right: Tensor) -> Tensor:
    """The sum of the products of two tensors over rows and places: [C].

    Where there are many, they are never written down: each channel, or each of its lines, is a product of two
    vectors. Sums of lines are also more exact than one long sum.
    """
    values = left.numel() // left.shape[1]
    if left.dim() == 2 or values < _FEW:
        return _sums(left * right)
    order = (1, *range(2, left.dim()), 0)  # as images lie in a stack
    channels, lines = left.shape[1], left.shape[2] if values >= _MANY else 1
    left, right = (each.permute(order).reshape(channels * lines, 1, -1) for each in (left, right))
    return torch.bmm(left, right.transpose(1, 2)).reshape(channels, lines).sum(1)


def _sums(x: Tensor) -> Tensor:
    """The sum over rows and places: [C]; over places first, for one long sum is less exact."""
    of_rows = x.sum(tuple(range(2, x.dim()))) if x.dim() > 2 else x
    return of_rows.sum(0)


def _row_sums(x: Tensor, weighing: Tensor) -> Tensor:
    """The sum over places, and over the rows that weigh: [C]."""
    of_rows = x.sum(tuple(range(2, x.dim()))) if x.dim() > 2 else x  # [rows, C]
    return (of_rows * weighing.unsqueeze(-1)).sum(0)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """What torch.nn.functional.scaled_dot_product_attention computes (Vaswani et al. 2017,
    arXiv:1706.03762), in products and a softmax.
    """
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * factor) @ key.transpose(-2, -1)
    if is_causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        attn_mask = allowed if attn_mask is None else attn_mask
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        # The least float32 where nothing may be read: a row of which all is hidden stays finite.
        scores = scores.masked_fill(attn_mask.logical_not(), torch.finfo(torch.float32).min)
    elif attn_mask is not None:
        scores = scores + attn_mask
    shares = functional.softmax(scores, -1)
    if dropout_p:
        shares = functional.dropout(shares, dropout_p, training=True)
    return shares @ value


def bag_of_rows(input: Tensor, weight: Tensor, *positional: Any, **options: Any) -> Tensor:
    """What torch.nn.functional.embedding_bag computes of bags of one size, [bags, words], as rows that are
    looked up and then put together.
    """
    given = inspect.signature(_embedding_bag).bind(input, weight, *positional, **options)
    given.apply_defaults()
    chosen = given.arguments
    if input.dim() != 2 or chosen["max_norm"] is not None or chosen["scale_grad_by_freq"]:
        return _embedding_bag(*given.args, **given.kwargs)
    padding, factors = chosen["padding_idx"], chosen["per_sample_weights"]
    rows = functional.embedding(input, weight, padding)  # [bags, words, width]
    counted = torch.ones(input.shape) if padding is None else (input != padding).to(weight.dtype)
    if chosen["mode"] == "max":
        hidden = (1.0 - counted).unsqueeze(-1) * torch.finfo(torch.float32).min
        some = counted.amax(1, keepdim=True)
        return (rows + hidden).max(1).values * some
    parts = rows * (counted if factors is None else factors * counted).unsqueeze(-1)
    if chosen["mode"] == "sum":
        return parts.sum(1)
    return parts.sum(1) / counted.sum(1, keepdim=True).clamp_min(1.0)
