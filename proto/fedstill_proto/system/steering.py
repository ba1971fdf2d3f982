"""What the server tells a device in the headers of its answers, beside what it was asked.

None of it is signed by the fleet's keys, and a device takes it for a hint: it looks at signed metadata
sooner, or asks for messages later, within limits of its own.
"""

from __future__ import annotations

RELEASE_HEADER = "fedstill-release"
"""The version of the repository's timestamp: one that a device does not know yet is worth a look."""

COME_BACK_HEADER = "fedstill-come-back"
"""Seconds after which the device should ask for messages again (pace steering; Bonawitz et al. 2019, 2.3)."""
