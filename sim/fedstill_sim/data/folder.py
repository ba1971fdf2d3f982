"""Data of one's own: a folder with a `client_<i>.npz` for each device.

    client_<i>.npz    x_train, y_train, x_test, y_test   of device i
    public.npz        x, optionally y                    what all devices share
    global_test.npz   x, y                               what every student is tested on

Examples are floats of one, two or three dimensions, all of one shape, used as they are: nothing is scaled.
Labels are integers from 0. Anything else in the folder is ignored.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray

from fedstill_sim.data.fleet import GLOBAL_TEST_FILE, PUBLIC_SET_FILE, DeviceRows, FleetData, FleetDataError

_CLIENT_FILE = re.compile(r"client_(\d+)\.npz")


def load_folder(folder: Path, *, families: Sequence[str] = ("mlp-small",)) -> FleetData:
    """Load the fleet that a folder describes; families are dealt out to devices in turn.

    Raises:
        FleetDataError: A file is missing or does not fit; the message names the file and the field.
    """
    if not folder.is_dir():
        raise FleetDataError(f"{folder}: not a folder")
    numbered = sorted(
        (int(match[1]), path) for path in folder.iterdir() if (match := _CLIENT_FILE.fullmatch(path.name))
    )
    if not numbered:
        raise FleetDataError(
            f"{folder}: holds no client_<i>.npz; each device needs one (client_0.npz, client_1.npz, ...)"
        )
    clients = [_NpzFile(path) for _, path in numbered]
    public, global_test = _NpzFile(folder / PUBLIC_SET_FILE), _NpzFile(folder / GLOBAL_TEST_FILE)

    shape = clients[0].examples("x_train").shape[1:]
    train = [client.pair("x_train", "y_train", shape=shape) for client in clients]
    test = [client.pair("x_test", "y_test", shape=shape) for client in clients]
    global_x, global_y = global_test.pair("x", "y", shape=shape)
    public_x = public.examples("x", shape=shape)
    public_y = public.labels("y", examples=len(public_x)) if "y" in public.arrays else None

    labels = [*(y for _, y in train), *(y for _, y in test), global_y]
    classes = int(max(y.max() for y in labels)) + 1
    if public_y is not None and public_y.max() >= classes:
        raise FleetDataError(
            f"{public.path}: y: label {public_y.max()}, but the devices' labels are 0 to {classes - 1}"
        )
    sizes = [len(y) for _, y in train] + [len(y) for _, y in test]
    rows = np.split(np.arange(sum(sizes), dtype=np.int64), np.cumsum(sizes)[:-1])
    width = len(str(numbered[-1][0]))
    return FleetData(
        name=folder.resolve().name,
        description=f"{folder.resolve().name}: {len(clients)} devices as given",
        classes=classes,
        device_names=tuple(f"client-{number:0{width}d}" for number, _ in numbered),
        families=("",) * len(clients),
        x=np.concatenate([x for x, _ in train] + [x for x, _ in test]),
        y=np.concatenate([y for _, y in train] + [y for _, y in test]),
        train=DeviceRows.of(rows[: len(clients)]),
        test=DeviceRows.of(rows[len(clients) :]),
        public_x=public_x,
        public_y=public_y,
        global_x=global_x,
        global_y=global_y,
    ).with_families(families)


class _NpzFile:
    """A .npz file; errors name the file and the field."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise FleetDataError(f"{path}: no such file")
        try:
            with np.load(path, allow_pickle=False) as stored:
                self.arrays = {name: stored[name] for name in stored.files}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise FleetDataError(f"{path}: not a readable .npz of plain arrays ({error})") from error

    def _array(self, field: str) -> npt.NDArray[Any]:
        if field not in self.arrays:
            raise FleetDataError(f"{self.path}: {field} is missing; the file holds {sorted(self.arrays)}")
        array: npt.NDArray[Any] = self.arrays[field]
        return array

    def examples(self, field: str, *, shape: tuple[int, ...] | None = None) -> FloatArray:
        """Read examples [n, *shape] as float32: at least one, all finite."""
        x = self._array(field)
        where = f"{self.path}: {field}"
        if not np.issubdtype(x.dtype, np.floating):
            raise FleetDataError(
                f"{where} is {x.dtype}; examples must be floats, and scaling them is up to you"
            )
        if x.ndim not in (2, 3, 4):
            raise FleetDataError(
                f"{where} has shape {list(x.shape)}; expected [examples, ...] with 1 to 3 dimensions each"
            )
        if shape is not None and x.shape[1:] != shape:
            raise FleetDataError(
                f"{where} has examples of shape {list(x.shape[1:])}, the first device's are {list(shape)}"
            )
        if x.size == 0:
            raise FleetDataError(f"{where} has shape {list(x.shape)}: no examples")
        narrow = x.astype(np.float32)
        if not np.isfinite(narrow).all():
            row = int(np.flatnonzero(~np.isfinite(narrow).reshape(len(x), -1).all(axis=1))[0])
            raise FleetDataError(f"{where} holds a value that is not finite in row {row}; remove or fill it")
        return narrow

    def labels(self, field: str, *, examples: int) -> IntArray:
        """Read labels [examples] as int64, from 0."""
        y = self._array(field)
        where = f"{self.path}: {field}"
        if not np.issubdtype(y.dtype, np.integer):
            raise FleetDataError(f"{where} is {y.dtype}; labels must be integers from 0")
        if y.shape != (examples,):
            raise FleetDataError(
                f"{where} has shape {list(y.shape)}; expected one label for each of {examples} examples"
            )
        if y.min() < 0:
            raise FleetDataError(f"{where} holds label {y.min()}; labels count from 0")
        return y.astype(np.int64)

    def pair(self, x_field: str, y_field: str, *, shape: tuple[int, ...]) -> tuple[FloatArray, IntArray]:
        """Read examples and their labels."""
        x = self.examples(x_field, shape=shape)
        return x, self.labels(y_field, examples=len(x))
