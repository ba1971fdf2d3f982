"""The server's memory between rounds: the teacher, the starting students, and the method's own arrays."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Parameters

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False, kw_only=True)
class FleetState:
    """What the server knows after a round. It is never changed in place: a round makes a new one.

    Attributes:
        teacher: The teacher's parameters.
        students: The parameters of the students that devices start from, by family.
        arrays: What the method remembers, by names of its own.
    """

    teacher: Parameters
    students: Mapping[str, Parameters]
    arrays: Arrays = field(default_factory=dict)

    def replace(self, **changes: Any) -> FleetState:
        """The state with these fields changed."""
        return dataclasses.replace(self, **changes)

    def flat(self) -> Arrays:
        """All arrays under names of their own: teacher/..., students/<family>/..., arrays/..."""
        flat: Arrays = {f"teacher/{name}": array for name, array in self.teacher.items()}
        for family, student in self.students.items():
            flat |= {f"students/{family}/{name}": array for name, array in student.items()}
        return flat | {f"arrays/{name}": array for name, array in self.arrays.items()}

    @classmethod
    def from_flat(cls, flat: Arrays) -> FleetState:
        """The state whose arrays `flat` has named."""
        teacher: Parameters = {}
        students: dict[str, Parameters] = {}
        arrays: Arrays = {}
        for name, array in flat.items():
            part, _, rest = name.partition("/")
            if part == "teacher":
                teacher[rest] = array
            elif part == "students":
                family, _, parameter = rest.partition("/")
                students.setdefault(family, {})[parameter] = array
            else:
                arrays[rest] = array
        return cls(teacher=teacher, students=students, arrays=arrays)


def digest_of(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
