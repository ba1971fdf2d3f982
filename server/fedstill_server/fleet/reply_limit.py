"""The most bytes that a reply of a device may have: the ServerApp writes it down, the SuperLink reads it."""

from __future__ import annotations

from pathlib import Path

from fedstill_proto.system.files import replace_file

# Until the ServerApp knows what it asks for; the small answers fit into it, too.
LEAST_BYTES = 1 << 20
RELAY_LIMIT_BYTES = 97 << 20
"""That of a relay, which replies for many devices (see fedstill_server.relay.letters)."""


def write_reply_limit(folder: Path, size_limit_bytes: int) -> None:
    """Write it into the fleet's folder."""
    replace_file(_file(folder), f"{size_limit_bytes}\n".encode())


def read_reply_limit(folder: Path) -> int:
    """Read it, with what little is around a reply."""
    try:
        return int(_file(folder).read_text()) + LEAST_BYTES
    except (OSError, ValueError):
        return LEAST_BYTES


def _file(folder: Path) -> Path:
    return folder / "reply-limit"
