"""Nothing that runs on a device or in a run reports to a library's maker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

VARIABLES = {
    "ORT_DISABLE_TELEMETRY": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def run_python(program: str, home: Path, **variables: str) -> str:
    """What `program` prints in a fresh interpreter that has no opinion on telemetry."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    # ONNX Runtime keeps quiet where it sees a build server; this test is about everywhere else.
    environment = {name: value for name, value in environment.items() if name not in ("CI", "TF_BUILD")}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), **variables}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


MODULES = [
    "fedstill_proto.flower_records",
    "fedstill_client.model.runtime",
    "fedstill_server.export",
    "fedstill_sim.engine",
]


@pytest.mark.parametrize("module", MODULES)
def test_it_is_off_before_any_library_is_loaded(module: str, tmp_path: Path) -> None:
    program = f"import {module}, os; print({{name: os.environ.get(name) for name in {list(VARIABLES)}}})"
    assert run_python(program, tmp_path) == str(VARIABLES)
    assert not list(tmp_path.rglob("*onnxruntime*"))


def test_who_wants_it_can_have_it(tmp_path: Path) -> None:
    program = "import fedstill_client, os; print(os.environ['FLWR_TELEMETRY_ENABLED'])"
    assert run_python(program, tmp_path, FLWR_TELEMETRY_ENABLED="1") == "1"


def test_a_device_s_inference_leaves_no_identifier(tmp_path: Path) -> None:
    program = (
        "import fedstill_client.model.runtime, onnxruntime; print(onnxruntime.get_available_providers()[-1])"
    )
    assert run_python(program, tmp_path) == "CPUExecutionProvider"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
