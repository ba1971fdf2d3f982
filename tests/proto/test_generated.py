from __future__ import annotations

import importlib.util
from pathlib import Path

PROTO = Path(__file__).resolve().parents[2] / "proto"


def generated(output: Path) -> list[Path]:
    spec = importlib.util.spec_from_file_location("fedstill_generate", PROTO / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written: list[Path] = module.generate(output)
    return written


def test_the_generated_code_is_the_contract_s(tmp_path: Path) -> None:
    fresh = generated(tmp_path)
    assert {path.suffix for path in fresh} == {".py", ".pyi"}
    for path in fresh:
        checked_in = PROTO / path.relative_to(tmp_path)
        assert checked_in.read_bytes() == path.read_bytes(), "run: python proto/generate.py"
