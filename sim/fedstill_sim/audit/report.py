"""An audit as one HTML page, with the curves of the two kinds of membership."""

from __future__ import annotations

from pathlib import Path

from fedstill_sim.audit.result import AuditResult
from fedstill_sim.audit.table import audit_rows, sentences
from fedstill_sim.report.page import render, write_page
from fedstill_sim.report.svg import MUTED, NARROW, SERIES, Chart, drawing

REPORT_FILE = "audit.html"


def write_audit_report(result: AuditResult, path: Path) -> None:
    """Write the page whole."""
    page = render(
        "audit.html",
        result=result,
        rows=audit_rows(result),
        sentences=sentences(result),
        chart=_curves(result),
    )
    write_page(page, path)


def _curves(result: AuditResult) -> Chart:
    with drawing(width=NARROW, height=4.2) as drawn:
        (axes,) = drawn.axes
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1)
        for told, colour in ((result.examples_told, SERIES[0]), (result.devices_told, SERIES[1])):
            false, true = zip(*told.curve, strict=True)
            label = "an example" if told.unit == "example" else "a whole private set"
            axes.plot(false, true, color=colour, label=label)
        axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="false alarms", ylabel="members found")
        axes.legend(loc="lower right")
        return drawn.chart(
            title="Membership",
            caption="Members that are found, against others that are taken for members. The dotted line is "
            "guessing.",
            alt=f"Areas under the curves: {result.examples_told.auc:.2f} of an example, "
            f"{result.devices_told.auc:.2f} of a whole private set.",
        )
