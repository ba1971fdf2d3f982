"""The server: teacher, student families, distillation, export, aggregation, rounds."""

import fedstill_proto.system.telemetry  # noqa: F401  (before onnxruntime and flwr)
from fedstill_proto import __version__ as __version__
