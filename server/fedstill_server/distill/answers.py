"""A teacher's cached answers: asked once, read in every epoch and every later run, and without the teacher.

A file holds the teacher's logits (and features) for examples that are known by the SHA-256 of their bytes,
and the teacher's digest. Another teacher's answers are refused, never mixed in. The teacher is asked for what
the file does not hold, and the file is extended. Reading a row costs a training step nothing but an index.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from fedstill_proto.arrays import FloatArray
from fedstill_proto.system.files import SHARED, replace_file
from fedstill_proto.system.sealed import BLANK, SEAL, DamagedFile, seal_of, sealed

from fedstill_server.distill.errors import DistillError, StaleAnswers
from fedstill_server.teachers.interface import TeacherAnswers, TeacherModel

_FORMAT = "fedstill-answers-1"


def sample_keys(x: FloatArray) -> list[bytes]:
    """SHA-256 of each example's shape and bytes."""
    head = repr(x.shape[1:]).encode()
    return [hashlib.sha256(head + np.ascontiguousarray(row, "<f4").tobytes()).digest() for row in x]


class AnswerFile:
    """The file of one teacher's answers."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def answers(self, teacher: TeacherModel, x: FloatArray, *, layers: Sequence[str] = ()) -> TeacherAnswers:
        """The teacher's answers to examples; it is asked only where the file does not hold them.

        Args:
            teacher: Whose answers the file holds.
            x: Examples [n, *input_shape].
            layers: The layers whose features are needed, too.

        Raises:
            StaleAnswers: The file holds another teacher's answers.
            DistillError: The file is damaged.
        """
        keys = sample_keys(x)
        cached = self.read(teacher.digest) if self.path.exists() else {}
        # An example without one of the layers is asked again as a whole.
        missing = [n for n, key in enumerate(keys) if key not in cached or not _has(cached[key], layers)]
        if missing:
            asked = teacher.answer(x[missing], layers=layers)
            for place, n in enumerate(missing):
                cached[keys[n]] = {"logits": asked.logits[place]} | {
                    f"features/{layer}": asked.features[layer][place] for layer in layers
                }
            self._write(teacher.digest, cached)
        return _stacked([cached[key] for key in keys], layers)

    def recalled(self, x: FloatArray, *, layers: Sequence[str] = ()) -> TeacherAnswers:
        """The cached answers alone, with no teacher at hand.

        Raises:
            DistillError: The file lacks the answer to an example, or is damaged.
        """
        cached = self.read(None)
        keys = sample_keys(x)
        missing = sum(key not in cached or not _has(cached[key], layers) for key in keys)
        if missing:
            raise DistillError(f"{self.path}: no answers to {missing} of {len(x)} examples; ask a teacher")
        return _stacked([cached[key] for key in keys], layers)

    def read(self, digest: str | None) -> dict[bytes, dict[str, FloatArray]]:
        """The answers by example, as arrays by name.

        Args:
            digest: The teacher that they must be of; None takes any.

        Raises:
            StaleAnswers: They are another teacher's.
            DistillError: This is no file of answers.
        """
        try:
            blob = self.path.read_bytes()
            seal_of(blob, where=self.path, remedy="delete it, and the teacher is asked again")
            arrays = safetensors.numpy.load(blob)
            header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])["__metadata__"]
            samples = arrays.pop("samples")
            holds = (
                header["format"] == _FORMAT
                and "logits" in arrays
                and samples.shape == (len(arrays["logits"]), 32)
                and samples.dtype == np.uint8
                and all(len(a) == len(samples) and a.dtype == np.float32 for a in arrays.values())
                and all(np.isfinite(a).all() for a in arrays.values())
            )
            whose = header["teacher"]
        except (DamagedFile, OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
            raise DistillError(f"{self.path}: not a file of a teacher's answers ({error})") from None
        if not holds:
            raise DistillError(f"{self.path}: not a file of a teacher's answers")
        if digest is not None and whose != digest:
            raise StaleAnswers(
                f"{self.path}: the answers of another teacher ({whose[:12]}, not {digest[:12]}); delete the "
                "file or name another"
            )
        return {
            key.tobytes(): {name: array[row] for name, array in arrays.items()}
            for row, key in enumerate(samples)
        }

    def _write(self, digest: str, rows: dict[bytes, dict[str, FloatArray]]) -> None:
        # Layers that only some examples have cannot stand in one array; the file keeps what all have.
        shared = set.intersection(*(set(row) for row in rows.values()))
        arrays = {name: np.stack([row[name] for row in rows.values()]) for name in sorted(shared)}
        samples = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 32)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"format": _FORMAT, "teacher": digest, SEAL: BLANK}
        blob = safetensors.numpy.save({**arrays, "samples": samples}, metadata=metadata)
        replace_file(self.path, sealed(blob), mode=SHARED)


def _has(row: dict[str, FloatArray], layers: Sequence[str]) -> bool:
    return all(f"features/{layer}" in row for layer in layers)


def _stacked(rows: Sequence[dict[str, FloatArray]], layers: Sequence[str]) -> TeacherAnswers:
    return TeacherAnswers(
        np.stack([row["logits"] for row in rows]),
        {layer: np.stack([row[f"features/{layer}"] for row in rows]) for layer in layers},
    )
