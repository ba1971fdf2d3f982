"""An inspection as text and as one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path

from fedstill_proto.system.files import SHARED, replace_file

from fedstill_server.inspection.inspection import Inspection
from fedstill_server.pages.rendering import environment


def write_page(inspection: Inspection, path: Path) -> None:
    made = environment("fedstill_server.inspection")
    made.filters["percent"] = _percent
    page = made.get_template("inspection.html").render(it=inspection)
    replace_file(path, page.encode("utf-8"), mode=SHARED)


def text_of(it: Inspection) -> str:
    lines = [
        f"{it.family}, {it.parameters:,d} parameters, {it.package_bytes:,d} B; task {it.task}, "
        f"{it.test_examples} test examples",
        _calibration_line("as it is", it),
    ]
    if it.scaled is not None:
        lines.append(
            f"scaled         temperature {it.scaled.temperature:.2f} from {it.scaling_examples} held-out "
            f"examples: ECE {_percent(it.scaled.ece)}, Brier {it.scaled.brier:.3f}"
        )
    for one in it.corrupted:
        lines.append(f"{one.corruption:14s} {one.severity:g} {one.unit}: accuracy {_percent(one.accuracy)}")
    lines += [f"outliers       {kind}: AUROC {auroc:.3f}" for kind, auroc in it.outliers]
    if it.agreement is not None:
        worst = it.agreement.worst
        lines.append(f"agreement      {_percent(it.agreement.overall)} with the teacher")
        lines += [
            f"  {one.name:34s} {_percent(one.agreement):>7s} of {one.examples}; student "
            f"{_percent(one.student_accuracy)}, teacher {_percent(one.teacher_accuracy)}"
            for one in it.agreement.slices
        ]
        lines.append(f"worst slice    {worst.name}: {_percent(worst.agreement)} of {worst.examples}")
    if it.int8_agreement is not None:
        lines.append(f"int8           {_percent(it.int8_agreement)} the same first choice as float32")
    tree = it.surrogate
    lines.append(
        f"surrogate      a tree of depth {tree.depth} with {tree.leaves} leaves answers as the student does "
        f"in {_percent(tree.fidelity)} (fidelity)"
    )
    lines.append(
        f"energy         {it.energy.microjoules_per_answer:.1f} uJ an answer ({it.energy.how}); "
        f"{it.energy.cpu_microseconds_per_answer:.1f} us of CPU"
    )
    return "\n".join(lines)


def _calibration_line(name: str, it: Inspection) -> str:
    one = it.plain
    return (
        f"{name:14s} accuracy {_percent(one.accuracy)}, ECE {_percent(one.ece)}, Brier {one.brier:.3f}, "
        f"log-likelihood {-one.negative_log_likelihood:.3f}"
    )


def _percent(share: float) -> str:
    return f"{share:.1%}"
