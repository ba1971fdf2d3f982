"""What the device's package loads: nothing that a device has no room for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import fedstill_client

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


def test_flower_s_private_names_are_used_in_one_module() -> None:
    public = ("flwr.app", "flwr.clientapp")
    private = {
        path.name
        for path in Path(fedstill_client.__path__[0]).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for module in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
        if module.split(".")[0] == "flwr" and module not in public
    }
    assert private == {"supernode.py"}
