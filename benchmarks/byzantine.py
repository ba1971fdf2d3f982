"""Prints what devices that lie cost the honest ones: attack x fold x share, global and personal accuracy.

    python benchmarks/byzantine.py                            # the fold that the method chooses, at 20 %
    python benchmarks/byzantine.py --folds all --shares 0.1,0.2,0.3,0.4       # the whole table: a night
    python benchmarks/byzantine.py --quick                    # one seed, five rounds, five attacks
    python benchmarks/byzantine.py --only second-class,blind-spot --settings a0.1-labels --seeds 1

Digits over 20 devices, Dirichlet .1 and 1, with the public set's labels, with 50 of them that the server
keeps secret, and without any. Beside the attacks stand the run without liars, and the floor: the same run,
measured on the same devices, that uses nobody's answers. The last rows say the worst of all attacks for each
fold, and whether it holds the bars. Seeds begin at 100: nothing was chosen on those.

Results are in --out, a JSON file with one entry a run; the same command goes on where it was stopped, and
--minutes stops it in good time. --attacks takes options, too: "blind-spot trust=0.5 length=3".
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
DEVICES, FIRST_SEED = 20, 100
CLEAN, FLOOR = "no liars", "nobody's answers used"
ALMOST_NOTHING = "1e-9"  # a server's step that moves nothing
STEPS = {"fedstill": "server_step", "public-logits": "server_rate"}
# Other options of attacks of soft labels, each for a fold: louder than a clip, and unseen by labels.
VARIANTS = ("inside-clip length=20", "blind-spot length=20", "min-max unseen=true")
QUICK = ("second-class", "sign-flip", "inside-clip", "blind-spot", "mimic")
ALLOWED = 0.01  # below the floor


@dataclasses.dataclass(frozen=True)
class Setting:
    """A fleet: its skew, and whether the server uses the public set's labels."""

    name: str
    alpha: float
    request: Mapping[str, Any]
    method: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    folds: tuple[str, ...] = ("auto",)  # that are tried where nobody says


SETTINGS = {
    one.name: one
    for one in (
        Setting("a0.1-labels", 0.1, {}),
        Setting("a1-labels", 1.0, {}),
        Setting("a0.1-50", 0.1, {"use_public_labels": False, "secret_labels": "50"}),
        Setting("a0.1-none", 0.1, {"use_public_labels": False}),
        Setting("a1-none", 1.0, {"use_public_labels": False}, folds=("auto", "nearest")),
    )
}


class Bar(NamedTuple):
    """What the worst of all attacks is to leave of global accuracy, of the method fedstill."""

    setting: str
    share: float
    least: float
    fold: str = "auto"
    clean_loss: float = 0.01


BARS = (
    Bar("a0.1-labels", 0.2, 0.90),
    Bar("a1-labels", 0.2, 0.91),
    Bar("a0.1-50", 0.2, 0.86, clean_loss=0.02),
    Bar("a1-none", 0.2, 0.89, "nearest"),  # for mild skew; it is the operator's to say so
    Bar("a1-none", 0.3, 0.84, "nearest"),
)


class Job(NamedTuple):
    """One run."""

    method: str
    setting: str
    fold: str
    attack: str
    share: float
    seed: int
    rounds: int
    students: str

    @property
    def key(self) -> str:
        return "/".join(map(str, self))


def run_job(job: Job) -> dict[str, Any]:
    """Make one run, in a folder that goes with it."""
    from fedstill_proto.errors import FedstillError
    from fedstill_sim.config import requested_data, resolve
    from fedstill_sim.runner.in_memory import run_fleet

    began = time.perf_counter()
    try:
        request = request_of(job)
        data = requested_data(request)
        with tempfile.TemporaryDirectory(prefix="byzantine-") as folder:
            run = run_fleet(data, resolve(request, data), Path(folder) / "run")
    except FedstillError as error:
        return {**job._asdict(), "failed": str(error)}
    return {
        **job._asdict(),
        "global": run.final.global_accuracy,
        "personal": run.final.personal_accuracy,
        "success": run.attack.success if run.attack else None,
        "seconds": round(time.perf_counter() - began, 2),
    }


def request_of(job: Job) -> Any:
    """What the simulator is asked for."""
    from fedstill_sim.request import RunRequest

    setting, options = SETTINGS[job.setting], {}
    if job.fold != "-":
        options["fold"] = job.fold
    attack: dict[str, Any] = {}
    if job.attack != CLEAN:
        name, *given = ("free-rider",) if job.attack == FLOOR else job.attack.split()
        attack = {"adversaries": job.share, "attack": name, "attack_options": tuple(given)}
    method = job.method
    if job.attack == FLOOR:
        options = {STEPS[method]: ALMOST_NOTHING} if method in STEPS else {}
        method = method if method in STEPS else "local"
    return RunRequest(
        method=method,
        dataset="digits",
        devices=DEVICES,
        dirichlet=setting.alpha,
        seed=job.seed,
        rounds=job.rounds,
        evaluate_every=0,
        families=tuple(job.students.split(",")),
        baselines=(),
        tradeoff=False,
        processes=0,
        method_options={**setting.method, **options},
        **setting.request,
        **attack,
    )


def attacks_for(method: str) -> list[str]:
    """All attacks that make sense for the method, and variants of some."""
    from fedstill_sim.attacks.registry import ATTACKS, suits

    names = [name for name in ATTACKS if suits(name, method)]
    return names + [one for one in VARIANTS if "lma" in names]  # what lies about soft labels


def folds_for(method: str, setting: Setting) -> list[str]:
    """All folds of the method's answers; "-" where it has none."""
    from fedstill_server.config.options import options_of
    from fedstill_server.consensus.folds import FOLDS
    from fedstill_server.methods import METHODS
    from fedstill_server.methods.folded import folds_of

    kind = METHODS.load(method)
    if "fold" not in {one.name for one in options_of(kind)}:
        return ["-"]
    labelled = setting.request.get("use_public_labels", True) or "secret_labels" in setting.request
    return [name for name in folds_of(kind.answer_kind) if labelled or not FOLDS.load(name).needs_labels]


def jobs_of(asked: argparse.Namespace) -> list[Job]:
    """Every run that the table needs; those of one seed before those of the next."""
    jobs: list[Job] = []
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        for method in asked.methods:
            attacks = list(asked.attacks or attacks_for(method))
            attacks = [one for one in attacks if not asked.only or one.split()[0] in asked.only]
            for name in asked.settings:
                folds = folds_for(method, SETTINGS[name])
                if "all" not in asked.folds and folds != ["-"]:
                    folds = list(asked.folds or (SETTINGS[name].folds if method == "fedstill" else ["auto"]))
                rest = (seed, asked.rounds, asked.students)
                for share in asked.shares:
                    jobs.append(Job(method, name, "-", FLOOR, share, *rest))
                if folds != ["-"]:
                    jobs.append(Job(method, name, "mean", CLEAN, 0.0, *rest))  # what folds are held against
                for fold in folds:
                    jobs.append(Job(method, name, fold, CLEAN, 0.0, *rest))
                    jobs += [
                        Job(method, name, fold, one, share, *rest)
                        for share in asked.shares
                        for one in attacks
                    ]
    return list(dict.fromkeys(jobs))


def start_worker() -> None:
    """One thread a process: two of them have two cores."""
    import warnings

    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def run_all(
    jobs: Sequence[Job], results: dict[str, Any], out: Path, *, processes: int, minutes: float
) -> bool:
    """Make what is not there yet; False where time was up before."""
    waiting = [job for job in jobs if job.key not in results]
    began, done, total = time.monotonic(), 0, len(waiting)
    os.environ |= dict.fromkeys(_THREADS, "1")
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=start_worker) as pool:
        running: dict[Future[dict[str, Any]], Job] = {}
        queue = iter(waiting)
        over = False
        while True:
            over = over or time.monotonic() - began > 60 * minutes
            while not over and len(running) < processes and (job := next(queue, None)) is not None:
                running[pool.submit(run_job, job)] = job
            if not running:
                return done == total
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                results[job.key] = future.result()
                write(results, out)
                done += 1
                left = (time.monotonic() - began) / done * (total - done)
                said = results[job.key]
                figure = said.get("failed") or f"{100 * said['global']:.1f}"
                where = f"{job.method} {job.setting} {job.fold} {job.attack} {job.share:.0%} seed {job.seed}"
                print(f"[{done}/{total}, {left / 60:.0f} min left] {where}: {figure}", file=sys.stderr)


def write(results: Mapping[str, Any], out: Path) -> None:
    """Replace the file whole."""
    partial = out.with_name(out.name + ".partial")
    partial.write_text(json.dumps(results, indent=0) + "\n")
    partial.replace(out)


class Place(NamedTuple):
    """Where in the tables a column stands."""

    method: str
    setting: str
    fold: str
    share: float


class Table:
    """The means over seeds of what is there."""

    def __init__(self, results: Iterable[Mapping[str, Any]]) -> None:
        self._values: dict[tuple[Place, str], list[Mapping[str, Any]]] = {}
        for one in results:
            if "failed" not in one:
                place = Place(one["method"], one["setting"], one["fold"], one["share"])
                self._values.setdefault((place, one["attack"]), []).append(one)

    def mean(self, kind: str, place: Place, attack: str) -> float | None:
        """The mean over seeds of an accuracy; None where no run is there."""
        if attack == FLOOR:
            place = place._replace(fold="-")
        if attack == CLEAN:
            place = place._replace(share=0.0)
        found = [one[kind] for one in self._values.get((place, attack), ())]
        return statistics.fmean(found) if found else None

    def worst(self, place: Place, attacks: Sequence[str]) -> tuple[float, str] | None:
        """The least global accuracy that an attack leaves, and which; None where none was run."""
        found = ((self.mean("global", place, attack), attack) for attack in attacks)
        return min(((value, attack) for value, attack in found if value is not None), default=None)


def attacks_of(jobs: Iterable[Job]) -> list[str]:
    """The attacks among the runs."""
    return list(dict.fromkeys(job.attack for job in jobs if job.attack not in (CLEAN, FLOOR)))


def lines_of(table: Table, jobs: Sequence[Job]) -> Iterator[str]:
    """The tables as Markdown: one for each method and setting."""
    for method, setting in dict.fromkeys((job.method, job.setting) for job in jobs):
        here = [job for job in jobs if (job.method, job.setting) == (method, setting)]
        attacks = attacks_of(here)
        folds = dict.fromkeys(job.fold for job in here if job.share and job.attack != FLOOR)
        shares = sorted({job.share for job in here if job.share})
        places = [Place(method, setting, fold, share) for fold in folds for share in shares]
        yield f"\n### {method}, {setting}\n"
        yield "Global (personal) accuracy of the honest devices in per cent.\n"
        yield _row("attack", [f"{place.fold} {place.share:.0%}" for place in places])
        yield "|---|" + "---|" * len(places)
        for attack in (CLEAN, *attacks, FLOOR):
            yield _row(attack, [_cell(table, place, attack) for place in places])
        worst = [table.worst(place, attacks) for place in places]
        yield _row("**worst**", ["–" if one is None else f"**{100 * one[0]:.1f}** {one[1]}" for one in worst])


def _row(name: str, cells: Iterable[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


def _cell(table: Table, place: Place, attack: str) -> str:
    everyone, personal = (table.mean(kind, place, attack) for kind in ("global", "personal"))
    return "–" if everyone is None or personal is None else f"{100 * everyone:.1f} ({100 * personal:.1f})"


def verdicts_of(table: Table, jobs: Sequence[Job]) -> Iterator[str]:
    """Whether the bars hold."""
    attacks = attacks_of(jobs)
    for bar in BARS:
        place = Place("fedstill", bar.setting, bar.fold, bar.share)
        worst, where = table.worst(place, attacks), f"{bar.setting}, {bar.fold}, at {bar.share:.0%}"
        if worst is None:
            continue
        left, attack = worst
        yield (
            f"{_held(left >= bar.least)}: {where}: the worst of {len(attacks)} attacks, {attack}, leaves "
            f"{100 * left:.1f}; the bar is {100 * bar.least:.0f}"
        )
        if (floor := table.mean("global", place, FLOOR)) is not None:
            yield (
                f"{_held(left >= floor - ALLOWED)}: {where}: that is {100 * (left - floor):+.1f} points to "
                "the run that uses nobody's answers"
            )
        clean, plain = (table.mean("global", place._replace(fold=fold), CLEAN) for fold in (bar.fold, "mean"))
        if clean is not None and plain is not None:
            yield (
                f"{_held(clean >= plain - bar.clean_loss)}: {bar.setting}, {bar.fold}: without liars "
                f"{100 * clean:.1f}, {100 * (clean - plain):+.1f} points to the plain mean"
            )


def _held(holds: bool) -> str:
    return "holds" if holds else "MISSED"


def read_arguments() -> argparse.Namespace:
    """The command line."""

    def several(text: str) -> list[str]:
        return [part.strip() for part in text.split(",") if part.strip()]

    def numbers(text: str) -> list[float]:
        return [float(part) for part in several(text)]

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", type=several, default=["fedstill"])
    parser.add_argument(
        "--folds", type=several, default=[], help="names, or all; by default what methods choose"
    )
    parser.add_argument("--settings", type=several, default=list(SETTINGS), help=", ".join(SETTINGS))
    parser.add_argument("--attacks", type=several, default=[], help="by default all that suit the method")
    parser.add_argument("--only", type=several, default=[], help="of these attacks, those with these names")
    parser.add_argument("--shares", type=numbers, default=[0.2])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--students", default="mlp-small", help="families, dealt out in turn")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after so many")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("byzantine.json"))
    asked = parser.parse_args()
    if asked.quick:
        asked.seeds, asked.rounds, asked.only = 1, 5, asked.only or list(QUICK)
    return asked


def main() -> int:
    asked = read_arguments()
    jobs = jobs_of(asked)
    results: dict[str, Any] = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    complete = run_all(jobs, results, asked.out, processes=asked.jobs, minutes=asked.minutes)
    mine = [results[job.key] for job in jobs if job.key in results]
    table = Table(mine)
    for line in lines_of(table, jobs):
        print(line)
    print()
    verdicts = list(verdicts_of(table, jobs))
    for line in verdicts:
        print(line)
    for one in mine:
        if "failed" in one:
            print(f"failed: {one['method']} {one['setting']} {one['fold']} {one['attack']}: {one['failed']}")
    if not complete:
        print(f"not all: {len(mine)} of {len(jobs)} runs are there; the same command goes on")
    return 0 if complete and not any(line.startswith("MISSED") for line in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
