"""Why a device does not do what it was asked: the fixed words of which one leaves it, and nothing else.

A text of its own would tell how busy, how full or how warm the device is, or how many examples it has. The
details are in the device's log.
"""

from __future__ import annotations

import enum


class Refusal(enum.Enum):
    """A word that a device may answer with, its code in Flower's Error, and what it means."""

    FAILED = ("failed", 100, "the device could not do it; its log says why")
    POLICY = ("policy", 102, "the policy of the device's owner does not allow it")
    NO_STUDENT = ("no-student", 103, "the device has no student of its own, and the task brings none")
    BUDGET = ("budget", 104, "what the device's owner lets out is spent, for now or for good")
    NOT_NOW = ("not-now", 105, "the device may not work at the moment")
    UNREADABLE = ("unreadable", 106, "the message is none that the device can read")
    WRONG_VERSION = ("wrong-version", 107, "the device speaks another version of the protocol")
    WRONG_FAMILY = ("wrong-family", 108, "the task is for another student family")
    MISSING_BASE = (
        "missing-base",
        110,
        "the task is coded against what the device was told in a round, and it does not hold that",
    )
    ANOTHER_GENERATION = (
        "another-generation",
        111,
        "the device has a package of another generation of the fleet; it looks for a release",
    )
    SWITCHED_OFF = ("switched-off", 112, "the fleet's operator has switched rounds off")
    ANOTHER_APP = ("another-app", 109, "the run came with an app of its own; a device runs the installed one")

    def __init__(self, word: str, code: int, meaning: str) -> None:
        self.word, self.code, self.meaning = word, code, meaning

    @classmethod
    def of_code(cls, code: int) -> Refusal | None:
        """The refusal that has this code; None for codes of Flower's own."""
        return next((one for one in cls if one.code == code), None)

    def __str__(self) -> str:
        return f"{self.word}: {self.meaning}"
