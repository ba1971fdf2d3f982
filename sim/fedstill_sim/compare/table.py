"""The table of a comparison: a section for each split, a row for each method, whatever prints it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedstill_sim.compare.estimate import Estimate
from fedstill_sim.compare.result import Advantage, Comparison, MethodEstimate, SplitComparison
from fedstill_sim.results.readable import NONE, counted, readable_bytes, readable_ratio

ACCURACIES = (
    ("personal_accuracy", "personal"),
    ("global_accuracy", "global"),
    ("worst_device_accuracy", "worst"),
)


@dataclass(frozen=True, kw_only=True)
class ComparedCell:
    """A figure: an estimate in percent or points (mean and half width), or words."""

    text: str
    spread: str = ""  # half of the 95 % interval, where there is one
    best: bool = False

    def joined(self, sign: str) -> str:
        """93.4 ± 1.2, with the sign that the medium has."""
        return f"{self.text} {sign} {self.spread}" if self.spread else self.text


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """A method on a split; seeds is "2/3" where a run has failed, else "3"."""

    method: str
    seeds: str
    cells: tuple[ComparedCell, ...]  # personal, global, worst, uplink, downlink


@dataclass(frozen=True, kw_only=True)
class DifferenceRow:
    """A method minus another, paired by seed."""

    method: str
    reference: str
    seeds: str
    cells: tuple[ComparedCell, ...]  # personal, global, worst in points; uplink as a ratio


@dataclass(frozen=True, kw_only=True)
class Section:
    """One split of the table."""

    title: str
    rows: tuple[ComparedRow, ...]
    differences: tuple[DifferenceRow, ...]


def sections(comparison: Comparison) -> list[Section]:
    """Every split with every method that was asked for, also those that finished nothing."""
    return [
        Section(
            title=section_title(one) if len(comparison.splits) > 1 else _data_title(one),
            rows=tuple(_row(one, method, asked=len(comparison.seeds)) for method in comparison.methods),
            differences=tuple(_difference(advantage) for advantage in one.advantages),
        )
        for one in comparison.splits
    ]


def section_title(one: SplitComparison) -> str:
    """digits, Dirichlet 0.1: 20 devices."""
    return one.split.name if one.data is None else f"{one.split.name}: {counted(one.data.devices, 'device')}"


def _data_title(one: SplitComparison) -> str:
    """digits: 20 devices."""
    data = one.data
    return section_title(one) if data is None else f"{data.name}: {counted(data.devices, 'device')}"


def best_means(methods: Sequence[MethodEstimate]) -> dict[str, float]:
    """The highest mean of each accuracy."""
    return {name: max((getattr(one, name).mean for one in methods), default=0.0) for name, _ in ACCURACIES}


def _row(one: SplitComparison, method: str, *, asked: int) -> ComparedRow:
    estimate = one.methods.get(method)
    if estimate is None:
        nothing = (ComparedCell(text=NONE),) * (len(ACCURACIES) + 2)
        return ComparedRow(method=method, seeds=f"0/{asked}", cells=nothing)
    best = best_means(list(one.methods.values()))
    accuracies = tuple(
        percent_cell(getattr(estimate, name), best=getattr(estimate, name).mean == best[name])
        for name, _ in ACCURACIES
    )
    up, down = estimate.uplink_bytes_per_device_round, estimate.downlink_bytes_per_device_round
    finished = len(estimate.seeds)
    return ComparedRow(
        method=method,
        seeds=str(asked) if finished == asked else f"{finished}/{asked}",
        cells=(*accuracies, *(ComparedCell(text=readable_bytes(sent.mean)) for sent in (up, down))),
    )


def _difference(advantage: Advantage) -> DifferenceRow:
    accuracies = tuple(percent_cell(getattr(advantage, name), signed=True) for name, _ in ACCURACIES)
    ratio = readable_ratio(advantage.uplink_ratio)
    return DifferenceRow(
        method=advantage.method,
        reference=advantage.baseline,
        seeds=str(len(advantage.seeds)),
        cells=(*accuracies, ComparedCell(text=ratio)),
    )


def percent_cell(estimate: Estimate, *, best: bool = False, signed: bool = False) -> ComparedCell:
    """A share of 1 in percent (of a difference: in points, with its sign), with half its interval."""
    mean = 100 * estimate.mean
    return ComparedCell(
        text=f"{mean:+.1f}" if signed else f"{mean:.1f}",
        spread="" if estimate.half_width is None else f"{100 * estimate.half_width:.1f}",
        best=best,
    )
