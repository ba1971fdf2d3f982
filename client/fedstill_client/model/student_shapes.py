"""Whether parameters are those of a student: by name and shape."""

from __future__ import annotations

from collections.abc import Mapping

from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import FedstillError
from fedstill_proto.package.artifact import StudentManifest


class StudentMismatch(FedstillError):
    """The parameters are not those of the student family."""


def check_student(parameters: Mapping[str, FloatArray], manifest: StudentManifest, *, stacked: bool) -> None:
    """Refuse parameters that are not those of the manifest's student ([C, *shape] when `stacked`)."""
    leading = (manifest.stack_size,) if stacked else ()
    expected = {spec.name: (*leading, *spec.shape) for spec in manifest.parameters}
    shapes = {name: array.shape for name, array in parameters.items()}
    if shapes == expected:
        return
    for name, shape in expected.items():
        if shapes.get(name) != shape:
            raise StudentMismatch(
                f"parameter {name!r} has shape {shapes.get(name, 'none: it is missing')}; "
                f"the student family {manifest.family!r} needs {shape}."
            )
    extra = ", ".join(sorted(shapes.keys() - expected.keys()))
    raise StudentMismatch(f"parameters {extra} are unknown to the student family {manifest.family!r}.")
