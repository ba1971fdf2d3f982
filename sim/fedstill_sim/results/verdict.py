"""How a result compares with what it has to beat, in one line each, for the terminal and the reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedstill_server.methods import METHODS

from fedstill_sim.results.readable import readable_bytes, readable_percent, readable_ratio
from fedstill_sim.results.run_result import FinalResult

EVEN = 0.0005  # accuracies nearer than this are shown as the same number


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One comparison, as a sentence.

    Attributes:
        outcome: "good" where the method wins, "bad" where it loses, "even" where the difference is no larger
            than its uncertainty.
        text: The sentence.
    """

    outcome: str
    text: str


def verdicts(method: str, final: FinalResult, baselines: Mapping[str, FinalResult]) -> list[Verdict]:
    """Compare a method with each baseline: personal and global accuracy, and bytes both ways.

    Args:
        method: The method, which is not compared with itself.
        final: Where its run ended.
        baselines: Where the baselines ended, by name.
    """
    lines: list[Verdict | None] = []
    for name, baseline in baselines.items():
        if name == method:
            continue
        lines += [
            accuracy_verdict(
                kind,
                getattr(final, f"{kind}_accuracy"),
                name,
                getattr(baseline, f"{kind}_accuracy"),
                interval=None,
            )
            for kind in ("personal", "global")
        ]
        lines.append(
            bytes_verdict(final.total_bytes_per_device_round, name, baseline.total_bytes_per_device_round)
        )
    return [line for line in lines if line is not None]


def accuracy_verdict(
    kind: str, own: float | None, baseline: str, theirs: float | None, *, interval: float | None
) -> Verdict | None:
    """Compare two accuracies.

    Args:
        kind: "personal" or "global".
        own: The method's accuracy.
        baseline: The name of what it is compared with.
        theirs: The baseline's accuracy.
        interval: Half the width of the difference's 95 % interval, where several seeds give one.

    Returns:
        The verdict; None where one of the accuracies was not measured.
    """
    if own is None or theirs is None:
        return None
    difference = own - theirs
    outcome = "even" if abs(difference) <= max(EVEN, interval or 0.0) else "good" if difference > 0 else "bad"
    spread = "" if interval is None else f" ± {100 * interval:.1f}"
    side = "above" if difference >= 0 else "below"
    return Verdict(
        outcome=outcome,
        text=f"{kind} accuracy {readable_percent(own)}, {100 * abs(difference):.1f}{spread} points {side} "
        f"{baseline} ({readable_percent(theirs)})",
    )


def bytes_verdict(own: float, baseline: str, theirs: float) -> Verdict | None:
    """Compare the bytes of a device in a round, up and down together.

    Returns:
        The verdict; None beside a method that exchanges nothing, as `local`.
    """
    if not exchanges(baseline) or theirs <= 0:
        return None
    ratio = own / theirs
    return Verdict(
        outcome="good" if ratio < 1 else "bad",
        text=f"up and down {readable_bytes(own)} a device-round, {readable_ratio(ratio)} of {baseline}'s "
        f"({readable_bytes(theirs)})",
    )


def exchanges(method: str) -> bool:
    """Whether devices and server exchange anything under a method; one of one's own is taken to."""
    return method not in METHODS.built_in or METHODS.load(method).exchanges
