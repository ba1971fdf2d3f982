"""The frozen first part of a student, which each example goes through once, not once a step.

What it makes of an example depends on nothing that any device trains. So the training and forward graphs read
what it made, and all devices of a stack share it. What was made is kept by the example's own bytes, as long
as there is room: rounds, epochs and checks ask for the same examples again.
"""

from __future__ import annotations

import hashlib
import math
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray
from fedstill_proto.package.artifact import FROZEN_FILE, PREFIX_FILE, TrainingArtifact

from fedstill_client.model.limits import limited
from fedstill_client.model.runtime import GraphError, session

KEPT_BYTES = 128 << 20
_ROWS_AT_ONCE = 32
_DIGEST_BYTES = 16
_RECENT = 4
_DECIDE = (FROZEN_FILE, PREFIX_FILE)

Examples = npt.NDArray[Any]


class Prefix:
    """Turns examples x [n, *input_shape] into what the artifact's other graphs read, h [n, *prefix_shape].

    Args:
        artifact: A training artifact; of one without a prefix, examples stay as they are.
        threads: Processor threads of each call.
    """

    def __init__(self, artifact: TrainingArtifact, *, threads: int = 1) -> None:
        self._manifest, self._session = artifact.manifest, None
        if artifact.prefix_graph is not None:
            self._session = session(artifact.whole(artifact.prefix_graph), threads=threads)
            ports = [port.name for port in (*self._session.get_inputs(), *self._session.get_outputs())]
            if ports != ["x", "h"]:
                raise GraphError(f"{PREFIX_FILE} has {ports}; it should turn 'x' into 'h'.")
        self._tables: list[tuple[Examples, FloatArray]] = []
        self._recent: list[tuple[Examples, FloatArray]] = []  # a plan asks for the same arrays at each step
        self._kept: dict[bytes, FloatArray] = {}

    def know(self, x: Examples, h: FloatArray) -> None:
        """Take it that examples x become h, here and in every slice of x; neither is copied."""
        self._tables.append((x, h))

    def __call__(self, x: Examples) -> Examples:
        """What the graphs read of examples x."""
        if self._session is None:
            return x
        for given, h in self._recent:
            if given is x:
                return h
        made = self._of_tables(x)
        if made is None:
            made = self._through(x)
        self._recent = [(x, made), *self._recent[: _RECENT - 1]]
        return made

    def fresh(self, x: Examples) -> Examples:
        """The same of examples that will not come again: nothing is kept."""
        return x if self._session is None else self._run(x)

    def _of_tables(self, x: Examples) -> FloatArray | None:
        """What a known table says of these rows of it; None for others."""
        row_bytes = x.itemsize * math.prod(x.shape[1:])
        for table, h in self._tables:
            first, beside = divmod(x.ctypes.data - table.ctypes.data, row_bytes)
            is_part = x.flags.c_contiguous and table.flags.c_contiguous and x.dtype == table.dtype
            if is_part and not beside and 0 <= first <= len(table) - len(x):
                part: FloatArray = h[first : first + len(x)]
                return part
        return None

    def _through(self, x: Examples) -> FloatArray:
        """All of x; only what was not seen before is computed."""
        keys = [hashlib.blake2b(row.tobytes(), digest_size=_DIGEST_BYTES).digest() for row in x]
        new = {key: place for place, key in enumerate(keys) if key not in self._kept}
        made = self._run(x[np.fromiter(new.values(), np.int64, len(new))])
        known = {**self._kept, **dict(zip(new, made, strict=True))}
        h = np.stack([known[key] for key in keys]) if keys else made
        is_room = len(known) * (math.prod(self._manifest.prefix_shape) * 4 + _DIGEST_BYTES) <= KEPT_BYTES
        self._kept = known if is_room else {}
        return h

    def _run(self, x: Examples) -> FloatArray:
        """In chunks of one size, so that an example's numbers do not depend on how many came with it."""
        h = np.empty((len(x), *self._manifest.prefix_shape), np.float32)
        for rows in chunks(len(x)):
            self.fill(x, h, rows)
        return h

    def fill(self, x: Examples, h: FloatArray, rows: slice) -> None:
        """Write what these rows of x become, at most a chunk, into those of h; threads may do so at once."""
        assert self._session is not None
        opened, part = self._session, x[rows]
        chunk = np.zeros((_ROWS_AT_ONCE, *self._manifest.input_shape), self._manifest.input_type)
        chunk[: len(part)] = part
        answered = limited(lambda options: opened.run(["h"], {"x": chunk}, options))[0]
        if answered.shape[1:] != self._manifest.prefix_shape:
            problem = f"{answered.shape[1:]} of an example; the manifest says {self._manifest.prefix_shape}."
            raise GraphError(f"{PREFIX_FILE} makes {problem}")
        h[rows] = answered[: len(part)]


def chunks(examples: int) -> list[slice]:
    """The rows that go through a prefix at once."""
    return [slice(at, min(at + _ROWS_AT_ONCE, examples)) for at in range(0, examples, _ROWS_AT_ONCE)]


_open: weakref.WeakValueDictionary[tuple[str, ...], Prefix] = weakref.WeakValueDictionary()


def prefix_of(artifact: TrainingArtifact) -> Prefix:
    """The prefix of an artifact; those of all stack sizes are one, with all that it has kept."""
    key = tuple(part.sha256 for part in artifact.manifest.parts if part.name in _DECIDE)
    if artifact.prefix_graph is None or not key:
        return Prefix(artifact)
    found = _open.get(key)
    if found is None:
        found = _open[key] = Prefix(artifact)
    return found
