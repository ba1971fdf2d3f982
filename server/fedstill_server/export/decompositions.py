"""Which aten operators are taken apart when a network is captured, and how.

What `export/lowering` translates stays whole. Everything else is taken apart by torch's own decompositions to
the Core ATen IR, or by the ones below where torch's end in primitives without a translation, or choose
between branches: ONNX Runtime's Where costs as much as twenty products, so activations are sums of branches
that are zero on the other's side, and their slopes are products with comparisons.
"""

from __future__ import annotations

import functools
import math
import string
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, get_decompositions

from fedstill_server.export.lowering import OPERATORS

Decomposition = Callable[..., Any]
aten = torch.ops.aten
_ALIKE = 16.0
"""Beyond it log(1 + exp(x)) is x in float32."""

_BEYOND_CORE = (
    aten._addmm_activation,
    aten._batch_norm_no_update,
    aten._batch_norm_with_update,
    aten._batch_norm_with_update_functional,
    aten._native_batch_norm_legit,
    aten._native_batch_norm_legit_functional,
    aten._native_batch_norm_legit_no_training,
    aten.adaptive_max_pool2d,
    aten.addmv,
    aten.batch_norm_backward,
    aten.bucketize,
    aten.cudnn_batch_norm,
    aten.diagonal_scatter,
    aten.dist,
    aten.grid_sampler_2d,
    aten.ldexp,
    aten.native_batch_norm,
    aten.tril_indices,
    aten.triu_indices,
    aten.unfold,
    aten.upsample_bicubic2d,
    aten.upsample_bilinear2d,
    aten.upsample_nearest2d,
    aten.upsample_trilinear3d,
)
"""Operators that torch knows how to take apart, though its core set keeps them or leaves them out."""


@functools.cache
def decomposition_table() -> dict[Any, Decomposition]:
    """The decomposition of every operator that has one and no translation, for `make_fx`."""
    table = {**core_aten_decompositions(), **get_decompositions(_BEYOND_CORE), **_OWN}
    return {operator: decomposition for operator, decomposition in table.items() if operator not in OPERATORS}


def layer_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalizes over the last dimensions (Ba, Kiros and Hinton, 2016, arXiv:1607.06450)."""
    dimensions = list(range(x.dim() - len(normalized_shape), x.dim()))
    normalized, mean, scale = _normalized(x, dimensions, eps)
    return _affine(normalized, weight, bias), mean, scale


def layer_norm_backward(
    gradient: Tensor,
    x: Tensor,
    normalized_shape: Sequence[int],
    mean: Tensor,
    scale: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of the input, the weight and the bias."""
    rows = x.dim() - len(normalized_shape)
    outer, inner = list(range(rows)), list(range(rows, x.dim()))
    normalized = (x - mean) * scale
    input_gradient = weight_gradient = bias_gradient = None
    if wanted[0]:
        weighted = gradient if weight is None else gradient * weight
        input_gradient = _normalized_backward(weighted, normalized, scale, inner)
    if wanted[1] and weight is not None:
        product = gradient * normalized
        weight_gradient = product.sum(outer) if outer else product
    if wanted[2] and bias is not None:
        bias_gradient = gradient.sum(outer) if outer else gradient.clone()
    return input_gradient, weight_gradient, bias_gradient


def group_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    rows: int,
    channels: int,
    places: int,
    groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalizes over the channels and places of a group (Wu and He, 2018, arXiv:1803.08494)."""
    grouped = x.reshape(rows, groups, channels // groups, places)
    normalized, mean, scale = _normalized(grouped, [2, 3], eps)
    lying = (1, groups, channels // groups, 1)
    weight, bias = (None if each is None else each.reshape(lying) for each in (weight, bias))
    answer = _affine(normalized, weight, bias).reshape(x.shape)
    return answer, mean.reshape(rows, groups), scale.reshape(rows, groups)


def group_norm_backward(
    gradient: Tensor,
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    weight: Tensor | None,
    rows: int,
    channels: int,
    places: int,
    groups: int,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of the input, the weight and the bias."""
    shape = (rows, groups, channels // groups, places)
    grouped = gradient.reshape(shape)
    scale = scale.reshape(rows, groups, 1, 1)
    normalized = (x.reshape(shape) - mean.reshape(rows, groups, 1, 1)) * scale
    input_gradient = weight_gradient = bias_gradient = None
    if wanted[0]:
        weighted = grouped if weight is None else grouped * weight.reshape(1, groups, channels // groups, 1)
        input_gradient = _normalized_backward(weighted, normalized, scale, [2, 3]).reshape(x.shape)
    if wanted[1] and weight is not None:
        weight_gradient = (grouped * normalized).sum([0, 3]).reshape(channels)
    if wanted[2]:
        bias_gradient = grouped.sum([0, 3]).reshape(channels)
    return input_gradient, weight_gradient, bias_gradient


def rms_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, eps: float | None
) -> tuple[Tensor, Tensor]:
    """Divides by the root mean square of the last dimensions (Zhang and Sennrich, 2019, arXiv:1910.07467)."""
    dimensions = list(range(x.dim() - len(normalized_shape), x.dim()))
    least = torch.finfo(x.dtype).eps if eps is None else eps
    scale = ((x * x).mean(dimensions, keepdim=True) + least).rsqrt()
    return _affine(x * scale, weight, None), scale


def rms_norm_backward(
    gradient: Tensor,
    x: Tensor,
    normalized_shape: Sequence[int],
    scale: Tensor,
    weight: Tensor | None,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of the input and the weight."""
    rows = x.dim() - len(normalized_shape)
    outer, inner = list(range(rows)), list(range(rows, x.dim()))
    normalized = x * scale
    input_gradient = weight_gradient = None
    if wanted[0]:
        weighted = gradient if weight is None else gradient * weight
        along = (weighted * normalized).mean(inner, keepdim=True)
        input_gradient = (weighted - normalized * along) * scale
    if wanted[1] and weight is not None:
        product = gradient * normalized
        weight_gradient = product.sum(outer) if outer else product
    return input_gradient, weight_gradient


def variance(
    x: Tensor,
    dimensions: Sequence[int] | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> Tensor:
    """The mean square distance from the mean, its divisor lessened by `correction` (1 unless given)."""
    return variance_and_mean(x, dimensions, correction=correction, keepdim=keepdim)[0]


def variance_and_mean(
    x: Tensor,
    dimensions: Sequence[int] | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> tuple[Tensor, Tensor]:
    """The variance and the mean over dimensions (None: all)."""
    over = list(dimensions) if dimensions else list(range(x.dim()))
    count = math.prod(x.shape[dimension] for dimension in over)
    mean = x.mean(over, keepdim=True)
    centred = x - mean
    total = (centred * centred).sum(over, keepdim=keepdim)
    found = total / max(count - (1 if correction is None else correction), 0)
    return found, mean if keepdim else mean.reshape(found.shape)


def deviation(
    x: Tensor,
    dimensions: Sequence[int] | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> Tensor:
    """The root of the variance."""
    return variance(x, dimensions, correction=correction, keepdim=keepdim).sqrt()


def deviation_and_mean(
    x: Tensor,
    dimensions: Sequence[int] | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> tuple[Tensor, Tensor]:
    """The root of the variance, and the mean."""
    found, mean = variance_and_mean(x, dimensions, correction=correction, keepdim=keepdim)
    return found.sqrt(), mean


def vector_norm(
    x: Tensor,
    order: float = 2,
    dimensions: Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """The p-norm over dimensions (None: all)."""
    over = list(dimensions) if dimensions else list(range(x.dim()))
    if not over:
        return x.abs()
    if order == 2:
        return (x * x).sum(over, keepdim=keepdim).sqrt()
    if order == 1:
        return x.abs().sum(over, keepdim=keepdim)
    if order == 0:
        return (x != 0).to(x.dtype).sum(over, keepdim=keepdim)
    if math.isinf(order):
        extreme = torch.amax if order > 0 else torch.amin
        return extreme(x.abs(), over, keepdim=keepdim)
    return x.abs().pow(order).sum(over, keepdim=keepdim).pow(1.0 / order)


def distances(x: Tensor, y: Tensor, order: float, mode: int | None) -> Tensor:
    """The p-norm of the difference of each row of x and each of y: [..., rows of x, rows of y]."""
    return vector_norm(x.unsqueeze(-2) - y.unsqueeze(-3), order, [-1])


def distances_backward(gradient: Tensor, x: Tensor, y: Tensor, order: float, found: Tensor) -> Tensor:
    """The gradient of x; where rows are equal it is 0."""
    apart = x.unsqueeze(-2) - y.unsqueeze(-3)  # [..., rows of x, rows of y, width]
    if order == 0:
        return torch.zeros_like(x)
    if order == 1:
        return (gradient.unsqueeze(-1) * apart.sign()).sum(-2)
    length = torch.clamp_min(found, 1e-30).unsqueeze(-1)
    if order == 2:
        return (gradient.unsqueeze(-1) * (apart / length)).sum(-2)
    if math.isinf(order):
        slope = apart.sign() * _mask(apart.abs() == found.unsqueeze(-1), apart)
    else:
        slope = apart.sign() * (apart.abs() / length).pow(order - 1)
    return (gradient.unsqueeze(-1) * slope).sum(-2)


def sum_of_products(x: Tensor, first: Tensor, second: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * x + alpha * the sum of a batch of products of matrices."""
    return x * beta + torch.bmm(first, second).sum(0) * alpha


def rounded_to(x: Tensor, *, decimals: int) -> Tensor:
    """x rounded to a number of decimals."""
    return (x * 10.0**decimals).round() * 10.0**-decimals


def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """x * Phi(x), the distribution function of a normal number (Hendrycks and Gimpel, arXiv:1606.08415)."""
    if approximate == "tanh":
        return 0.5 * x * (1.0 + _tanh_of_gelu(x))
    return 0.5 * x * (1.0 + torch.erf(x * math.sqrt(0.5)))


def gelu_backward(gradient: Tensor, x: Tensor, *, approximate: str = "none") -> Tensor:
    """gradient * (Phi(x) + x * phi(x)), or the slope of its approximation by tanh."""
    if approximate == "tanh":
        tanh = _tanh_of_gelu(x)
        inner = math.sqrt(2.0 / math.pi) * (1.0 + 3.0 * 0.044715 * x * x)
        return gradient * (0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * inner)
    density = torch.exp(-0.5 * x * x) * math.sqrt(0.5 / math.pi)
    return gradient * (0.5 * (1.0 + torch.erf(x * math.sqrt(0.5))) + x * density)


def silu(x: Tensor) -> Tensor:
    """x * sigmoid(x)."""
    return x * torch.sigmoid(x)


def silu_backward(gradient: Tensor, x: Tensor) -> Tensor:
    """gradient * s * (1 + x * (1 - s)), s = sigmoid(x)."""
    gate = torch.sigmoid(x)
    return gradient * (gate * (1.0 + x * (1.0 - gate)))


def elu(x: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Tensor:
    """scale * x where x > 0, else scale * alpha * (exp(input_scale * x) - 1)."""
    below = (torch.exp(torch.clamp_max(x, 0.0) * input_scale) - 1.0) * (alpha * scale)
    return torch.clamp_min(x, 0.0) * scale + below


def elu_backward(
    gradient: Tensor, alpha: float, scale: float, input_scale: float, is_result: bool, x: Tensor
) -> Tensor:
    """The gradient of ELU, from its argument or from its result."""
    low = torch.clamp_max(x, 0.0)
    at_zero = alpha * scale * input_scale
    if is_result:
        slope = low * input_scale + at_zero
    else:
        slope = torch.exp(low * input_scale) * at_zero
    return gradient * (slope + _mask(x > 0.0, x) * (scale - at_zero))


def leaky_relu(x: Tensor, slope: float = 0.01) -> Tensor:
    """x where x > 0, else slope * x."""
    return torch.clamp_min(x, 0.0) + torch.clamp_max(x, 0.0) * slope


def leaky_relu_backward(gradient: Tensor, x: Tensor, slope: float, is_result: bool) -> Tensor:
    """The gradient of leaky ReLU."""
    return gradient * (_mask(x > 0.0, x) * (1.0 - slope) + slope)


def hardtanh(x: Tensor, low: float = -1.0, high: float = 1.0) -> Tensor:
    """x within limits."""
    return torch.clamp(x, low, high)


def hardtanh_backward(gradient: Tensor, x: Tensor, low: float, high: float) -> Tensor:
    """The gradient passes strictly between the limits."""
    return gradient * _mask((x > low) & (x < high), x)


def hardswish(x: Tensor) -> Tensor:
    """x * clamp(x + 3, 0, 6) / 6 (Howard et al., 2019, arXiv:1905.02244).

    The factor stands inside: an outermost one ONNX Runtime draws into a product behind it, in some stacks.
    """
    return x * (torch.clamp(x + 3.0, 0.0, 6.0) * (1.0 / 6.0))


def hardswish_backward(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient of hardswish: 0 up to -3, as it is from 3."""
    between = _mask((x > -3.0) & (x < 3.0), x)
    return gradient * (between * (x * (1.0 / 3.0) + 0.5) + _mask(x >= 3.0, x))


def hardsigmoid(x: Tensor) -> Tensor:
    """clamp(x + 3, 0, 6) / 6."""
    return torch.clamp(x + 3.0, 0.0, 6.0) * (1.0 / 6.0)


def hardsigmoid_backward(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient passes strictly between -3 and 3."""
    return gradient * _mask((x > -3.0) & (x < 3.0), x) * (1.0 / 6.0)


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x > threshold."""
    scaled = x * beta
    smooth = _log_one_plus_exp(scaled) * (1.0 / beta)
    if threshold >= _ALIKE:
        return smooth
    return torch.where(scaled > threshold, x, smooth)


def softplus_backward(gradient: Tensor, x: Tensor, beta: float, threshold: float) -> Tensor:
    """gradient * sigmoid(beta * x)."""
    scaled = x * beta
    smooth = gradient * torch.sigmoid(scaled)
    if threshold >= _ALIKE:
        return smooth
    return torch.where(scaled > threshold, gradient, smooth)


def log_sigmoid_forward(x: Tensor) -> tuple[Tensor, Tensor]:
    """-log(1 + exp(-x)), and a buffer that the CPU's kernel fills."""
    return -_log_one_plus_exp(-x), torch.exp(-x.abs())


def log_sigmoid_backward(gradient: Tensor, x: Tensor, buffer: Tensor) -> Tensor:
    """gradient * sigmoid(-x)."""
    return gradient * torch.sigmoid(-x)


def mish(x: Tensor) -> Tensor:
    """x * tanh(softplus(x)) (Misra, 2019, arXiv:1908.08681)."""
    return x * _tanh_of_softplus(x)[0]


def mish_backward(gradient: Tensor, x: Tensor) -> Tensor:
    """gradient * (t + x * sigmoid(x) * (1 - t^2)), t = tanh(softplus(x))."""
    tanh, rest = _tanh_of_softplus(x)
    return gradient * (tanh + x * torch.sigmoid(x) * rest * (1.0 + tanh))


def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """x where x > 0, else weight * x; the weight is already of a shape that broadcasts."""
    return torch.clamp_min(x, 0.0) + weight * torch.clamp_max(x, 0.0)


def prelu_backward(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of the input and, for each element, of the weight."""
    above = _mask(x > 0.0, x)
    return gradient * (above + weight * (1.0 - above)), gradient * torch.clamp_max(x, 0.0)


def softshrink_backward(gradient: Tensor, x: Tensor, limit: float) -> Tensor:
    """The gradient passes beyond the limit on either side."""
    return gradient * _mask(x.abs() > limit, x)


def softshrink(x: Tensor, limit: float = 0.5) -> Tensor:
    """x, closer to 0 by the limit."""
    return torch.clamp_min(x - limit, 0.0) + torch.clamp_max(x + limit, 0.0)


def hardshrink(x: Tensor, limit: float = 0.5) -> Tensor:
    """x beyond the limit on either side, else 0."""
    return x * _mask(x.abs() > limit, x)


def threshold(x: Tensor, limit: float, value: float) -> Tensor:
    """x above the limit, else the value."""
    above = _mask(x > limit, x)
    return x * above + (1.0 - above) * value


def trilinear(
    first: Tensor,
    second: Tensor,
    third: Tensor,
    expand1: Sequence[int],
    expand2: Sequence[int],
    expand3: Sequence[int],
    summed: Sequence[int],
    unroll: int = 1,
) -> Tensor:
    """Sums of products of three tensors, each of which gets new dimensions first: as products of two."""
    letters = string.ascii_lowercase[: first.dim() + len(expand1)]
    first_has, second_has, third_has, result_has = (
        "".join(letter for place, letter in enumerate(letters) if place not in left_out)
        for left_out in (expand1, expand2, expand3, summed)
    )
    named = f"{first_has},{second_has},{third_has}->{result_has}"
    return torch.einsum(named, first, second, third)


def _normalized(x: Tensor, dimensions: list[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """x with mean 0 and variance 1 over dimensions, and the mean and the scale that make it so."""
    mean = x.mean(dimensions, keepdim=True)
    centred = x - mean
    scale = ((centred * centred).mean(dimensions, keepdim=True) + eps).rsqrt()
    return centred * scale, mean, scale


def _normalized_backward(
    gradient: Tensor, normalized: Tensor, scale: Tensor, dimensions: list[int]
) -> Tensor:
    """scale * (gradient - mean(gradient) - normalized * mean(gradient * normalized))."""
    mean = gradient.mean(dimensions, keepdim=True)
    along = (gradient * normalized).mean(dimensions, keepdim=True)
    return (gradient - mean - normalized * along) * scale


def _affine(normalized: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        normalized = normalized * weight
    return normalized if bias is None else normalized + bias


def _mask(holds: Tensor, like: Tensor) -> Tensor:
    """1 where a comparison holds, else 0."""
    return holds.to(like.dtype)


def _tanh_of_softplus(x: Tensor) -> tuple[Tensor, Tensor]:
    """t = tanh(log(1 + e^x)) = n / (n + 2) with n = e^x (e^x + 2), and 1 - t = 2 / (n + 2)."""
    exponential = torch.exp(torch.clamp_max(x, 20.0))
    product = exponential * (exponential + 2.0)
    return product / (product + 2.0), 2.0 / (product + 2.0)


def _tanh_of_gelu(x: Tensor) -> Tensor:
    return torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x))


def _log_one_plus_exp(x: Tensor) -> Tensor:
    """max(x, 0) + log(1 + exp(-|x|)), which does not overflow."""
    return torch.clamp_min(x, 0.0) + torch.log1p(torch.exp(-x.abs()))


_OWN: dict[Any, Decomposition] = {
    aten.native_layer_norm.default: layer_norm,
    aten.native_layer_norm_backward.default: layer_norm_backward,
    aten.native_group_norm.default: group_norm,
    aten.native_group_norm_backward.default: group_norm_backward,
    aten._fused_rms_norm.default: rms_norm,
    aten._fused_rms_norm_backward.default: rms_norm_backward,
    aten.var.correction: variance,
    aten.var_mean.correction: variance_and_mean,
    aten.std.correction: deviation,
    aten.std_mean.correction: deviation_and_mean,
    aten.linalg_vector_norm.default: vector_norm,
    aten._cdist_forward.default: distances,
    aten._cdist_backward.default: distances_backward,
    aten.addbmm.default: sum_of_products,
    aten.round.decimals: rounded_to,
    aten.gelu.default: gelu,
    aten.gelu_backward.default: gelu_backward,
    aten.silu.default: silu,
    aten.silu_backward.default: silu_backward,
    aten.elu.default: elu,
    aten.elu_backward.default: elu_backward,
    aten.leaky_relu.default: leaky_relu,
    aten.leaky_relu_backward.default: leaky_relu_backward,
    aten.hardtanh.default: hardtanh,
    aten.hardtanh_backward.default: hardtanh_backward,
    aten.hardswish.default: hardswish,
    aten.hardswish_backward.default: hardswish_backward,
    aten.hardsigmoid.default: hardsigmoid,
    aten.hardsigmoid_backward.default: hardsigmoid_backward,
    aten.softplus.default: softplus,
    aten.softplus_backward.default: softplus_backward,
    aten.log_sigmoid_forward.default: log_sigmoid_forward,
    aten.log_sigmoid_backward.default: log_sigmoid_backward,
    aten.hardshrink.default: hardshrink,
    aten.hardshrink_backward.default: softshrink_backward,
    aten.softshrink.default: softshrink,
    aten.softshrink_backward.default: softshrink_backward,
    aten.threshold.default: threshold,
    aten._trilinear.default: trilinear,
    aten.mish.default: mish,
    aten.mish_backward.default: mish_backward,
    aten._prelu_kernel.default: prelu,
    aten._prelu_kernel_backward.default: prelu_backward,
}
