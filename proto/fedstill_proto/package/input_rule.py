"""How values, as people and sensors give them, become what a network reads; and the names of classes.

A rule is computed once, from the public set. It travels with the fleet's configuration and inside each
package, and server, simulator and device apply the same one. What it makes of a value depends on that value
alone, so that a batch and its rows give the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fedstill_proto.arrays import Float64Array, FloatArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.v1 import fedstill_pb2 as pb

NORMALIZATIONS = ("auto", "none", "bytes", "unit", "standardize")
CHANNELS = ("auto", "first", "last")
ELEMENT_TYPES = ("float32", "uint8")
CLASS_NAME_LENGTH = 200
_VALUES_AT_ONCE = 1 << 22
_PARTS_LIMIT = 4096  # channels or columns with numbers of their own; more would not fit a manifest
_LARGEST = 1e18  # of offset, scale and 1 / scale
_COLOURS = (1, 3, 4)
# The root mean square of a channel or column that is of about unit scale; and of 8-bit numbers / 255.
_MOST, _LEAST, _LEAST_OF_BYTES = 4.0, 0.01, 0.1
_FAR = 5.0  # times the range of magnitudes of the public examples


@dataclass(frozen=True, kw_only=True)
class InputRule:
    """What a network reads of a value: (value - offset) * scale, in float32, channels first.

    The rule without arguments changes nothing, whatever the type of the values.

    Attributes:
        element_type: What examples are given as: "uint8" for whole numbers from 0 to 255, or "float32".
        channels_last: Whether the channels are the last dimension of an example as it is given; the network
            reads them as its first.
        offset: One number, or one for each channel (each column of a vector).
        scale: The same.
        usual: The least and the largest root mean square of a public example as it is given; (0, 0) is
            unknown.
    """

    element_type: str = "float32"
    channels_last: bool = False
    offset: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    usual: tuple[float, ...] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if self.element_type not in ELEMENT_TYPES:
            raise InvalidValue("element_type", f"{self.element_type!r:.40} is neither float32 nor uint8")
        for name in ("offset", "scale", "usual"):
            values = getattr(self, name)
            if not all(isinstance(value, int | float) and abs(value) <= _LARGEST for value in values):
                raise InvalidValue(name, f"{values!r:.60} are not finite numbers of up to {_LARGEST:g}")
        if not 1 <= len(self.offset) == len(self.scale) <= _PARTS_LIMIT:
            problem = (
                f"{len(self.offset)} offsets and {len(self.scale)} scales; give 1 to {_PARTS_LIMIT} of each"
            )
            raise InvalidValue("offset", problem)
        if not all(abs(value) >= 1 / _LARGEST for value in self.scale):
            raise InvalidValue("scale", f"{self.scale!r:.60} holds a 0, which would hide what it scales")
        if len(self.usual) != 2 or not 0 <= self.usual[0] <= self.usual[1]:
            raise InvalidValue("usual", f"{self.usual!r:.60} are not a least and a largest magnitude")

    @classmethod
    def of(cls, public_x: npt.ArrayLike, *, normalize: str = "auto", channels: str = "auto") -> InputRule:
        """Compute the rule of a public set.

        Args:
            public_x: Public examples [n, ...], as they are given.
            normalize: "none" leaves values as they are, and "bytes" all but uint8, which it divides by 255.
                "unit" does so, too, and maps other numbers to 0 to 1, from the least to the largest of each
                channel or column. "standardize" gives each channel or column the mean 0 and the standard
                deviation 1. "auto" is as "bytes", and standardizes what is far from unit scale.
            channels: Which dimension of an example holds its channels: "first" or "last"; "auto" is the last
                of three where it is 1, 3 or 4 and the others are larger.

        Returns:
            The rule.

        Raises:
            InvalidValue: For another word, a vector whose channels were to be last, or what are no numbers.
        """
        x = np.asarray(public_x)
        if normalize not in NORMALIZATIONS:
            raise InvalidValue("normalize", f"{normalize!r} is none of {', '.join(NORMALIZATIONS)}")
        if channels not in CHANNELS:
            raise InvalidValue("channels", f"{channels!r} is none of {', '.join(CHANNELS)}")
        if x.dtype.kind not in "fiub" or x.ndim < 2:
            raise InvalidValue("x", f"{x.dtype} of shape {list(x.shape)}; give numbers [examples, ...]")
        if not np.isfinite(x).all():
            raise InvalidValue("x", "holds a value that is not finite")
        last = channels == "last" or (channels == "auto" and _looks_channels_last(x.shape[1:]))
        if last and x.ndim < 3:
            raise InvalidValue(
                "channels", f"examples of shape {list(x.shape[1:])} have none that could be last"
            )
        kind = "uint8" if x.dtype == np.uint8 else "float32"
        offset, scale = _numbers(np.moveaxis(x, -1, 1) if last else x, kind, normalize)
        return cls(element_type=kind, channels_last=last, offset=offset, scale=scale, usual=_usual(x))

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> InputRule:
        """The rule whose fields, as `dataclasses.asdict` gives them, have been JSON since."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in document.items()
        }
        return cls(**fields)

    @property
    def changes_nothing(self) -> bool:
        """Whether a network reads values as they are given."""
        return self.element_type == "float32" and not self.channels_last and self.keeps_scale

    @property
    def keeps_scale(self) -> bool:
        """Whether no value is changed."""
        return self.offset == (0.0,) and self.scale == (1.0,)

    def reads_as(self, other: InputRule) -> bool:
        """Whether both make the same of a value."""
        return (self.channels_last, self.offset, self.scale) == (
            other.channels_last,
            other.offset,
            other.scale,
        )

    def given_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of one example as it is given, of that which the network reads."""
        return (*input_shape[1:], input_shape[0]) if self.channels_last else tuple(input_shape)

    def read_shape(self, given_shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of one example as the network reads it."""
        return (given_shape[-1], *given_shape[:-1]) if self.channels_last else tuple(given_shape)

    def check(self, input_shape: Sequence[int]) -> None:
        """Raise InvalidValue unless a network that reads examples of this shape can have this rule."""
        if self.channels_last and len(input_shape) < 2:
            raise InvalidValue("channels_last", f"examples of shape {list(input_shape)} have no channels")
        if len(self.offset) not in (1, *input_shape[:1]):
            problem = f"{len(self.offset)} numbers for examples of shape {list(input_shape)}"
            raise InvalidValue("offset", problem)

    def apply(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What the network reads of examples [n, *given_shape], float32 [n, *input_shape].

        A rule that changes nothing returns x itself, of the type that it has.
        """
        if self.changes_nothing:
            return x
        with np.errstate(over="ignore"):  # what does not fit becomes infinite; callers refuse that
            values: FloatArray = np.asarray(x, np.float32)
            if self.channels_last:
                values = np.moveaxis(values, -1, 1)
            if not self.keeps_scale:
                beside = (-1,) + (1,) * (values.ndim - 2)
                offset, scale = (
                    np.array(part, np.float32).reshape(beside) for part in (self.offset, self.scale)
                )
                values = (values - offset) * scale
        return np.ascontiguousarray(values)

    def notice(self) -> str:
        """One line on what is done to values; empty where nothing is."""
        said = ["channels come last"] if self.channels_last else []
        if not self.keeps_scale:
            where = "" if len(self.offset) == 1 else f" in the first of {len(self.offset)} channels"
            said.append(f"a network reads (value - {self.offset[0]:.4g}) * {self.scale[0]:.4g}{where}")
        return f"inputs: {'; '.join(said)}" if said else ""

    def doubt(self, x: npt.NDArray[Any]) -> str:
        """One line where examples are of another scale than all public ones; empty where they are not.

        Args:
            x: Examples [n, *given_shape], as they are given.
        """
        least, largest = self.usual
        if not len(x) or not largest:
            return ""
        found = float(np.median(_magnitudes(x)))
        if least / _FAR <= found <= largest * _FAR or not found:
            return ""
        return (
            f"these examples have values of about {found:.3g} (root mean square), the fleet's public ones of "
            f"{least:.3g} to {largest:.3g}: are they scaled otherwise?"
        )


def check_class_names(names: Sequence[str], classes: int) -> None:
    """Raise InvalidValue unless these name all classes, each by a different line of text; () names none."""
    if not names:
        return
    if len(names) != classes:
        raise InvalidValue("class_names", f"{len(names)} names for {classes} classes")
    for name in names:
        if not isinstance(name, str) or not 1 <= len(name) <= CLASS_NAME_LENGTH or not name.isprintable():
            problem = f"{name!r:.60} is not a line of 1 to {CLASS_NAME_LENGTH} characters"
            raise InvalidValue("class_names", problem)
    if len(set(names)) != len(names):
        raise InvalidValue("class_names", f"{max(names, key=names.count)!r:.60} names two classes")


def rule_message(rule: InputRule) -> pb.InputRule | None:
    """The rule as a message; None for the rule that says nothing."""
    if rule == InputRule():
        return None
    return pb.InputRule(
        element_type=rule.element_type,
        channels_last=rule.channels_last,
        offset=rule.offset,
        scale=rule.scale,
        usual=rule.usual,
    )


def rule_of_message(message: pb.InputRule) -> InputRule:
    """The rule of a message; raises InvalidValue, naming the field."""
    return InputRule(
        element_type=message.element_type,
        channels_last=message.channels_last,
        offset=tuple(message.offset),
        scale=tuple(message.scale),
        usual=tuple(message.usual),
    )


def _looks_channels_last(shape: Sequence[int]) -> bool:
    return len(shape) == 3 and shape[2] in _COLOURS and min(shape[:2]) > shape[2]


def _numbers(x: npt.NDArray[Any], kind: str, normalize: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Offset and scale of public examples, channels first."""
    of_bytes = kind == "uint8"
    if normalize == "none" or (not of_bytes and (normalize == "bytes" or not len(x))):
        return (0.0,), (1.0,)
    by_255 = (0.0,), (_short(1 / 255),)
    if of_bytes and (normalize in ("bytes", "unit") or not len(x)):
        return by_255
    mean, variance, low, high = _moments(x)
    if normalize == "auto":
        squares = (variance + mean * mean) / (255**2 if of_bytes else 1)
        overall = math.sqrt(float(squares.mean()))
        least = _LEAST_OF_BYTES if of_bytes else _LEAST
        if not overall or (overall >= least and squares.max() <= _MOST**2):
            return by_255 if of_bytes else ((0.0,), (1.0,))
    offset, spread = (low, high - low) if normalize == "unit" else (mean, np.sqrt(variance))
    # A channel that is constant in the public set keeps its unit.
    constant = spread <= 1e-6 * np.maximum(np.abs(low), np.abs(high))
    scale = 1 / np.where(constant, 1.0, spread)
    return tuple(map(_short, offset.tolist())), tuple(map(_short, scale.tolist()))


def _parts(x: npt.NDArray[Any]) -> Float64Array:
    """The values of each channel, or column: [parts, values]. Pictures without channels are one part."""
    shape = x.shape[1:]
    own = len(shape) in (1, 3) or len(shape) > 3 or 2 * shape[0] <= shape[1]
    if not own or shape[0] > _PARTS_LIMIT:
        return x.reshape(1, -1).astype(np.float64)
    return np.moveaxis(x, 1, 0).reshape(shape[0], -1).astype(np.float64)


def _moments(x: npt.NDArray[Any]) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array]:
    """Mean, variance, least and largest value of each channel or column [parts].

    Blocks of rows are merged (Chan, Golub and LeVeque 1983): a public set in float64 may not fit into memory.
    """
    count = 0
    mean, squares, low, high = (np.full(1, value) for value in (0.0, 0.0, np.inf, -np.inf))
    for block in _blocks(x):
        parts = _parts(block)
        values, block_mean = parts.shape[1], parts.mean(axis=1)
        moved = block_mean - mean
        count += values
        mean = mean + moved * (values / count)
        squares = squares + parts.var(axis=1) * values + moved * moved * ((count - values) * values / count)
        low, high = np.minimum(low, parts.min(axis=1)), np.maximum(high, parts.max(axis=1))
    return mean, squares / count, low, high


def _blocks(x: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    rows = max(1, _VALUES_AT_ONCE // max(1, math.prod(x.shape[1:])))
    return (x[start : start + rows] for start in range(0, len(x), rows))


def _magnitudes(x: npt.NDArray[Any]) -> Float64Array:
    """The root mean square of each example [n]."""
    flat = (block.reshape(len(block), -1).astype(np.float64) for block in _blocks(x))
    return np.concatenate([np.zeros(0), *(np.sqrt(np.mean(block * block, axis=1)) for block in flat)])


def _usual(x: npt.NDArray[Any]) -> tuple[float, float]:
    found = _magnitudes(x)
    found = found[found > 0]
    return (_short(found.min()), _short(found.max())) if len(found) else (0.0, 0.0)


def _short(value: float) -> float:
    """The number in as many digits as a float32 has, so that files stay short."""
    return float(f"{value:.9g}")
