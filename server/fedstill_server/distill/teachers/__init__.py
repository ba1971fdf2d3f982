"""Teachers of every kind behind one interface: what they answer to examples, and their digest."""

from fedstill_server.distill.teachers.ensemble import EnsembleTeacher
from fedstill_server.distill.teachers.torch_module import TorchTeacher
from fedstill_server.teachers.estimator import EstimatorTeacher
from fedstill_server.teachers.interface import TeacherAnswers, TeacherModel
from fedstill_server.teachers.onnx_file import OnnxTeacher

__all__ = [
    "EnsembleTeacher",
    "EstimatorTeacher",
    "OnnxTeacher",
    "TeacherAnswers",
    "TeacherModel",
    "TorchTeacher",
]
