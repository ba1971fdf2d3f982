"""`fedstill.compare`: methods over fleets and seeds, each figure with its interval."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedstill_proto.errors import FedstillError, unknown_name
from fedstill_proto.system.extras import explain_missing, require_extra
from fedstill_sim.compare.result import (
    BASELINES,
    ComparisonResult,
    Split,
    SplitRuns,
    compare_runs,
    comparison_timing,
)
from fedstill_sim.data.fleet import FleetDataError
from fedstill_sim.results.run_result import RunResult

from fedstill.fleet import Fleet
from fedstill.simulation.simulate import checked_run, simulate

if TYPE_CHECKING:
    import pandas as pd
    from fedstill_sim.results.verdict import Verdict

    from fedstill.chosen import AnyMethod
    from fedstill.models import Network, Student

FleetOfSeed = Fleet | Callable[[int], Fleet]

_FIGURES = (
    "personal_accuracy",
    "global_accuracy",
    "worst_device_accuracy",
    "teacher_accuracy",
    "uplink_bytes_per_device_round",
    "downlink_bytes_per_device_round",
    "total_bytes_per_device_round",
)


class Comparison:
    """Methods over fleets and seeds, compared.

    Attributes:
        outcome: Means with their 95 % intervals, paired differences and verdicts, as in a compare.json.
        runs: The result of each run by (fleet, method, seed).
    """

    def __init__(self, outcome: ComparisonResult, runs: Mapping[tuple[str, str, int], RunResult]) -> None:
        self.outcome = outcome
        self.runs = dict(runs)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What the first method that is none of the references has over them, in sentences."""
        return tuple(verdict for on_split in self.outcome.splits for verdict in on_split.verdicts)

    def to_pandas(self) -> pd.DataFrame:
        """Return a line a run: fleet, method, seed, and where the run ended.

        Raises:
            MissingExtra: pandas is not installed.
        """
        with explain_missing("to_pandas"):
            import pandas as pd
        lines = [
            {"fleet": fleet, "method": method, "seed": seed}
            | {name: getattr(run.final, name) for name in _FIGURES}
            for (fleet, method, seed), run in self.runs.items()
        ]
        return pd.DataFrame(lines, columns=["fleet", "method", "seed", *_FIGURES])

    def report(self, path: Path | str = "compare.html") -> Path:
        """Write the report, one HTML file that needs no other.

        Returns:
            Where it lies.
        """
        from fedstill_sim.compare.report import write_comparison_report

        write_comparison_report(self.outcome, Path(path))
        return Path(path)

    def to_markdown(self) -> str:
        """Return the table as Markdown."""
        from fedstill_sim.compare.markdown import markdown

        return markdown(self.outcome)

    def __repr__(self) -> str:
        methods = ", ".join(self.outcome.methods)
        return f"<Comparison of {methods}: {len(self.runs)} runs>\n{self.to_markdown()}"


def compare(
    fleets: FleetOfSeed | Mapping[str, FleetOfSeed],
    *,
    methods: Sequence[AnyMethod] | Mapping[str, AnyMethod],
    students: Sequence[Student | Network] = (),
    seeds: int | Iterable[int] = 3,
    reference: str | None = None,
    out: Path | str | None = None,
    **options: Any,
) -> Comparison:
    """Run several methods on fleets and seeds, and say with intervals which is better at what.

    Args:
        fleets: A fleet, or several by name. In place of a fleet, a function that makes one of the seed, so
            that each seed deals out the data anew: `lambda seed: fs.datasets.digits(devices=20, seed=seed)`.
        methods: Objects of `fedstill.methods`, or names; two or more. A mapping gives each a name of its own,
            which two of one class need.
        students: What devices learn, as of `fedstill.simulate`.
        seeds: How many there are, counted from 0, or which.
        reference: The method that all others are compared with, by its name; by default local and fedavg.
        out: A folder that keeps the runs; the same call goes on with those that it holds. By default none is
            kept.
        **options: What `fedstill.simulate` takes by name.

    Returns:
        The comparison.

    Raises:
        FedstillError: An argument does not fit; the text names it.
        MissingExtra: fedstill[sim] is not installed.

    Example:
        >>> both = fs.compare(fleet, methods=["local", fs.methods.Fedstill()], seeds=5)  # doctest: +SKIP
        >>> both.report("compare.html")  # doctest: +SKIP
    """
    require_extra("sim", what="fedstill.compare")
    named = _methods(methods)
    numbers = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not numbers:
        raise FleetDataError("seeds: none given; name at least one")
    if reference is not None and reference not in named:
        raise unknown_name("reference", reference, named)
    started = time.perf_counter()
    options = {"tradeoff": False, **options, "students": students}
    _check(_fleets(fleets, numbers[0]), named, options, seed=numbers[0])
    runs: dict[tuple[str, str, int], RunResult] = {}
    with tempfile.TemporaryDirectory(prefix="fedstill-") as scratch:
        folder = Path(scratch if out is None else out)
        for seed in numbers:
            for fleet_name, fleet in _fleets(fleets, seed).items():
                for name, method in named.items():
                    place = folder / fleet_name / f"{name}-seed{seed}"
                    run = simulate(fleet, method=method, seed=seed, **{**options, "out": place}).run
                    runs[fleet_name, name, seed] = dataclasses.replace(run, method=name)
    references = BASELINES if reference is None else (reference,)
    outcome = _compared(runs, tuple(named), numbers, references, time.perf_counter() - started)
    return Comparison(outcome, runs)


def _check(
    fleets: Mapping[str, Fleet], methods: Mapping[str, AnyMethod], options: dict[str, Any], *, seed: int
) -> None:
    """Refuse what does not fit in any of the runs before the first of them begins."""
    for fleet in fleets.values():
        for method in methods.values():
            checked_run(fleet, method=method, seed=seed, **options)


def _methods(given: Sequence[AnyMethod] | Mapping[str, AnyMethod]) -> dict[str, AnyMethod]:
    """The methods by the names that tables and folders give them."""
    if isinstance(given, Mapping):
        named = dict(given)
    else:
        from fedstill.chosen import chosen_method

        names = [chosen_method(method, where="methods").name.rpartition(":")[2] for method in given]
        if twice := {name for name in names if names.count(name) > 1}:
            raise FedstillError(f"methods: there are several {', '.join(sorted(twice))}; map a name to each")
        named = dict(zip(names, given, strict=True))
    if len(named) < 2:
        raise FedstillError("methods: name at least two to compare; a single one is run by fedstill.simulate")
    return named


def _fleets(given: FleetOfSeed | Mapping[str, FleetOfSeed], seed: int) -> dict[str, Fleet]:
    """The fleets of a seed by name."""
    made = {
        name: fleet if isinstance(fleet, Fleet) else fleet(seed)
        for name, fleet in (given if isinstance(given, Mapping) else {"": given}).items()
    }
    return {name or fleet.data.name: fleet for name, fleet in made.items()}


def _compared(
    runs: Mapping[tuple[str, str, int], RunResult],
    methods: tuple[str, ...],
    seeds: tuple[int, ...],
    references: Sequence[str],
    seconds: float,
) -> ComparisonResult:
    splits = [
        SplitRuns(
            split=Split(dataset=fleet, data=None, dirichlet=None),
            finished=tuple(run for (of, _, _), run in runs.items() if of == fleet),
        )
        for fleet in dict.fromkeys(fleet for fleet, _, _ in runs)
    ]
    return compare_runs(
        splits,
        methods=methods,
        seeds=seeds,
        references=references,
        config={
            "comparison": {"command": "fedstill.compare", "methods": list(methods), "seeds": list(seeds)}
        },
        timing=comparison_timing(splits, total_seconds=seconds),
    )
