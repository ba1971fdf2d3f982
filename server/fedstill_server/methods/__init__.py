"""The methods, by the name that a configuration gives them."""

from __future__ import annotations

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.data.examples import Examples
from fedstill_server.methods.cfd import Cfd
from fedstill_server.methods.class_logits import ClassLogits
from fedstill_server.methods.dsfl import DsFl
from fedstill_server.methods.fedavg import FedAvg
from fedstill_server.methods.feddf import FedDf
from fedstill_server.methods.fedgkt import FedGkt
from fedstill_server.methods.fedhkd import FedHkd
from fedstill_server.methods.fedmd import FedMD
from fedstill_server.methods.fedproto import FedProto
from fedstill_server.methods.fedstill import Fedstill
from fedstill_server.methods.fedtgp import FedTgp
from fedstill_server.methods.interface import Method, MethodClass, ServerSide, SoftLabelUse
from fedstill_server.methods.local import Local
from fedstill_server.methods.next_words import NextWords
from fedstill_server.methods.public_logits import PublicLogits
from fedstill_server.methods.scarlet import Scarlet
from fedstill_server.methods.selective import Selective

# All that anything else knows of a method by its name is in here: its class says the rest.
METHODS: dict[str, MethodClass] = {
    "fedstill": Fedstill,
    "local": Local,
    "fedavg": FedAvg,
    "class-logits": ClassLogits,
    "public-logits": PublicLogits,
    "fedmd": FedMD,
    "dsfl": DsFl,
    "scarlet": Scarlet,
    "cfd": Cfd,
    "selective": Selective,
    "fedproto": FedProto,
    "fedtgp": FedTgp,
    "fedhkd": FedHkd,
    "feddf": FedDf,
    "fedgkt": FedGkt,
    "next-words": NextWords,
}


ARRAY_METHODS = tuple(name for name, method in METHODS.items() if method.reads_arrays)
NOISED_METHODS = tuple(name for name, method in METHODS.items() if method.usual_clip is not None)
TEXT_METHODS = tuple(name for name, method in METHODS.items() if method.reads_text)


def build_method(config: FleetConfig, public: Examples) -> Method:
    return METHODS[config.method](config, public)


def distils(name: str) -> bool:
    """Whether devices learn from soft labels under this method; False for a name that is unknown."""
    return name in METHODS and METHODS[name].soft_labels is not SoftLabelUse.NONE


__all__ = [
    "ARRAY_METHODS",
    "METHODS",
    "NOISED_METHODS",
    "TEXT_METHODS",
    "Method",
    "MethodClass",
    "ServerSide",
    "SoftLabelUse",
    "build_method",
    "distils",
]
