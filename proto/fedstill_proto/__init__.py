"""The contract between a fedstill server and its devices, and its codecs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedstill_proto.system import telemetry as telemetry

if TYPE_CHECKING:
    __version__: str


def __getattr__(name: str) -> object:
    """Read the version when it is asked for: that takes longer than all of --help."""
    if name == "__version__":
        from importlib.metadata import version

        return version("fedstill")  # one distribution holds all packages; pyproject.toml has the number
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
