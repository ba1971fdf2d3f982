"""The contract between a fedstill server and its devices, and its codecs."""

from fedstill_proto.system import telemetry as telemetry
