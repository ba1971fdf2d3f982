"""Teachers of every kind behind one interface: what they answer to examples, and their digest."""

from fedstill_server.distill.teachers.ensemble import EnsembleTeacher
from fedstill_server.distill.teachers.estimator import EstimatorTeacher
from fedstill_server.distill.teachers.interface import TeacherAnswers, TeacherModel
from fedstill_server.distill.teachers.onnx_file import OnnxTeacher
from fedstill_server.distill.teachers.torch_module import TorchTeacher

__all__ = [
    "EnsembleTeacher",
    "EstimatorTeacher",
    "OnnxTeacher",
    "TeacherAnswers",
    "TeacherModel",
    "TorchTeacher",
]
