"""Regenerate the contract's Python code: `python proto/generate.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

SOURCE_ROOT = Path(__file__).resolve().parent
CONTRACT = "fedstill_proto/v1/fedstill.proto"
SECURE_SUMS = "fedstill_proto/v1/secure_sums.proto"
ONNX_OUTLINE = "fedstill_proto/v1/onnx_outline.proto"
FLEET = "fedstill_proto/v1/fleet.proto"
AGENT_SERVICE = "fedstill_proto/v1/agent.proto"


def generate(output_root: Path) -> list[Path]:
    """Write the messages' modules, their type stubs and the service's module; returns the files written."""
    arguments = [
        "protoc",
        f"--proto_path={SOURCE_ROOT}",
        f"--python_out={output_root}",
        f"--pyi_out={output_root}",
    ]
    _compile([*arguments, CONTRACT, SECURE_SUMS, ONNX_OUTLINE, FLEET])
    _compile([*arguments, f"--grpc_python_out={output_root}", AGENT_SERVICE])
    folder = (output_root / CONTRACT).parent
    modules = ("fedstill_pb2", "secure_sums_pb2", "onnx_outline_pb2", "fleet_pb2", "agent_pb2")
    names = [f"{module}{suffix}" for module in modules for suffix in (".py", ".pyi")]
    return [folder / name for name in (*names, "agent_pb2_grpc.py")]


def _compile(arguments: list[str]) -> None:
    status = protoc.main(arguments)
    if status != 0:
        raise SystemExit(f"protoc could not compile {SOURCE_ROOT / arguments[-1]}: status {status}")


if __name__ == "__main__":
    for written in generate(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE_ROOT):
        print(written)
