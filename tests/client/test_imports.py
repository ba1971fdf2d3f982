"""What the device's package loads: nothing that a device has no room for."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import importlib, pkgutil, sys
import fedstill_client
for module in pkgutil.walk_packages(fedstill_client.__path__, "fedstill_client."):
    importlib.import_module(module.name)
loaded = {name.split(".")[0] for name in sys.modules}
assert "fedstill_client" in loaded and "onnxruntime" in loaded and "flwr" in loaded
heavy = {"torch", "onnx", "onnxscript", "ray", "sklearn", "matplotlib", "fedstill_server", "fedstill_sim"}
print(sorted(loaded & heavy))
"""


def test_importing_the_whole_package_loads_no_torch_and_no_server() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120
    )

    assert done.stdout.strip() == "[]"
