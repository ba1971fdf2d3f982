"""Self-contained HTML pages from the templates of this package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

import fedstill_sim
from fedstill_sim.results.readable import counted, readable_bytes, readable_percent, readable_ratio


def render(template: str, **values: Any) -> str:
    """A page as HTML.

    Args:
        template: A file in fedstill_sim/templates.
        values: What the template shows; a name that it uses and that is missing here is an error.
    """
    templates = resources.files(fedstill_sim) / "templates"
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fedstill_sim"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bytes": readable_bytes,
        "percent": readable_percent,
        "counted": counted,
        "ratio": readable_ratio,
    }
    style = (templates / "style.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(style=style, version=fedstill_sim.__version__, **values)


def write_page(page: str, path: Path) -> None:
    """Write a text file whole: a reader sees the old one or the new one, never a part."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
