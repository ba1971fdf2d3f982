"""The tables of options in methods.md, made from where the options are declared.

Run `python docs/option_tables.py` after an option has changed; a test compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fedstill_server.config.options import Option, options_of
from fedstill_server.methods import METHODS

PAGE = Path(__file__).with_name("methods.md")
BEGIN, END = "<!-- options: made by docs/option_tables.py -->", "<!-- end of options -->"


def tables() -> str:
    """A table of each option with the methods that have it, those of one declaration in one line."""
    owners: dict[Option, list[str]] = {}
    for name in METHODS.names():
        for one in options_of(METHODS.load(name)):
            owners.setdefault(one, []).append(name)
    return "\n".join(_lines(owners))


def _lines(owners: dict[Option, list[str]]) -> Iterator[str]:
    yield "| option | of | default | may be | what it is |"
    yield "|---|---|---|---|---|"
    for one, names in owners.items():
        methods = ", ".join(f"`{name}`" for name in names)
        yield f"| `{one.name}` | {methods} | {one.shown_default} | {one.what} | {one.help} |"


def with_tables(page: str) -> str:
    """The page with its tables as they are to be."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
