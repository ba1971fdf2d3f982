"""The device: personalize a student, summarize it, answer from it. Never torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import fedstill_proto
import fedstill_proto.system.telemetry  # before onnxruntime and flwr

if TYPE_CHECKING:
    from fedstill_client.service.client import AgentClient

    __version__: str

__all__ = ["AgentClient"]


def __getattr__(name: str) -> object:
    """Load what apps use when they use it: the device's own processes need no gRPC."""
    if name == "AgentClient":
        from fedstill_client.service.client import AgentClient

        return AgentClient
    if name == "__version__":
        return fedstill_proto.__version__
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
