"""The simulator: a fleet of virtual devices on one machine, by the code that devices and the server run."""

from importlib.metadata import version

import fedstill_proto.system.telemetry  # noqa: F401  (before onnxruntime and flwr)

__version__ = version("fedstill")
