"""The Flower app of every fleet, byte for byte: configuration only.

Flower starts a run from a bundle, a zip file that may hold code. Ours holds none: it names the ServerApp that
is installed on the server. It is the same for every fleet and every version of fedstill, so that a device
knows it by its digest and refuses a run that comes with any other. A device never fetches even this one.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import cache

_FILES = {
    "pyproject.toml": """\
[project]
name = "fedstill"
version = "1.0.0"
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
""",
    "README.md": "# fedstill\n\nThe installed package runs; this bundle holds no code.\n",
}
_MANIFEST = ".info/CONTENT"
_DATE = (2024, 10, 1, 0, 0, 0)  # of all entries, as in the bundles that Flower makes
_UNIX = 3


@cache
def bundle() -> bytes:
    """The bundle: a zip file that is not compressed, so that no library's version changes a byte."""
    files = {name: text.encode() for name, text in _FILES.items()}
    lines = (f"{name},{hashlib.sha256(data).hexdigest()},{8 * len(data)}" for name, data in files.items())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name, data in {**files, _MANIFEST: "\n".join(lines).encode()}.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system = _UNIX
            file.writestr(entry, data)
    return buffer.getvalue()


def bundle_digest() -> str:
    """The bundle's SHA-256 in hexadecimal, by which Flower and the devices know it."""
    return hashlib.sha256(bundle()).hexdigest()
