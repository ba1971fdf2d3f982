"""The methods, by the name that a configuration gives them."""

from __future__ import annotations

from fedstill_server.config import FleetConfig
from fedstill_server.methods.class_logits import ClassLogits
from fedstill_server.methods.fedavg import FedAvg
from fedstill_server.methods.interface import Method, ServerSide, SoftLabelUse
from fedstill_server.methods.local import Local
from fedstill_server.methods.public_logits import PublicLogits
from fedstill_server.public_set import Examples

METHODS: dict[str, type[Local] | type[FedAvg] | type[ClassLogits] | type[PublicLogits]] = {
    "local": Local,
    "fedavg": FedAvg,
    "class-logits": ClassLogits,
    "public-logits": PublicLogits,
}


def build_method(config: FleetConfig, public: Examples) -> Method:
    return METHODS[config.method](config, public)


__all__ = ["METHODS", "Method", "ServerSide", "SoftLabelUse", "build_method"]
