"""The techniques and recipes of distillation, as classes: frozen dataclasses of their options.

    fs.distill(network, public=x, techniques=["kd", fs.techniques.FitNets(weight=0.5)])

`fedstill-server techniques` lists them with their papers.
"""

from __future__ import annotations

import importlib

from fedstill_server.distill.registry import TECHNIQUES

_PLACES = {place.rpartition(":")[2]: place for place in TECHNIQUES.built_in.values()}
_PLACES |= {
    "Recipe": "fedstill_server.distill.stage_runner:Recipe",
    "Technique": "fedstill_server.distill.technique:Technique",
    "option": "fedstill_server.config.options:option",
}

__all__ = sorted(_PLACES)


def __getattr__(name: str) -> object:
    """Load a technique when it is first used."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    module, _, attribute = _PLACES[name].partition(":")
    found: object = getattr(importlib.import_module(module), attribute)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return list(__all__)
