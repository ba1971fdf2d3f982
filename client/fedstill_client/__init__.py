"""The device: personalize a student, summarize it, answer from it. Never torch."""

import fedstill_proto.telemetry  # noqa: F401  (before onnxruntime and flwr)
