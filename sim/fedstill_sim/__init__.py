"""The simulator: a fleet of virtual devices on one machine, by the code that devices and the server run."""

import fedstill_proto.system.telemetry  # noqa: F401  (before onnxruntime and flwr)
from fedstill_proto import __version__ as __version__
