"""Student packages on the device: fetched from the fleet's signed repository, checked, installed, loaded.

source.py fetches and verifies after TUF, operators.py reads graphs before ONNX Runtime may, install.py puts
a package into the agent's home, and loads it from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedstill_client.packages.errors import PackageError
from fedstill_client.packages.install import install, load_installed
from fedstill_client.packages.installed import InstallationRecord, InstalledPackage
from fedstill_client.packages.operators import check_graph, check_package

if TYPE_CHECKING:
    from fedstill_client.packages.source import PackageSource as PackageSource
    from fedstill_client.packages.updates import update as update

__all__ = [
    "InstallationRecord",
    "InstalledPackage",
    "PackageError",
    "PackageSource",
    "check_graph",
    "check_package",
    "install",
    "load_installed",
    "update",
]


def __getattr__(name: str) -> Any:
    # tuf, urllib3 and cryptography are megabytes that a process which only answers does not need.
    if name == "PackageSource":
        from fedstill_client.packages.source import PackageSource

        return PackageSource
    if name == "update":
        from fedstill_client.packages.updates import update

        return update
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
