"""The tables of a comparison for a paper: booktabs tabulars, without floats around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fedstill_sim.compare.result import ComparisonResult
from fedstill_sim.compare.table import ComparedCell, Section, sections

_HEADINGS = ("personal", "global", "worst", "uplink", "downlink", "total")
_DIFFERENCE_HEADINGS = ("personal", "global", "worst", "bytes")


def latex(comparison: ComparisonResult) -> str:
    """Make the table of methods, and that of their paired differences."""
    parts = sections(comparison)
    command = comparison.config.get("comparison", {}).get("command", "")
    lines = [
        f"% {command}",
        "% \\usepackage{booktabs}; accuracy in percent, mean $\\pm$ 95 % interval over seeds; bytes a "
        "device-round",
        *_tabular(
            ("method", "seeds", *_HEADINGS),
            [
                (part.title, [(row.method, row.seeds, *map(_latex_cell, row.cells)) for row in part.rows])
                for part in parts
            ],
            left=1,
        ),
    ]
    if any(part.differences for part in parts):
        lines += [
            "",
            "% differences in points, paired by seed",
            *_tabular(
                ("method", "against", "seeds", *_DIFFERENCE_HEADINGS),
                [(part.title, _latex_differences(part)) for part in parts if part.differences],
                left=2,
            ),
        ]
    return "\n".join(lines) + "\n"


def _latex_differences(part: Section) -> list[tuple[str, ...]]:
    return [(row.method, row.reference, row.seeds, *map(_latex_cell, row.cells)) for row in part.differences]


def _tabular(
    headings: Sequence[str], parts: Sequence[tuple[str, Sequence[Sequence[str]]]], *, left: int
) -> Iterator[str]:
    yield "\\begin{tabular}{" + "l" * left + "r" * (len(headings) - left) + "}"
    yield "\\toprule"
    yield " & ".join(headings) + " \\\\"
    for title, rows in parts:
        yield "\\midrule"
        if len(parts) > 1:
            yield f"\\multicolumn{{{len(headings)}}}{{l}}{{\\emph{{{_latex_text(title)}}}}} \\\\"
        for row in rows:
            yield " & ".join([*map(_latex_text, row[: left + 1]), *row[left + 1 :]]) + " \\\\"
    yield "\\bottomrule"
    yield "\\end{tabular}"


def _latex_cell(cell: ComparedCell) -> str:
    signed = cell.text.startswith(("+", "-"))
    text = f"${cell.text}$" if signed else _latex_text(cell.text).replace(" ", "~")
    bold = f"\\textbf{{{text}}}" if cell.best else text
    return f"{bold} $\\pm$ {cell.spread}" if cell.spread else bold


_LATEX_SPECIAL = {
    "\\": "\\textbackslash{}",
    "–": "--",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def _latex_text(text: str) -> str:
    return "".join(_LATEX_SPECIAL.get(letter, letter) for letter in text)
