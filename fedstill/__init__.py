"""Federated distillation for fleets of devices: simulate a fleet, distil students, deploy them.

    import fedstill as fs

    fleet = fs.datasets.digits(devices=10, dirichlet=0.1)
    result = fs.simulate(fleet, students=["mlp-small", "cnn"], rounds=20, on_round=print)
    print(result.final.personal_accuracy, result.final.global_accuracy)

What this module names in `__all__` is the public interface; everything else is private by rule. Nothing is
loaded before it is used: on a device neither torch nor the simulator is ever needed, and whatever is asked
for without being installed says which extra to install.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fedstill_proto import __version__ as __version__

if TYPE_CHECKING:
    from fedstill_client import AgentClient
    from fedstill_proto.errors import FedstillError

    from fedstill import callbacks, datasets, flower, methods, techniques
    from fedstill.deployment.check import Check, check
    from fedstill.deployment.distill import Distilled, distill
    from fedstill.deployment.publish import publish
    from fedstill.examples import Device
    from fedstill.fleet import Fleet
    from fedstill.models import Student, Teacher
    from fedstill.simulation.audit import audit
    from fedstill.simulation.comparison import Comparison, compare
    from fedstill.simulation.result import Result
    from fedstill.simulation.simulate import simulate

__all__ = [
    "AgentClient",
    "Check",
    "Comparison",
    "Device",
    "Distilled",
    "FedstillError",
    "Fleet",
    "Result",
    "Student",
    "Teacher",
    "audit",
    "callbacks",
    "check",
    "compare",
    "datasets",
    "distill",
    "flower",
    "methods",
    "publish",
    "simulate",
    "techniques",
]

# Where each public name lies; a place without a colon is a module.
_PLACES = {
    "AgentClient": "fedstill_client:AgentClient",
    "Check": "fedstill.deployment.check:Check",
    "Comparison": "fedstill.simulation.comparison:Comparison",
    "Device": "fedstill.examples:Device",
    "Distilled": "fedstill.deployment.distill:Distilled",
    "FedstillError": "fedstill_proto.errors:FedstillError",
    "Fleet": "fedstill.fleet:Fleet",
    "Result": "fedstill.simulation.result:Result",
    "Student": "fedstill.models:Student",
    "Teacher": "fedstill.models:Teacher",
    "audit": "fedstill.simulation.audit:audit",
    "callbacks": "fedstill.callbacks",
    "check": "fedstill.deployment.check:check",
    "compare": "fedstill.simulation.comparison:compare",
    "datasets": "fedstill.datasets",
    "distill": "fedstill.deployment.distill:distill",
    "flower": "fedstill.flower",
    "methods": "fedstill.methods",
    "publish": "fedstill.deployment.publish:publish",
    "simulate": "fedstill.simulation.simulate:simulate",
    "techniques": "fedstill.techniques",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first used (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    module, colon, attribute = _PLACES[name].partition(":")
    loaded: object = importlib.import_module(module)
    found = getattr(loaded, attribute) if colon else loaded
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names, for completion in notebooks and shells."""
    return sorted([*__all__, "__version__"])
