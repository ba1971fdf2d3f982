"""The versions of what computes a result."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("fedstill", "flwr", "numpy", "onnx", "onnxruntime", "protobuf", "scikit-learn", "torch")


def versions() -> dict[str, str]:
    """By name: packages, Python and the kind of machine."""
    found = {name: _version(name) for name in _PACKAGES}
    return found | {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
