"""Where they part, as text for a terminal and as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fedstill_proto.system.files import SHARED, replace_file

from fedstill_server.inspection.parting.report import Parting
from fedstill_server.pages.rendering import environment

_SHOWN = 8  # lines of each list on a terminal; the page has all


def write_parting(parting: Parting, path: Path, *, title: str) -> None:
    """Write the page."""
    made = environment("fedstill_server.inspection")
    made.filters["percent"] = _percent
    page = made.get_template("parting.html").render(it=parting, title=title)
    replace_file(path, page.encode("utf-8"), mode=SHARED)


def text_of_parting(it: Parting) -> str:
    """The figures, a line or a few each."""
    return "\n".join(_lines(it))


def _lines(it: Parting) -> Iterator[str]:
    fitted = "fitted on held-out examples" if it.calibrated else "as they are"
    yield (
        f"parting        {it.nats:.4f} nats of KL(teacher || student) over {it.examples:,d} {it.what}; "
        f"median {it.median:.4f}, p95 {it.p95:.4f}; the furthest 1 % have {_percent(it.furthest)} of all"
    )
    yield (
        f"temperatures   student {it.temperatures[0]:.2f}, teacher {it.temperatures[1]:.2f}, {fitted}; the "
        f"same first choice in {_percent(it.agreement)}"
    )
    for what, slices in (("slices", it.slices), ("answers", it.answers)):
        yield f"{what}, those furthest apart first"
        for one in slices[:_SHOWN]:
            yield (
                f"  {one.name[:38]:38s} {one.nats:8.4f} ({one.low:.4f} to {one.high:.4f}), {one.examples:,d} "
                f"of them; the same in {_percent(one.agreement)}"
            )
    if it.pairs:
        yield "in the place of what the teacher answers"
    for pair in it.pairs[:_SHOWN]:
        yield (
            f"  {pair.teacher[:18]:18s} the student says {pair.student[:18]:18s} {pair.examples:6,d} times; "
            f"right then: teacher {_percent(pair.teacher_right)}, student {_percent(pair.student_right)}"
        )
    yield f"{it.what} that differ most"
    for each in it.most[:_SHOWN]:
        place = f", place {each.place}" if it.what == "tokens" else ""
        yield (
            f"  row {each.row}{place}: {each.nats:.3f} nats; right {each.label}, teacher {each.teacher} "
            f"{_percent(each.teacher_share)}, student {each.student} {_percent(each.student_share)}"
            + (f"; {each.text!r}" if each.text else "")
        )


def _percent(share: float) -> str:
    return f"{share:.1%}"
