"""IBus for Python, as Debian packages it: the module gi, which pip does not bring.

A virtual environment does not see the system's packages. So gi alone is taken from where Debian has it, if
the interpreter is of the version that it was built for.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from fedstill_proto.errors import FedstillError

DEBIAN_PACKAGES = "ibus gir1.2-ibus-1.0 python3-gi"
_SYSTEM_PACKAGES = Path("/usr/lib/python3/dist-packages")


class BindingsMissing(FedstillError):
    """IBus or its bindings are not installed for this Python."""


def load_bindings(name: str = "IBus", version: str = "1.0") -> Any:
    """Load a library's bindings, such as IBus or Gtk.

    Args:
        name: The library's name.
        version: The version of its interface.

    Raises:
        BindingsMissing: They are not installed; the text says what to install.
    """
    try:
        gi = _gi()
        gi.require_version(name, version)
        return importlib.import_module(f"gi.repository.{name}")
    except (ImportError, ValueError) as error:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise BindingsMissing(
            f"{name} cannot be used from Python {python}: {error}. Install: sudo apt install "
            f"{DEBIAN_PACKAGES}; they are for the Python of the system ({_system_python()})."
        ) from None


def _gi() -> Any:
    try:
        return importlib.import_module("gi")
    except ModuleNotFoundError:
        place = _SYSTEM_PACKAGES / "gi"
        spec = importlib.util.spec_from_file_location(
            "gi", place / "__init__.py", submodule_search_locations=[str(place)]
        )
        if spec is None or spec.loader is None or not (place / "__init__.py").is_file():
            raise
    module = importlib.util.module_from_spec(spec)
    sys.modules["gi"] = module
    try:
        spec.loader.exec_module(module)
    except ImportError:
        del sys.modules["gi"]
        raise
    return module


def _system_python() -> str:
    """Which Python the system's gi was built for, by its compiled part."""
    built = sorted((_SYSTEM_PACKAGES / "gi").glob("_gi.cpython-*.so"))
    if not built:
        return "/usr/bin/python3"
    digits = built[0].name.split("-")[1]
    return f"{digits[0]}.{digits[1:]}"
