"""A fleet of devices in memory: the examples of each device, and those that all of them share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fedstill_proto.package.input_rule import InputRule
from fedstill_proto.package.target import SINGLE_LABEL, Target, TargetKind
from fedstill_proto.package.target_labels import fleets_target, learned, target_kind
from fedstill_proto.readers.errors import DataError
from fedstill_sim.data.fleet import DeviceRows, FleetData, FleetDataError

from fedstill.examples import Array, Device, as_array, checked_x, checked_y, counted, pair, split


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
        target: str = "single-label",
        name: str = "arrays",
        seed: int = 0,
        normalize: str = "auto",
        channels: str = "auto",
    ) -> Fleet:
        """Make a fleet of arrays.

        Args:
            devices: Each device by its name; those of a sequence are named device-0, device-1, ...
            public: The public set, which all devices share: a tuple (x, y), x [n, *shape] and y [n]; or x
                alone where it has no labels.
            test: (x, y) of the test set of every student; by default the test examples of all devices.
            classes: How many classes there are; by default as many as the labels show.
            target: What labels say: "single-label", one class; "multi-label", several of 0 and 1, y [n, K];
                or "regression", numbers, y [n, D].
            name: What reports call the data.
            seed: Decides which examples are held out of devices that bring no test examples.
            normalize: How inputs are scaled, by the public set. "auto" divides uint8 by 255, standardizes
                each channel or column of what is far from unit scale, and leaves all else as it is; "none",
                "unit" and "standardize" do the same to all. Packages carry the rule to devices.
            channels: Where the channels of an example are: "first" or "last"; "auto" is last where a shape
                looks so, as [32, 32, 3] does.

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
        kind = target_kind(target)
        if not kind.is_class and classes is not None:
            raise FleetDataError(
                f"classes: {classes}, but labels of target {target} are no classes; leave it out"
            )
        named = _named(devices)
        shape = checked_x("the first device", "x", next(iter(named.values())).x).shape[1:]
        parts = [
            split(f"devices[{device!r}]", given, shape, (seed, n), kind)
            for n, (device, given) in enumerate(named.items())
        ]
        public_x, public_y = pair("public", public) if isinstance(public, tuple) else (public, None)
        rule = InputRule.of(as_array("public", "x", public_x), normalize=normalize, channels=channels)
        public_x = checked_x("public", "x", public_x, shape)
        public_y = None if public_y is None else checked_y("public", "y", public_y, len(public_x), kind)
        if test is None:
            test_x = np.concatenate([part.x_test for part in parts])
            test_y = np.concatenate([part.y_test for part in parts])
        else:
            test_x, test_y = pair("test", test)
            test_x = checked_x("test", "x", test_x, shape)
            test_y = checked_y("test", "y", test_y, len(test_x), kind)
        labels: dict[str, tuple[Array, ...]] = {
            f"devices[{name!r}]": (part.y, part.y_test) for name, part in zip(named, parts, strict=True)
        }
        labels |= {"test.y": (test_y,), "public.y": () if public_y is None else (public_y,)}
        said = _target(kind, labels, public_y)
        sizes = [len(part.y) for part in parts] + [len(part.y_test) for part in parts]
        rows = np.split(np.arange(sum(sizes), dtype=np.int64), np.cumsum(sizes)[:-1])
        return cls(
            FleetData(
                name=name,
                description=f"{name}: {counted(len(parts), 'device')} as given",
                classes=_classes(labels, classes) if said.is_single else 2,
                device_names=tuple(named),
                families=("",) * len(parts),
                x=np.concatenate([part.x for part in parts] + [part.x_test for part in parts]),
                y=learned(said, np.concatenate([part.y for part in parts] + [part.y_test for part in parts])),
                train=DeviceRows.of(rows[: len(parts)]),
                test=DeviceRows.of(rows[len(parts) :]),
                public_x=public_x,
                public_y=None if public_y is None else learned(said, public_y),
                global_x=test_x,
                global_y=learned(said, test_y),
                target=said,
            ).read_by(rule)
        )

    def __len__(self) -> int:
        return self.data.devices

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the devices."""
        return self.data.device_names

    def __repr__(self) -> str:
        data = self.data
        examples = f"{counted(len(data.train.rows), 'example')} of shape {list(data.input_shape)}"
        labels = "without labels" if data.public_y is None else "with labels"
        public = f"{counted(len(data.public_x), 'public example')} {labels}"
        devices = counted(data.devices, "device")
        said = {
            TargetKind.SINGLE_LABEL: f"{data.classes} classes",
            TargetKind.MULTI_LABEL: counted(data.target.size, "label"),
            TargetKind.REGRESSION: counted(data.target.size, "number"),
        }[data.target.kind]
        return f"<Fleet {data.name}: {devices}, {examples}, {said}, {public}>"


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


def _target(kind: TargetKind, labels: Mapping[str, Sequence[Array]], public_y: Array | None) -> Target:
    """The target of a fleet with these labels, which must be as many for each example."""
    if kind.is_class:
        return SINGLE_LABEL
    sizes = {where: y.shape[1] for where, arrays in labels.items() for y in arrays}
    size = next(iter(sizes.values()))
    for where, other in sizes.items():
        if other != size:
            raise FleetDataError(f"{where}: {other} labels a row, but {next(iter(sizes))} has {size}")
    try:
        return fleets_target(kind, public_y, labels=size, where="public: y")
    except DataError as error:
        raise FleetDataError(str(error)) from None


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
