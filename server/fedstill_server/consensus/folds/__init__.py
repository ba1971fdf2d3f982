"""Robust folds: how the answers of a round become one consensus although some devices lie."""

from __future__ import annotations

from fedstill_server.consensus.folds.interface import AnswerKind, Fold, RowLabels
from fedstill_server.plugins import PluginError, Registry


def _fold_class(found: object) -> type[Fold]:
    if not (isinstance(found, type) and issubclass(found, Fold)):
        raise PluginError("it is no subclass of fedstill_server.consensus.folds.Fold")
    return found


FOLDS: Registry[type[Fold]] = Registry(
    "fold",
    group="fedstill.folds",
    built_in={
        "mean": "fedstill_server.consensus.folds.mean:Mean",
        "clipped": "fedstill_server.consensus.folds.clipped:Clipped",
        "trust": "fedstill_server.consensus.folds.trust:Trust",
        "own-class": "fedstill_server.consensus.folds.own_class:OwnClass",
        "vetted": "fedstill_server.consensus.folds.vetted:Vetted",
        "nearest": "fedstill_server.consensus.folds.nearest:Nearest",
        "trimmed": "fedstill_server.consensus.folds.trimmed:Trimmed",
        "median": "fedstill_server.consensus.folds.median:Median",
    },
    check=_fold_class,
)

__all__ = ["FOLDS", "AnswerKind", "Fold", "RowLabels"]
