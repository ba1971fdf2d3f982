"""Exports students: the training artifact that devices and the simulator run, and the deployable student.

A training artifact is made in four moves: capture one device's step as aten operators (capture.py, with the
loss in closed form and the optimizers), lower it to an ONNX graph of C devices (lowering/, layout.py,
graph.py), hold it against torch in float64 (gate.py), keep it (cache.py). build.py is their order.
"""

from fedstill_server.export.build import ArtifactOptions, build_artifact
from fedstill_server.export.errors import ExportError, GateError
from fedstill_server.export.gate import Difference, GateReport, Tolerance, verify_artifact
from fedstill_server.export.student import export_student

__all__ = [
    "ArtifactOptions",
    "Difference",
    "ExportError",
    "GateError",
    "GateReport",
    "Tolerance",
    "build_artifact",
    "export_student",
    "verify_artifact",
]
