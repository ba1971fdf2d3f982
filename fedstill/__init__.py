"""Federated distillation for fleets of devices: simulate a fleet, distil students, deploy them.

    import fedstill as fs

    with fs.AgentClient() as agent:  # on a device: its agent's student, and its private examples
        probabilities = agent.predict(x)

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

    from fedstill.fleet import Device, Fleet

__all__ = [
    "AgentClient",
    "Device",
    "FedstillError",
    "Fleet",
]

# Where each public name lies; a place without a colon is a module.
_PLACES = {
    "AgentClient": "fedstill_client:AgentClient",
    "Device": "fedstill.fleet:Device",
    "FedstillError": "fedstill_proto.errors:FedstillError",
    "Fleet": "fedstill.fleet:Fleet",
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
