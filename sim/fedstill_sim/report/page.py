"""Self-contained HTML pages from the templates of this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedstill_server.pages.rendering import environment

from fedstill_sim.results.readable import counted, readable_bytes, readable_percent, readable_ratio


def render(template: str, **values: Any) -> str:
    """A page as HTML.

    Args:
        template: A file in fedstill_sim/templates.
        values: What the template shows; a name that it uses and that is missing here is an error.
    """
    made = environment("fedstill_sim")
    made.filters |= {
        "bytes": readable_bytes,
        "percent": readable_percent,
        "counted": counted,
        "ratio": readable_ratio,
    }
    return made.get_template(template).render(**values)


def write_page(page: str, path: Path) -> None:
    """Write a text file whole: a reader sees the old one or the new one, never a part."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
