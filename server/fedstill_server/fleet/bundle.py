"""The Flower app of a fleet: configuration only.

A device runs what is installed on it, never what a server sends; so the bundle holds no code, and the first
message of a run carries the protocol's version instead (see roster.py).
"""

from __future__ import annotations

from pathlib import Path

from fedstill_proto import __version__

_PROJECT = """\
[project]
name = "fedstill"
version = "{version}"
description = "A fleet of fedstill. Configuration only: code comes from the installed package."
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "fedstill"
fab-include = ["README.md"]

[tool.flwr.app.components]
serverapp = "fedstill_server.app:app"
clientapp = "fedstill_client.app:app"

[tool.flwr.app.config]
fedstill-run = ""
"""


def write_bundle(folder: Path) -> Path:
    """Write the app's folder, for Flower to make a bundle of; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(_PROJECT.format(version=__version__))
    (folder / "README.md").write_text(
        "# fedstill\n\nThe installed package runs; this bundle holds no code.\n"
    )
    return folder
