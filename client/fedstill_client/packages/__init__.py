"""Student packages on the device: fetched from the fleet's signed repository, checked, installed, loaded.

source.py fetches and verifies after TUF, operators.py reads graphs before ONNX Runtime may, install.py puts
a package into the agent's home, and loads it from there.
"""

from fedstill_client.packages.errors import PackageError
from fedstill_client.packages.install import install, load_installed
from fedstill_client.packages.installed import InstallationRecord, InstalledPackage
from fedstill_client.packages.operators import check_graph, check_package
from fedstill_client.packages.source import PackageSource

__all__ = [
    "InstallationRecord",
    "InstalledPackage",
    "PackageError",
    "PackageSource",
    "check_graph",
    "check_package",
    "install",
    "load_installed",
]
