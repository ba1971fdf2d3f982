"""The methods of federated learning that a fleet can use, as classes: frozen dataclasses of their options.

    fs.simulate(fleet, students=["cnn"], method=fs.methods.Fedstill(server_step=0.4))

One of your own is a subclass in any module, a script or a notebook's cell; its options are declared where
they are read:

    class Patient(fs.methods.Fedstill):
        \"\"\"fedstill, whose first rounds move little.\"\"\"

        warm_up: int = fs.methods.option(5, "Rounds until a step has its whole length.", least=1)

        def step_length(self, round_number: int) -> float:
            return super().step_length(round_number) * min(1, round_number / self.warm_up)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedstill_server.config.options import option
    from fedstill_server.methods.auto import Auto
    from fedstill_server.methods.cfd import Cfd
    from fedstill_server.methods.class_logits import ClassLogits
    from fedstill_server.methods.ditto import Ditto
    from fedstill_server.methods.dsfl import DsFl
    from fedstill_server.methods.fedadam import FedAdam
    from fedstill_server.methods.fedavg import FedAvg
    from fedstill_server.methods.fedavg_ft import FedAvgFineTuned
    from fedstill_server.methods.fedbn import FedBn
    from fedstill_server.methods.feddf import FedDf
    from fedstill_server.methods.fedgkt import FedGkt
    from fedstill_server.methods.fedhkd import FedHkd
    from fedstill_server.methods.fedmd import FedMD
    from fedstill_server.methods.fedper import FedPer
    from fedstill_server.methods.fedproto import FedProto
    from fedstill_server.methods.fedprox import FedProx
    from fedstill_server.methods.fedrep import FedRep
    from fedstill_server.methods.fedstill import Fedstill
    from fedstill_server.methods.fedtgp import FedTgp
    from fedstill_server.methods.interface import Method
    from fedstill_server.methods.local import Local
    from fedstill_server.methods.next_words import NextWords
    from fedstill_server.methods.public_logits import PublicLogits
    from fedstill_server.methods.public_only import PublicOnly
    from fedstill_server.methods.scaffold import Scaffold
    from fedstill_server.methods.scarlet import Scarlet
    from fedstill_server.methods.selective import Selective

__all__ = [
    "Auto",
    "Cfd",
    "ClassLogits",
    "Ditto",
    "DsFl",
    "FedAdam",
    "FedAvg",
    "FedAvgFineTuned",
    "FedBn",
    "FedDf",
    "FedGkt",
    "FedHkd",
    "FedMD",
    "FedPer",
    "FedProto",
    "FedProx",
    "FedRep",
    "FedTgp",
    "Fedstill",
    "Local",
    "Method",
    "NextWords",
    "PublicLogits",
    "PublicOnly",
    "Scaffold",
    "Scarlet",
    "Selective",
    "option",
]

_HERE = "fedstill_server.methods"
_MODULES = {
    "Auto": f"{_HERE}.auto",
    "Cfd": f"{_HERE}.cfd",
    "ClassLogits": f"{_HERE}.class_logits",
    "Ditto": f"{_HERE}.ditto",
    "DsFl": f"{_HERE}.dsfl",
    "FedAdam": f"{_HERE}.fedadam",
    "FedAvg": f"{_HERE}.fedavg",
    "FedBn": f"{_HERE}.fedbn",
    "FedAvgFineTuned": f"{_HERE}.fedavg_ft",
    "FedDf": f"{_HERE}.feddf",
    "FedGkt": f"{_HERE}.fedgkt",
    "FedHkd": f"{_HERE}.fedhkd",
    "FedMD": f"{_HERE}.fedmd",
    "FedPer": f"{_HERE}.fedper",
    "FedProto": f"{_HERE}.fedproto",
    "FedProx": f"{_HERE}.fedprox",
    "FedRep": f"{_HERE}.fedrep",
    "FedTgp": f"{_HERE}.fedtgp",
    "Fedstill": f"{_HERE}.fedstill",
    "Local": f"{_HERE}.local",
    "Method": f"{_HERE}.interface",
    "NextWords": f"{_HERE}.next_words",
    "PublicLogits": f"{_HERE}.public_logits",
    "Scaffold": f"{_HERE}.scaffold",
    "PublicOnly": f"{_HERE}.public_only",
    "Scarlet": f"{_HERE}.scarlet",
    "Selective": f"{_HERE}.selective",
    "option": "fedstill_server.config.options",
}


def __getattr__(name: str) -> object:
    """Load a method when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    found: object = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return list(__all__)
