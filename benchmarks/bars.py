"""The bars that a benchmark compares its figures with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """What is promised, what was measured, and whether that is enough."""

    name: str
    measured: float
    promised: float
    met: bool

    @classmethod
    def least(cls, name: str, measured: float, promised: float) -> Bar:
        return cls(f"{name}, at least", measured, promised, measured >= promised)

    @classmethod
    def most(cls, name: str, measured: float, promised: float) -> Bar:
        return cls(f"{name}, at most", measured, promised, measured <= promised)
