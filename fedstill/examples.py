"""Examples that a program holds: of a device, and of everyone; each is checked before it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.package.input_rule import InputRule
from fedstill_proto.package.target import TargetKind
from fedstill_proto.package.target_labels import checked_targets
from fedstill_proto.readers.classes import label_array
from fedstill_proto.readers.errors import DataError
from fedstill_proto.readers.given import GivenExamples
from fedstill_sim.data.fleet import FleetDataError
from fedstill_sim.data.pools import TEST_FRACTION
from fedstill_sim.data.splits import hold_out

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Device:
    """The private examples of one device.

    Lists, arrays and torch tensors are taken alike.

    Args:
        x: Examples to learn from, [n, *shape], real numbers.
        y: Their labels [n], whole numbers or texts; of a fleet with another target rows of 0 and 1 [n, K], or
            of numbers [n, D].
        x_test: Examples to measure the device's own student on, [m, *shape]. Without them, a quarter of x is
            held out for that.
        y_test: Their labels [m].
        family: The family of its student, such as "mlp-64-32"; by default, those of the run in turn.

    Raises:
        FleetDataError: One of x_test and y_test is given without the other.

    Example:
        >>> Device([[0.1, 0.9], [0.8, 0.3]], [1, 0], x_test=[[0.2, 0.7]], y_test=[1])
        Device(x: 2 examples, x_test: 1 example)
    """

    x: Any
    y: Any
    x_test: Any = None
    y_test: Any = None
    family: str = ""

    def __post_init__(self) -> None:
        if (self.x_test is None) != (self.y_test is None):
            raise FleetDataError("device: x_test and y_test belong together; give both or neither")

    def __repr__(self) -> str:
        parts = {"x": self.x, "x_test": self.x_test}
        return f"Device({', '.join(_counted(name, x) for name, x in parts.items() if x is not None)})"


@dataclass(frozen=True, eq=False)
class DeviceExamples:
    """The examples of one device, checked: x float32 [n, *shape], y int64 [n]."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array


def split(
    where: str,
    device: Device,
    shape: tuple[int, ...] | None,
    seed: tuple[int, int],
    target: TargetKind = TargetKind.SINGLE_LABEL,
    read: Callable[..., Array] | None = None,
) -> DeviceExamples:
    """A device's examples, checked; a quarter is held out where it brings none to test on.

    Args:
        where: Begins an error's text.
        device: What it brings.
        shape: Of one example, where others have said it.
        seed: Decides which examples are held out.
        target: What labels say.
        read: Reads examples; `checked_x` does by default, and `read_x` of a Flower app.

    Raises:
        FleetDataError: Names the field that does not fit.
    """
    read = read or checked_x
    x = read(where, "x", device.x, shape)
    y = checked_y(where, "y", device.y, len(x), target)
    if device.x_test is not None:
        x_test = read(where, "x_test", device.x_test, np.shape(device.x)[1:])
        return DeviceExamples(x, y, x_test, checked_y(where, "y_test", device.y_test, len(x_test), target))
    if len(x) < 2:
        raise FleetDataError(
            f"{where}: one example cannot be cut into a part to learn and one to test; give x_test"
        )
    train, test = hold_out(np.arange(len(x)), fraction=TEST_FRACTION, seed=seed)
    return DeviceExamples(x[train], y[train], x[test], y[test])


def pair(where: str, given: Any) -> tuple[Any, Any]:
    """The two of a tuple (x, y)."""
    if not isinstance(given, tuple) or len(given) != 2:
        raise FleetDataError(f"{where}: give a tuple (x, y)")
    return given


def given_pair(
    where: str, given: Any, kind: TargetKind, *, ending: str = "", unlabelled: bool = False
) -> GivenExamples:
    """Examples and labels that a program holds, for `fleet_of` to check.

    Args:
        where: Begins an error's text.
        given: A tuple (x, y), or x alone where labels may be missing.
        kind: What labels say.
        ending: Of the names x and y in an error's text.
        unlabelled: Whether labels may be missing.

    Raises:
        FleetDataError: For what are no arrays.
    """
    x, y = (given, None) if unlabelled and not isinstance(given, tuple) else pair(where, given)
    x_name, y_name = f"x{ending}", f"y{ending}"
    labels = f"{where}: {y_name}"
    try:
        said = (
            None
            if y is None
            else label_array(y, where=labels)
            if kind.is_class
            else as_array(where, y_name, y)
        )
    except DataError as error:
        raise FleetDataError(str(error)) from None
    return GivenExamples(f"{where}: {x_name}", as_array(where, x_name, x), said, labels_where=labels)


def checked_x(where: str, field: str, value: Any, shape: tuple[int, ...] | None = None) -> Array:
    """Examples as float32 [n, *shape]; at least one, and all finite."""
    x = as_array(where, field, value)
    if x.dtype.kind not in "fiub":
        raise FleetDataError(f"{where}: {field} is {x.dtype}; examples must be real numbers")
    if x.ndim < 2 or x.size == 0:
        raise FleetDataError(
            f"{where}: {field} has shape {list(x.shape)}; expected [examples, ...], at least one"
        )
    if shape is not None and x.shape[1:] != shape:
        raise FleetDataError(
            f"{where}: {field} has examples of shape {list(x.shape[1:])}, others have shape {list(shape)}"
        )
    with np.errstate(over="ignore"):
        numbers: Array = np.ascontiguousarray(x, np.float32)
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers).reshape(len(x), -1).all(axis=1))[0])
        raise FleetDataError(
            f"{where}: {field} holds a value in row {row} that is not finite as float32; remove or replace it"
        )
    return numbers


def read_x(where: str, field: str, value: Any, shape: tuple[int, ...] | None = None) -> Array:
    """The same as a network reads them in a Flower app: by their type and shape alone, alike on all nodes."""
    checked, given = checked_x(where, field, value, shape), as_array(where, field, value)
    return InputRule.of(given[:0]).apply(checked)


def checked_y(
    where: str, field: str, value: Any, examples: int, target: TargetKind = TargetKind.SINGLE_LABEL
) -> Array:
    """Labels as int64 [examples], from 0; of another target, as fedstill_sim.data.targets has them."""
    y = as_array(where, field, value)
    if not target.is_class:
        try:
            return checked_targets(target, y, examples=examples, where=f"{where}: {field}")
        except DataError as error:
            raise FleetDataError(str(error)) from None
    if y.dtype.kind not in "iu":
        raise FleetDataError(f"{where}: {field} is {y.dtype}; labels must be whole numbers from 0")
    if y.shape != (examples,):
        raise FleetDataError(
            f"{where}: {field} has shape {list(y.shape)}; expected a label for each of {examples} examples"
        )
    if y.min() < 0:
        raise FleetDataError(f"{where}: {field} holds label {y.min()}; labels count from 0")
    return y.astype(np.int64)


def as_array(where: str, field: str, value: Any) -> Array:
    """A numpy array of a list, an array or a tensor; never one of Python objects."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise FleetDataError(f"{where}: {field} cannot be read as an array ({error})") from None
    if array.dtype == object:
        raise FleetDataError(
            f"{where}: {field} holds Python objects, or rows of unequal length; give numbers"
        )
    return array


def _counted(name: str, x: Any) -> str:
    return f"{name}: {counted(len(x), 'example')}" if hasattr(x, "__len__") else name


def counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
