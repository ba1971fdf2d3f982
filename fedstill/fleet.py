"""A fleet of devices in memory: the examples of each device, and those that all of them share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedstill_proto.package.target import TargetKind
from fedstill_proto.package.target_labels import target_kind
from fedstill_sim.data.dealing import Dealing
from fedstill_sim.data.fleet import FleetData, FleetDataError
from fedstill_sim.data.given import GivenDevice, GivenFleet, fleet_of, fleet_of_devices

from fedstill.examples import Device, counted, given_pair


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
        public: Any = None,
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
                alone where it has no labels. A label of -1, or an empty one, is none. Methods such as fedavg
                need no public set.
            test: (x, y) of the test set of every student; by default the test examples of all devices.
            classes: How many classes there are, where labels are their numbers; by default as many as the
                labels show. Labels that are texts, or numbers with gaps, name classes, in their order.
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
        every = [
            GivenDevice(
                name=device,
                train=given_pair(f"devices[{device!r}]", (one.x, one.y), kind),
                test=None
                if one.x_test is None
                else given_pair(f"devices[{device!r}]", (one.x_test, one.y_test), kind, ending="_test"),
                family=one.family,
            )
            for device, one in _named(devices).items()
        ]
        given = GivenFleet(
            name=name,
            description=f"{name}: {counted(len(every), 'device')} as given",
            parts=(),
            devices=None,
            public=None if public is None else given_pair("public", public, kind, unlabelled=True),
            test=None if test is None else given_pair("test", test, kind),
        )
        return cls(
            fleet_of(
                fleet_of_devices(every, given, Dealing(seed=seed)),
                classes=classes,
                normalize=normalize,
                channels=channels,
                target=kind,
            )
        )

    def __len__(self) -> int:
        return self.data.devices

    @property
    def names(self) -> Sequence[str]:
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
