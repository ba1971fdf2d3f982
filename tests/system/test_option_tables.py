"""The documentation's tables of options say what the methods' own declarations say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "option_tables.py"


def test_the_tables_are_as_the_options_are() -> None:
    spec = importlib.util.spec_from_file_location("option_tables", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = script.PAGE.read_text()
    assert page == script.with_tables(page), "run: python docs/option_tables.py"
    assert page.count("| `server_step` |") == 2  # of fedstill and of next-words
