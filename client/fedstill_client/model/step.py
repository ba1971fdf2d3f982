"""The arrays that one step of a training graph reads, apart from the student itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.package.artifact import StudentManifest

from fedstill_client.model.prefix import Prefix


@dataclass(frozen=True)
class StepArrays:
    """One step of C devices with R rows each; the soft arrays are there when the artifact reads them.

    A row of text has a label at each of its S places, and one of another target than a class has several:
    what is [C, R] here is [C, R, S] then.
    """

    x: FloatArray  # [C, R, *shape], behind the prefix if any; int64 numbers of words where it is text
    labels: npt.NDArray[Any]  # [C, R], int64; float32 of a regression
    hard_weight: FloatArray  # [C, R]
    lr: FloatArray  # [C]
    temperature: FloatArray | None  # [1]
    soft_weight: FloatArray | None  # [C, R]
    soft_labels: FloatArray | None  # [C, R, K] of a dense artifact
    soft_indices: IntArray | None  # [C, R, k] of a top-k artifact
    soft_probabilities: FloatArray | None  # [C, R, k]
    uniforms: Mapping[str, FloatArray]  # [C, *shape] each, random numbers from 0 up to, and without, 1
    prefix: Prefix | None = None  # what examples go through before they become x

    @classmethod
    def empty(
        cls, manifest: StudentManifest, *, classes: int | None = None, prefix: Prefix | None = None
    ) -> StepArrays:
        """Zeros in the shapes of an artifact; `classes` of a dense soft label, if not the manifest's."""
        examples = (manifest.stack_size, manifest.step_rows)
        rows = (*examples, *manifest.label_shape)
        classes = classes or manifest.classes
        soft, dense, top_k = (
            manifest.soft_labels != "none",
            manifest.soft_labels == "dense",
            (*rows, manifest.k),
        )
        sparse = soft and not dense
        batch = cls(
            x=np.zeros((*examples, *manifest.read_shape), manifest.read_type),
            labels=np.zeros(rows, manifest.target.label_type),
            hard_weight=np.zeros(rows, np.float32),
            lr=np.zeros(manifest.stack_size, np.float32),
            temperature=np.ones(1, np.float32) if soft and not manifest.target.is_regression else None,
            soft_weight=np.zeros(rows, np.float32) if soft else None,
            soft_labels=np.zeros((*rows, classes), np.float32) if dense else None,
            soft_indices=np.zeros(top_k, np.int64) if sparse else None,
            soft_probabilities=np.zeros(top_k, np.float32) if sparse else None,
            uniforms={
                port.name: np.zeros((manifest.stack_size, *port.shape), np.float32)
                for port in manifest.uniforms
            },
            prefix=prefix,
        )
        batch.clear(temperature=1.0)
        return batch

    def clear(self, temperature: float) -> None:
        """Make every row weigh nothing; its soft label becomes a uniform one, whose loss is finite."""
        for array in (self.x, self.labels, self.hard_weight, self.lr, self.soft_weight):
            if array is not None:
                array.fill(0)
        if self.temperature is not None:
            self.temperature.fill(temperature)
        if self.soft_labels is not None:
            self.soft_labels.fill(1 / self.soft_labels.shape[-1])
        if self.soft_indices is not None and self.soft_probabilities is not None:
            self.soft_indices[:] = np.arange(self.soft_indices.shape[-1])
            self.soft_probabilities.fill(1 / (self.soft_indices.shape[-1] + 1))

    def inputs(self) -> dict[str, npt.NDArray[np.generic]]:
        """The arrays by the names of the graph's inputs."""
        named = {name: array for name, array in vars(self).items() if isinstance(array, np.ndarray)}
        return {**named, **self.uniforms}

    def read(self, x: FloatArray) -> FloatArray:
        """What the graph reads of examples x [n, *input_shape]."""
        return x if self.prefix is None else self.prefix(x)
