"""Self-contained pages from templates: a package's own, and the frame and parts that all pages share."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jinja2
from fedstill_proto import __version__

_SHARED = "fedstill_server.pages"


def environment(package: str) -> jinja2.Environment:
    """An environment that escapes what it shows and refuses names that nobody gave.

    Args:
        package: Whose templates/ are searched before those that all pages share.
    """
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package), jinja2.PackageLoader(_SHARED)]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"style": stylesheet(), "version": __version__, "nonce": ""}
    return made


def stylesheet() -> str:
    """The stylesheet of all pages."""
    return (resources.files(_SHARED) / "style.css").read_text(encoding="utf-8")


def render(package: str, template: str, **values: Any) -> str:
    """A page of a package as HTML; a name that the template uses and that is missing here is an error."""
    return environment(package).get_template(template).render(**values)
