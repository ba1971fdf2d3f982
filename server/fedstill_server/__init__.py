"""The server: teacher, student families, distillation, export, aggregation, rounds."""

import fedstill_proto.telemetry  # noqa: F401  (before onnxruntime and flwr)
