"""Arrays of .npz and .npy files, read without pickle; nothing in a file is ever executed."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedstill_proto.readers.errors import DataError

Array = npt.NDArray[Any]
_DAMAGED = (EOFError, NotImplementedError, OSError, ValueError, zipfile.BadZipFile, zlib.error)
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_NPY = b"\x93NUMPY"


def read_arrays(file: Path, *, optional: Collection[str] | None = None) -> dict[str, Array]:
    """The named arrays of a .npz file.

    Args:
        file: Written by numpy.savez.
        optional: The names that are wanted; None is all that the file holds. A name that is not there is left
            out.

    Raises:
        DataError: For a file that is missing, damaged or something else; it names the file and what to do.
    """
    start = _start_of(file)
    if start.startswith(_NPY):
        raise DataError(
            f"{file}: is a single array without a name; save named arrays: numpy.savez('{file.stem}.npz', "
            "x=x, y=y)"
        )
    if not start.startswith(_ZIP):
        raise DataError(f"{file}: is no .npz file; save named arrays with numpy.savez, or give a .csv table")
    try:
        with np.load(file, allow_pickle=False) as archive:
            names = [name for name in archive.files if optional is None or name in optional]
            return {name: archive[name] for name in names}
    except _DAMAGED as error:
        raise _unreadable(file, error) from None


def read_array(file: Path) -> Array:
    """The array of a .npy file.

    Raises:
        DataError: As for `read_arrays`.
    """
    if not _start_of(file).startswith(_NPY):
        raise DataError(f"{file}: is no .npy file; save one array with numpy.save")
    try:
        array: Array = np.load(file, allow_pickle=False)
    except _DAMAGED as error:
        raise _unreadable(file, error) from None
    return array


def _start_of(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(len(_NPY))
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such file") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from None


def _unreadable(file: Path, error: Exception) -> DataError:
    if "pickle" in str(error).lower():  # numpy's text asks to switch the protection off
        return DataError(f"{file}: holds Python objects, which are not read; save arrays of numbers")
    return DataError(f"{file}: is damaged or cut short ({error}); write it again")
