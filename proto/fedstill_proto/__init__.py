"""The contract between a fedstill server and its devices, and its codecs."""

from importlib.metadata import version

from fedstill_proto.system import telemetry as telemetry

__version__ = version("fedstill")  # one distribution holds all packages; pyproject.toml has the number
