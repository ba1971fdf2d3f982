"""The versions of what computes a result."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("fedstill", "flwr", "numpy", "onnx", "onnxruntime", "protobuf", "scikit-learn", "torch")


def versions() -> dict[str, str]:
    """Return the versions of packages and of Python, and the kind of machine, by name."""
    packages = {name: _version(name) for name in _PACKAGES}
    return packages | {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
