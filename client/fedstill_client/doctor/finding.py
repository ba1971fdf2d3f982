"""What a check found."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class CheckVerdict(enum.StrEnum):
    """What a finding means for the next round."""

    GOOD = "good"
    NOTE = "note"  # worth knowing; it keeps no round away
    BAD = "bad"  # it stands in the way
    SKIPPED = "skipped"  # it cannot be looked at before something else is put right


@dataclass(frozen=True)
class Finding:
    """A check, its verdict, what was found, and what to do about it; empty where nothing is to be done."""

    check: str
    verdict: CheckVerdict
    found: str
    remedy: str = ""


def good(check: str, found: str) -> Finding:
    """A finding that stands in nobody's way."""
    return Finding(check, CheckVerdict.GOOD, found)


def note(check: str, found: str, remedy: str = "") -> Finding:
    """A finding that is worth knowing."""
    return Finding(check, CheckVerdict.NOTE, found, remedy)


def bad(check: str, found: str, remedy: str) -> Finding:
    """A finding that stands in the way of a round."""
    return Finding(check, CheckVerdict.BAD, found, remedy)


def skipped(check: str, why: str) -> Finding:
    """A check that could not be made."""
    return Finding(check, CheckVerdict.SKIPPED, why)
