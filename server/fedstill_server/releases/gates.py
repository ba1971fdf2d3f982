"""The gates of a release: what its devices' reports say about it.

Right answers are compared as shares of all held-out examples of the stage, before and after, with Newcombe's
interval of a difference of two shares (Statistics in Medicine 17, 1998, p. 873: method 10, of Wilson's).
Both counts are of the same examples, so that the true interval is narrower: a gate of a small stage errs on
the side of going on, and the next stage has more examples. Shares of troubled devices are held against their
limit with Wilson's lower bound, so that one crash of a hundred devices stops nothing, and one of one does.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fedstill_proto.system.release_report import ReleaseReport

from fedstill_server.releases.rules import ReleaseRules

_Z = 1.959963984540054  # of 95 %
_LEAST_SLOWER_MS = 5.0
_ENOUGH_EXAMPLES = 20


@dataclass(frozen=True, kw_only=True)
class GateVerdict:
    """What one gate says; `failed` ends the release.

    Attributes:
        gate: Its name.
        failed: Whether the release must be taken back.
        text: What was found, for a person.
        reports: How many devices' reports it is made of.
    """

    gate: str
    failed: bool
    text: str
    reports: int


def judge(
    reports: Mapping[str, ReleaseReport], *, package_version: int, rules: ReleaseRules
) -> tuple[GateVerdict, ...]:
    """What the reports of a stage's devices say.

    Args:
        reports: The newest report of each device of the stage.
        package_version: The release's. A report on another one is of a device that has not installed it.
        rules: The release's.
    """
    installed = [report for report in reports.values() if report.package_version == package_version]
    everybody = list(reports.values())
    return (
        _right_answers("answers of owners", installed, "owner", rules),
        _right_answers("answers of the fleet's student", installed, "fleet", rules),
        _troubled("crashes", [report.crashes > 0 for report in installed], rules.most_troubled),
        _troubled(
            "installations",
            [report.package_version != package_version and report.failures > 0 for report in everybody],
            rules.most_troubled,
        ),
        _troubled("refusals", [report.refusals > 0 for report in installed], rules.most_refusing),
        _latency(installed, rules),
    )


def _right_answers(
    gate: str, reports: Iterable[ReleaseReport], whose: str, rules: ReleaseRules
) -> GateVerdict:
    counted = [report for report in reports if report.is_counted]
    examples = sum(report.held_out for report in counted)
    if not examples:
        return GateVerdict(gate=gate, failed=False, text="no device tells counts", reports=0)
    before = sum(getattr(report, f"{whose}_before") for report in counted)
    after = sum(getattr(report, f"{whose}_after") for report in counted)
    low, high = difference_of_shares(after, examples, before, examples)
    text = (
        f"{after / examples:.1%} of {examples} right, {before / examples:.1%} before "
        f"({100 * low:+.1f} to {100 * high:+.1f} points)"
    )
    worse = loses((after, examples), (before, examples), rules)
    return GateVerdict(gate=gate, failed=worse, text=text, reports=len(counted))


def loses(after: tuple[int, int], before: tuple[int, int], rules: ReleaseRules) -> bool:
    """Whether more right answers are lost than may be; each is (right answers, examples)."""
    _, high = difference_of_shares(*after, *before)
    change = after[0] / after[1] - before[0] / before[1]
    return high < -rules.most_lost or (after[1] >= _ENOUGH_EXAMPLES and change < -rules.most_lost_anyway)


def _troubled(gate: str, troubled: list[bool], most: float) -> GateVerdict:
    if not troubled:
        return GateVerdict(gate=gate, failed=False, text="no reports", reports=0)
    low, _ = share_interval(sum(troubled), len(troubled))
    text = f"{sum(troubled)} of {len(troubled)} devices (at least {low:.1%}, the limit is {most:.0%})"
    return GateVerdict(gate=gate, failed=low > most, text=text, reports=len(troubled))


def _latency(reports: Iterable[ReleaseReport], rules: ReleaseRules) -> GateVerdict:
    timed = [report for report in reports if report.latency_p95_ms > 0 and report.latency_p95_before_ms > 0]
    if not timed:
        return GateVerdict(gate="latency", failed=False, text="no answers were timed", reports=0)
    before = statistics.median(report.latency_p95_before_ms for report in timed)
    after = statistics.median(report.latency_p95_ms for report in timed)
    ratio = statistics.median(report.latency_p95_ms / report.latency_p95_before_ms for report in timed)
    text = f"{after:.1f} ms at the 95th percentile, {before:.1f} before (x{ratio:.2f})"
    slower = ratio > rules.slowest and after - before > _LEAST_SLOWER_MS
    return GateVerdict(gate="latency", failed=slower, text=text, reports=len(timed))


def share_interval(part: int, whole: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927)."""
    share, z2 = part / whole, _Z * _Z
    middle = (share + z2 / (2 * whole)) / (1 + z2 / whole)
    half = _Z * math.sqrt(share * (1 - share) / whole + z2 / (4 * whole * whole)) / (1 + z2 / whole)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def difference_of_shares(part: int, whole: int, other_part: int, other_whole: int) -> tuple[float, float]:
    """Newcombe's 95 % interval of part / whole - other_part / other_whole (1998, method 10)."""
    share, other = part / whole, other_part / other_whole
    low, high = share_interval(part, whole)
    other_low, other_high = share_interval(other_part, other_whole)
    return (
        share - other - math.hypot(share - low, other_high - other),
        share - other + math.hypot(high - share, other - other_low),
    )
