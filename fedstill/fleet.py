"""A fleet of devices in memory: the examples of each device, and those that all of them share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_sim.data.fleet import DeviceRows, FleetData, FleetDataError
from fedstill_sim.data.pools import TEST_FRACTION
from fedstill_sim.data.splits import hold_out

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Device:
    """The private examples of one device.

    Lists, arrays and torch tensors are taken alike.

    Args:
        x: Examples to learn from, [n, *shape], real numbers.
        y: Their labels [n], whole numbers from 0.
        x_test: Examples to measure the device's own student on, [m, *shape]. Without them, a quarter of x is
            held out for that.
        y_test: Their labels [m].

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

    def __post_init__(self) -> None:
        if (self.x_test is None) != (self.y_test is None):
            raise FleetDataError("device: x_test and y_test belong together; give both or neither")

    def __repr__(self) -> str:
        parts = {"x": self.x, "x_test": self.x_test}
        return f"Device({', '.join(_counted(name, x) for name, x in parts.items() if x is not None)})"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the examples of a fleet come from.

    Attributes:
        dataset: A built-in data set, whose defaults a run then has; None where it is none of those.
        folder: A folder of one's own, absolute.
        dirichlet: How skewed over classes a data set was dealt out.
        seed: With which it was.
    """

    dataset: str | None = None
    folder: str | None = None
    dirichlet: float | None = None
    seed: int | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Fleet:
    """Devices with their private examples, the public set, and the examples that every student is tested on.

    Make one with `Fleet.from_arrays`, or with a function of `fedstill.datasets`.

    Attributes:
        data: The examples of the whole fleet, as the simulator holds them.
        source: Where they come from.
    """

    data: FleetData
    source: Source = Source()

    @classmethod
    def from_arrays(
        cls,
        devices: Mapping[str, Device] | Sequence[Device],
        *,
        public: Any,
        test: tuple[Any, Any] | None = None,
        classes: int | None = None,
        name: str = "arrays",
        seed: int = 0,
    ) -> Fleet:
        """Make a fleet of arrays. Nothing is scaled: examples are used as they are, as float32.

        Args:
            devices: Each device by its name; those of a sequence are named device-0, device-1, ...
            public: The public set, which all devices share: a tuple (x, y), x [n, *shape] and y [n]; or x
                alone where it has no labels.
            test: (x, y) of the test set of every student; by default the test examples of all devices.
            classes: How many classes there are; by default as many as the labels show.
            name: What reports call the data.
            seed: Decides which examples are held out of devices that bring no test examples.

        Returns:
            The fleet.

        Raises:
            FleetDataError: Names the device and the field that does not fit, what was seen, and what to do.

        Example:
            >>> import numpy as np
            >>> x, y = np.eye(4), [0, 1, 2, 3]
            >>> Fleet.from_arrays({"ann": Device(x, y), "bob": Device(x, y)}, public=(x, y))
            <Fleet arrays: 2 devices, 6 examples of shape [4], 4 classes, 4 public examples with labels>
        """
        named = _named(devices)
        shape = _examples("the first device", "x", next(iter(named.values())).x).shape[1:]
        parts = [_split(device, given, shape, (seed, n)) for n, (device, given) in enumerate(named.items())]
        public_x, public_y = _pair("public", public) if isinstance(public, tuple) else (public, None)
        public_x = _examples("public", "x", public_x, shape)
        public_y = None if public_y is None else _labels("public", "y", public_y, len(public_x))
        if test is None:
            test_x = np.concatenate([part.x_test for part in parts])
            test_y = np.concatenate([part.y_test for part in parts])
        else:
            test_x, test_y = _pair("test", test)
            test_x = _examples("test", "x", test_x, shape)
            test_y = _labels("test", "y", test_y, len(test_x))
        labels: dict[str, tuple[Array, ...]] = {
            f"devices[{name!r}]": (part.y, part.y_test) for name, part in zip(named, parts, strict=True)
        }
        labels |= {"test.y": (test_y,), "public.y": () if public_y is None else (public_y,)}
        sizes = [len(part.y) for part in parts] + [len(part.y_test) for part in parts]
        rows = np.split(np.arange(sum(sizes), dtype=np.int64), np.cumsum(sizes)[:-1])
        return cls(
            FleetData(
                name=name,
                description=f"{name}: {_of(len(parts), 'device')} as given",
                classes=_classes(labels, classes),
                device_names=tuple(named),
                families=("",) * len(parts),
                x=np.concatenate([part.x for part in parts] + [part.x_test for part in parts]),
                y=np.concatenate([part.y for part in parts] + [part.y_test for part in parts]),
                train=DeviceRows.of(rows[: len(parts)]),
                test=DeviceRows.of(rows[len(parts) :]),
                public_x=public_x,
                public_y=public_y,
                global_x=test_x,
                global_y=test_y,
            )
        )

    def __len__(self) -> int:
        return self.data.devices

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the devices."""
        return self.data.device_names

    def __repr__(self) -> str:
        data = self.data
        examples = f"{_of(len(data.train.rows), 'example')} of shape {list(data.input_shape)}"
        labels = "without labels" if data.public_y is None else "with labels"
        public = f"{_of(len(data.public_x), 'public example')} {labels}"
        devices = _of(data.devices, "device")
        return f"<Fleet {data.name}: {devices}, {examples}, {data.classes} classes, {public}>"


@dataclass(frozen=True, eq=False)
class _Part:
    """The examples of one device, checked: x float32 [n, *shape], y int64 [n]."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array


def _named(devices: Mapping[str, Device] | Sequence[Device]) -> dict[str, Device]:
    if not isinstance(devices, Mapping):
        width = len(str(max(len(devices) - 1, 0)))
        devices = {f"device-{number:0{width}d}": device for number, device in enumerate(devices)}
    if not devices:
        raise FleetDataError("devices: none given; a fleet needs at least one")
    for name, device in devices.items():
        if not isinstance(name, str) or not name.isprintable() or not name.strip():
            raise FleetDataError(f"devices: {name!r} is no name; give each device a line of text")
        if not isinstance(device, Device):
            raise FleetDataError(f"devices[{name!r}]: {type(device).__name__} is not a fedstill.Device(x, y)")
    return dict(devices)


def _split(name: str, device: Device, shape: tuple[int, ...], seed: tuple[int, int]) -> _Part:
    """A device's examples; a quarter is held out where it brings none to test on."""
    where = f"devices[{name!r}]"
    x = _examples(where, "x", device.x, shape)
    y = _labels(where, "y", device.y, len(x))
    if device.x_test is not None:
        x_test = _examples(where, "x_test", device.x_test, shape)
        return _Part(x, y, x_test, _labels(where, "y_test", device.y_test, len(x_test)))
    if len(x) < 2:
        raise FleetDataError(
            f"{where}: one example cannot be cut into a part to learn and one to test; give x_test"
        )
    train, test = hold_out(np.arange(len(x)), fraction=TEST_FRACTION, seed=seed)
    return _Part(x[train], y[train], x[test], y[test])


def _pair(where: str, given: Any) -> tuple[Any, Any]:
    if not isinstance(given, tuple) or len(given) != 2:
        raise FleetDataError(f"{where}: give a tuple (x, y)")
    return given


def _examples(where: str, field: str, value: Any, shape: tuple[int, ...] | None = None) -> Array:
    """Examples as float32 [n, *shape]; at least one, and all finite."""
    x = _array(where, field, value)
    if x.dtype.kind not in "fiub":
        raise FleetDataError(f"{where}: {field} is {x.dtype}; examples must be real numbers")
    if x.ndim < 2 or x.size == 0:
        raise FleetDataError(
            f"{where}: {field} has shape {list(x.shape)}; expected [examples, ...], at least one"
        )
    if shape is not None and x.shape[1:] != shape:
        raise FleetDataError(
            f"{where}: {field} has examples of shape {list(x.shape[1:])}, those of the first device are "
            f"{list(shape)}"
        )
    with np.errstate(over="ignore"):
        numbers: Array = np.ascontiguousarray(x, np.float32)
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers).reshape(len(x), -1).all(axis=1))[0])
        raise FleetDataError(
            f"{where}: {field} holds a value in row {row} that is not finite as float32; remove or replace it"
        )
    return numbers


def _labels(where: str, field: str, value: Any, examples: int) -> Array:
    """Labels as int64 [examples], from 0."""
    y = _array(where, field, value)
    if y.dtype.kind not in "iu":
        raise FleetDataError(f"{where}: {field} is {y.dtype}; labels must be whole numbers from 0")
    if y.shape != (examples,):
        raise FleetDataError(
            f"{where}: {field} has shape {list(y.shape)}; expected a label for each of {examples} examples"
        )
    if y.min() < 0:
        raise FleetDataError(f"{where}: {field} holds label {y.min()}; labels count from 0")
    return y.astype(np.int64)


def _classes(labels: Mapping[str, Sequence[Array]], classes: int | None) -> int:
    """How many classes there are: as said, or as the labels show."""
    largest = {where: max(int(y.max()) for y in arrays) for where, arrays in labels.items() if arrays}
    if classes is None:
        return max(largest.values()) + 1
    for where, label in largest.items():
        if label >= classes:
            raise FleetDataError(
                f"{where}: label {label}, but classes is {classes}; labels are 0 to {classes - 1}"
            )
    return classes


def _array(where: str, field: str, value: Any) -> Array:
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
    return f"{name}: {_of(len(x), 'example')}" if hasattr(x, "__len__") else name


def _of(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
