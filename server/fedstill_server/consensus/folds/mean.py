"""The plain mean, without any bound but each answer's own: what a fleet is without a robust fold.

It is here to measure what lies do. One device of twenty can move a row as far as its codec reaches.
"""

from __future__ import annotations

from typing import ClassVar

from fedstill_server.consensus.folds.interface import Fold


class Mean(Fold):
    line = "the plain mean, as it is without a defence"
    clips: ClassVar[bool] = False
