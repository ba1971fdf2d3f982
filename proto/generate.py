"""Regenerate the contract's Python code: `python proto/generate.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

SOURCE_ROOT = Path(__file__).resolve().parent
CONTRACT = "fedstill_proto/v1/fedstill.proto"


def generate(output_root: Path) -> list[Path]:
    """Write the message module and its type stub below `output_root`; returns the files written."""
    arguments = [
        "protoc",
        f"--proto_path={SOURCE_ROOT}",
        f"--python_out={output_root}",
        f"--pyi_out={output_root}",
        CONTRACT,
    ]
    status = protoc.main(arguments)
    if status != 0:
        raise SystemExit(f"protoc could not compile {SOURCE_ROOT / CONTRACT}: status {status}")
    module = output_root / CONTRACT
    return [module.with_name("fedstill_pb2.py"), module.with_name("fedstill_pb2.pyi")]


if __name__ == "__main__":
    for written in generate(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE_ROOT):
        print(written)
