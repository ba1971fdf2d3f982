"""What the server tells a device in the headers of its answers, beside what it was asked.

None of it is signed by the fleet's keys, and a device takes it for a hint: it looks at signed metadata
sooner, or asks for messages later, within limits of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

RELEASE_HEADER = "fedstill-release"
"""The version of the repository's timestamp: one that a device does not know yet is worth a look."""

COME_BACK_HEADER = "fedstill-come-back"
"""Seconds after which the device should ask for messages again (pace steering; Bonawitz et al. 2019, 2.3)."""

NEXT_WINDOW_HEADER = "fedstill-next-window"
"""When rounds may begin next, in seconds since 1970, for the owner's eyes; left out while they may."""

REFUSED_HEADER = "fedstill-refused"
"""Why a device is not let in, beside the status 401: one of the words below."""

UNREGISTERED = "unregistered"
"""No operator has registered the device's key."""
REVOKED = "revoked"
"""The key was registered once, and its operator took it back; only whoever holds the key is told."""
CLOCK = "clock"
"""The signature is the device's own, and not of this time: its clock is wrong."""

USUAL_LOOK_S = 3.0
"""Seconds between two looks for messages, where the server says nothing."""
_LEAST_LOOK_S, _MOST_LOOK_S = 0.2, 2 * 3600.0
_MOST_WHOLE = 1 << 38  # of seconds since 1970, more than the years that a calendar has


@dataclass
class Heard:
    """What a node has heard last from its server, within the node's own limits.

    Attributes:
        look_after_s: When to look for messages again; never more than two hours.
        release: The version of the repository's timestamp; 0 before it was said.
        next_window_at: When rounds may begin next, in seconds since 1970; 0 where they may, or nobody says.
    """

    look_after_s: float = USUAL_LOOK_S
    release: int = 0
    next_window_at: int = 0

    def hear(self, headers: Mapping[str, str]) -> None:
        """Take what the headers of an answer say; what cannot be meant is left out."""
        try:
            seconds = float(headers.get(COME_BACK_HEADER, ""))
        except ValueError:
            seconds = math.nan
        if math.isfinite(seconds):
            self.look_after_s = min(max(seconds, _LEAST_LOOK_S), _MOST_LOOK_S)
        self.release = _whole(headers.get(RELEASE_HEADER, ""), self.release)
        self.next_window_at = _whole(headers.get(NEXT_WINDOW_HEADER, ""), 0)


def _whole(text: str, otherwise: int) -> int:
    """The whole number that a header says, if it says one that can be meant."""
    is_one = len(text) <= 16 and text.isascii() and text.isdecimal() and int(text) < _MOST_WHOLE
    return int(text) if is_one else otherwise
