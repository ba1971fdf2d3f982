"""What a machine of a cluster is: this module is sent to it whole, and needs nothing but Python there."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import platform
from pathlib import Path

PACKAGES = ("fedstill", "numpy", "onnxruntime")
_ROOMS = ("fedstill_proto", "fedstill_client", "fedstill_server", "fedstill_sim")


def node_facts() -> dict[str, str]:
    """Versions of what makes results, the code of fedstill, and the processor's kind, by name."""
    versions = {name: _version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **versions, "code": _code(), "processor": _processor()}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        # A checkout that lies on the module path is no installed package.
        there = importlib.util.find_spec(_ROOMS[-1] if package == PACKAGES[0] else package)
        return "not installed" if there is None else "from a folder"


def _code() -> str:
    """A digest of the modules' sources: two checkouts of one version may differ."""
    digest = hashlib.sha256()
    for room in _ROOMS:
        found = importlib.util.find_spec(room)
        for folder in [] if found is None else sorted(found.submodule_search_locations or ()):
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _processor() -> str:
    """The processor's name and what it can do, as far as the system says: ONNX Runtime chooses code by it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    name = fields.get("model name") or fields.get("CPU part") or platform.machine()
    flags = fields.get("flags") or fields.get("Features") or ""
    return f"{name} ({hashlib.sha256(' '.join(sorted(flags.split())).encode()).hexdigest()[:6]})"
