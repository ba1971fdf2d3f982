"""What the server tells a device in the headers of its answers, beside what it was asked.

None of it is signed by the fleet's keys, and a device takes it for a hint: it looks at signed metadata
sooner, or asks for messages later, within limits of its own.
"""

from __future__ import annotations

RELEASE_HEADER = "fedstill-release"
"""The version of the repository's timestamp: one that a device does not know yet is worth a look."""

COME_BACK_HEADER = "fedstill-come-back"
"""Seconds after which the device should ask for messages again (pace steering; Bonawitz et al. 2019, 2.3)."""

REFUSED_HEADER = "fedstill-refused"
"""Why a device is not let in, beside the status 401: one of the words below."""

UNREGISTERED = "unregistered"
"""No operator has registered the device's key."""
REVOKED = "revoked"
"""The key was registered once, and its operator took it back; only whoever holds the key is told."""
CLOCK = "clock"
"""The signature is the device's own, and not of this time: its clock is wrong."""
