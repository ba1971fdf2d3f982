"""The table of a comparison, whatever prints it: a section for each split, a row for each method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedstill_sim.compare.estimate import Estimate
from fedstill_sim.compare.result import Advantage, ComparisonResult, MethodEstimate, SplitComparison
from fedstill_sim.results.readable import NONE, counted, readable_bytes, readable_ratio

ACCURACIES = (
    ("personal_accuracy", "personal"),
    ("global_accuracy", "global"),
    ("worst_device_accuracy", "worst"),
)
_BYTES = ("uplink", "downlink", "total")


@dataclass(frozen=True, kw_only=True)
class ComparedCell:
    """A figure: an estimate in percent or points, or a text."""

    text: str
    spread: str = ""  # half of the 95 % interval, where there is one
    best: bool = False

    def joined(self, sign: str) -> str:
        """Join figure and interval by a sign: 93.4 ± 1.2."""
        return f"{self.text} {sign} {self.spread}" if self.spread else self.text


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """A method on a split; seeds is "2/3" where a run failed, else "3"."""

    method: str
    seeds: str
    cells: tuple[ComparedCell, ...]  # personal, global, worst; bytes up, down and in all


@dataclass(frozen=True, kw_only=True)
class DifferenceRow:
    """A method minus its reference, paired by seed."""

    method: str
    reference: str
    seeds: str
    cells: tuple[ComparedCell, ...]  # personal, global, worst in points; bytes as a ratio


@dataclass(frozen=True, kw_only=True)
class Section:
    """The part of the table for one split."""

    title: str
    rows: tuple[ComparedRow, ...]
    differences: tuple[DifferenceRow, ...]


def sections(comparison: ComparisonResult) -> list[Section]:
    """Make a section for every split, with all methods, even those without a finished run."""
    return [
        Section(
            title=section_title(on_split) if len(comparison.splits) > 1 else _data_title(on_split),
            rows=tuple(_row(on_split, method, asked=len(comparison.seeds)) for method in comparison.methods),
            differences=tuple(_difference(advantage) for advantage in on_split.advantages),
        )
        for on_split in comparison.splits
    ]


def section_title(on_split: SplitComparison) -> str:
    """Title a split: digits, Dirichlet 0.1: 20 devices."""
    return (
        on_split.split.name
        if on_split.data is None
        else f"{on_split.split.name}: {counted(on_split.data.devices, 'device')}"
    )


def _data_title(on_split: SplitComparison) -> str:
    """Title the only split: digits: 20 devices."""
    data = on_split.data
    return section_title(on_split) if data is None else f"{data.name}: {counted(data.devices, 'device')}"


def best_means(methods: Sequence[MethodEstimate]) -> dict[str, float]:
    """Return the highest mean of each accuracy."""
    return {
        name: max((getattr(method, name).mean for method in methods), default=0.0) for name, _ in ACCURACIES
    }


def _row(on_split: SplitComparison, method: str, *, asked: int) -> ComparedRow:
    estimate = on_split.methods.get(method)
    if estimate is None:
        nothing = (ComparedCell(text=NONE),) * (len(ACCURACIES) + len(_BYTES))
        return ComparedRow(method=method, seeds=f"0/{asked}", cells=nothing)
    best = best_means(list(on_split.methods.values()))
    accuracies = tuple(
        percent_cell(getattr(estimate, name), best=getattr(estimate, name).mean == best[name])
        for name, _ in ACCURACIES
    )
    sent = (getattr(estimate, f"{way}_bytes_per_device_round") for way in _BYTES)
    finished = len(estimate.seeds)
    return ComparedRow(
        method=method,
        seeds=str(asked) if finished == asked else f"{finished}/{asked}",
        cells=(*accuracies, *(ComparedCell(text=readable_bytes(one.mean)) for one in sent)),
    )


def _difference(advantage: Advantage) -> DifferenceRow:
    accuracies = tuple(percent_cell(getattr(advantage, name), signed=True) for name, _ in ACCURACIES)
    ratio = readable_ratio(advantage.bytes_ratio)
    return DifferenceRow(
        method=advantage.method,
        reference=advantage.baseline,
        seeds=str(len(advantage.seeds)),
        cells=(*accuracies, ComparedCell(text=ratio)),
    )


def percent_cell(estimate: Estimate, *, best: bool = False, signed: bool = False) -> ComparedCell:
    """Show an accuracy in percent, or a difference of accuracies in points with its sign."""
    mean = 100 * estimate.mean
    return ComparedCell(
        text=f"{mean:+.1f}" if signed else f"{mean:.1f}",
        spread="" if estimate.half_width is None else f"{100 * estimate.half_width:.1f}",
        best=best,
    )
