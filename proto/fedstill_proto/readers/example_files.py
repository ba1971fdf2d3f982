"""Examples with a file each: pictures (.png, .jpg, .bmp), and windows of measurements (.npy, .csv)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedstill_proto.errors import InvalidValue
from fedstill_proto.readers.arrays import Array, read_array
from fedstill_proto.readers.errors import DataError
from fedstill_proto.readers.tables import has_names, read_numbers, read_table
from fedstill_proto.system.extras import explain_missing

PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png")
WINDOW_SUFFIXES = (".csv", ".npy")
EXAMPLE_SUFFIXES = (*PICTURE_SUFFIXES, *WINDOW_SUFFIXES)
COLOURS = ("as they are", "grey", "rgb")
_SIZE = re.compile(r"(\d{1,4})x(\d{1,4})")


@dataclass(frozen=True, kw_only=True)
class PictureRule:
    """What is made of pictures when they are read; by default nothing.

    Attributes:
        size: (width, height) in pixels that each is resized to; None takes them as they are.
        colour: "grey" or "rgb" converts each.
    """

    size: tuple[int, int] | None = None
    colour: str = COLOURS[0]

    def __post_init__(self) -> None:
        if self.colour not in COLOURS:
            raise InvalidValue("colour", f"{self.colour!r:.40} is none of {', '.join(COLOURS)}")
        if self.size is not None and not (
            len(self.size) == 2 and all(1 <= side <= 4096 for side in self.size)
        ):
            raise InvalidValue("image_size", f"{self.size!r:.40}: width and height are 1 to 4096 pixels")


AS_THEY_ARE = PictureRule()


def size_of(text: str) -> tuple[int, int] | None:
    """The (width, height) of a text like "32x24"; None for "".

    Raises:
        InvalidValue: For another text.
    """
    if not text:
        return None
    found = _SIZE.fullmatch(text.strip().lower())
    if found is None:
        raise InvalidValue("image_size", f"{text!r:.40} is no size such as 32x32, in pixels: width x height")
    return int(found[1]), int(found[2])


def example_files(folder: Path) -> list[Path]:
    """The examples that lie in a folder, by name; files that begin with a dot are left out."""
    return sorted(file for file in _visible(folder) if file.suffix.lower() in EXAMPLE_SUFFIXES)


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """The examples of each folder in a folder that holds some, by the folder's name."""
    inside = {each.name: example_files(each) for each in sorted(_visible(folder)) if each.is_dir()}
    return {name: files for name, files in inside.items() if files}


def read_examples(files: Sequence[Path], *, pictures: PictureRule = AS_THEY_ARE) -> Array:
    """Examples that have a file each, as one array.

    Args:
        files: At least one.
        pictures: What is made of pictures.

    Returns:
        Of pictures uint8, grey [n, height, width] or in colours [n, height, width, 3]; of windows their
        numbers [n, *shape].

    Raises:
        DataError: Naming a file that cannot be read, or that is of another shape than the first.
        MissingExtra: For pictures where pillow is not installed.
    """
    found: Array | None = None
    for place, file in enumerate(files):
        example = read_example(file, pictures=pictures)
        if found is None:
            found = np.empty((len(files), *example.shape), example.dtype)
        elif example.shape != found.shape[1:] or (example.dtype == np.uint8) != (found.dtype == np.uint8):
            raise _unlike(file, example, files[0], found[0])
        found[place] = example
    if found is None:
        raise DataError("no file of examples")
    return found


def read_example(file: Path, *, pictures: PictureRule = AS_THEY_ARE) -> Array:
    """The example of one file.

    Raises:
        DataError: Naming the file, and what is wrong with it.
    """
    suffix = file.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        return _read_picture(file, pictures)
    if suffix == ".npy":
        window = read_array(file)
    else:
        window = _read_window(file)
    if window.dtype.kind not in "fiu" or window.ndim == 0 or window.size == 0:
        raise DataError(
            f"{file}: holds {window.dtype} {list(window.shape)}; an example is an array of numbers"
        )
    return window if window.dtype == np.uint8 else _finite(file, window)


def _read_picture(file: Path, rule: PictureRule) -> Array:
    with explain_missing(f"{file.name}, a picture,"):
        from PIL import Image, UnidentifiedImageError

    wanted = {"grey": "L", "rgb": "RGB"}.get(rule.colour)
    try:
        with Image.open(file) as picture:
            if picture.mode[:1] in "IF":
                raise DataError(f"{file}: has pixels of more than 8 bits ({picture.mode}); save it with 8")
            mode = wanted or ("L" if picture.mode in ("1", "L", "LA", "La") else "RGB")
            converted = picture if picture.mode == mode else picture.convert(mode)
            if rule.size is not None and converted.size != rule.size:
                converted = converted.resize(rule.size, Image.Resampling.BILINEAR)
            return np.asarray(converted, np.uint8)
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such file") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        text = "is no picture" if isinstance(error, UnidentifiedImageError) else f"cannot be read: {error}"
        raise DataError(f"{file}: {text}; save it again, or remove it") from None


def _read_window(file: Path) -> Array:
    """A .csv file of numbers: a line a channel, or with the names of channels first, a column each."""
    if has_names(file):
        table = read_table(file)
        return np.stack([table.numbers(name) for name in table.columns])
    return read_numbers(file)


def _finite(file: Path, window: Array) -> Array:
    with np.errstate(over="ignore"):
        narrow: Array = np.ascontiguousarray(window, np.float32)
    if not np.isfinite(narrow).all():
        place = [int(each) for each in np.argwhere(~np.isfinite(narrow))[0]]
        raise DataError(f"{file}: the value at {place} is not finite; remove or replace it")
    return narrow


def _unlike(file: Path, example: Array, first: Path, other: Array) -> DataError:
    remedy = "give all one shape"
    if example.dtype == other.dtype == np.uint8:
        grey = example.ndim != other.ndim
        remedy = (
            "make them alike: --image-colour grey or rgb"
            if grey
            else "make them alike, or --image-size 32x32"
        )
    return DataError(f"{file}: is {_shape(example)}, and {first} is {_shape(other)}; {remedy}")


def _shape(example: Array) -> str:
    if example.dtype != np.uint8 or example.ndim not in (2, 3):
        return f"of shape {list(example.shape)}"
    height, width = example.shape[:2]
    return f"{width}x{height} pixels, {'grey' if example.ndim == 2 else 'in colours'}"


def _visible(folder: Path) -> Iterator[Path]:
    return (entry for entry in folder.iterdir() if not entry.name.startswith("."))
