"""The table of what an operator needs: each command, page, heading and test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "how-to" / "operate.md"


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_all_thirteen_needs_are_met() -> None:
    assert len(rows()) == 13
    assert all(len(row) == 4 and all(row) for row in rows())


def test_each_test_that_is_named_is_there() -> None:
    named = [path for row in rows() for path in re.findall(r"`(tests/[^`]+)`", row[3])]
    assert len(named) == 13
    assert [path for path in named if not (REPOSITORY / path).is_file()] == []


def test_each_page_that_is_named_has_the_heading() -> None:
    for row in rows():
        for target in re.findall(r"\]\(([^)]+)\)", row[2]):
            page, _, heading = target.partition("#")
            text = (PAGE.parent / page).read_text() if page else PAGE.read_text()
            anchors = {
                re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
                for line in text.splitlines()
                if line.startswith("#")
            }
            assert not heading or heading in anchors, f"{row[0]}: {target}"
