"""One answer for two kinds of questions: what an app gets on a device that has seen five of ten classes.

    python benchmarks/one_answer.py --data digits mnist5k
    python benchmarks/one_answer.py --seeds 0-4 --data digits mnist1d    # what settings are chosen on

A student is distilled from a few hundred labelled public examples and published. A device's agent then
observes examples of five classes, and answers test examples of all ten: in the owner's scope, which is the
default, and in everyone's. It does so after observing alone, and once more after `personalize`. For each
number of observed examples, the means over the seeds (a seed is another split, five other classes, and
another student):

  own       right answers to test examples of the five classes, in the owner's scope
  all       right answers to those of all ten, in the owner's scope
  fleet     the same two, in everyone's scope
  lost      what the device that lost most loses on all, against everyone's scope
  off       the expected calibration error of the two: how far confidence is from the share of right answers
  replaced  devices on which what was learned took the place of the student from before

`renamed` are devices whose owner calls the ten classes by each other's names: what the fleet knows misleads
them, and own is all that counts. The exit code is 1 where a bar is missed: the default answers keep at least
93 % on everyone's digits, and get no worse on the device's own classes than in everyone's scope.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from fedstill_client.agent.agent import Agent
from fedstill_client.agent_types import SCOPES
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.package.artifact import StudentPackage, load_student
from fedstill_server.calibration import calibration
from rich.console import Console
from rich.table import Table
from sets.sources import SOURCES

import fedstill as fs

OBSERVED = (0, 5, 50, 147, 500)
CLASSES, SEEN = 10, 5
LEAST_ON_EVERYONES = 0.93  # of digits
# Examples to test and public ones; of the others, a device has those of its classes.
PARTS = {"digits": (300, 500), "mnist1d": (1000, 1000), "mnist5k": (1000, 1000)}


@dataclass(frozen=True, eq=False)
class Sample:
    """One split: a published student, a device's examples, and test examples."""

    package: StudentPackage
    x: FloatArray  # [n, *shape] of the device's classes
    y: IntArray  # [n]
    test_x: FloatArray
    test_y: IntArray
    own: npt.NDArray[np.bool_]  # whether a test example is of the device's classes

    @classmethod
    def of(cls, data: str, seed: int, folder: Path, *, renamed: bool) -> Sample:
        source = SOURCES[data](seed)
        x, y, random = source.x, source.y, np.random.default_rng(seed)
        tests, publics = PARTS[data]
        test, public, rest = np.split(random.permutation(len(x)), [tests, tests + publics])
        seen = random.permutation(CLASSES)[:SEEN]
        names = random.permutation(CLASSES) if renamed else np.arange(CLASSES)
        fs.distill(
            "train:mlp-128-128",
            public=(x[public], y[public]),
            test=(x[test], y[test]),
            student="mlp-64-32",
            trainable=True,
            seed=seed,
            out=folder,
        )
        rest = rest[np.isin(y[rest], seen)]
        own = np.isin(y[test], seen)
        return cls(load_student(folder / "student"), x[rest], names[y[rest]], x[test], names[y[test]], own)


@dataclass(frozen=True)
class Figures:
    """Shares of right answers, calibration errors, and whether a learning replaced the student."""

    own: float
    all: float
    fleet_own: float
    fleet_all: float
    lost: float
    off_own: float
    off_all: float
    replaced: float

    @classmethod
    def of(cls, agent: Agent, sample: Sample, *, replaced: bool = False) -> Figures:
        said, alone = (agent.predict(sample.test_x, scope=scope) for scope in SCOPES)
        owner, everyone = (chances.argmax(axis=1) == sample.test_y for chances in (said, alone))
        logits = np.log(np.maximum(said, 1e-30))
        return cls(
            float(owner[sample.own].mean()),
            float(owner.mean()),
            float(everyone[sample.own].mean()),
            float(everyone.mean()),
            float(everyone.mean() - owner.mean()),
            calibration(logits[sample.own], sample.test_y[sample.own]).ece,
            calibration(logits, sample.test_y).ece,
            float(replaced),
        )


def live(sample: Sample, observed: int, folder: Path, share: float | None) -> tuple[Figures, Figures]:
    """Let a device observe so many examples; measure its answers before and after it learns."""
    home = AgentHome(folder)
    home.create()
    description = {"name": folder.name, "family": sample.package.manifest.family, "owner_share": share}
    home.description.write_text(json.dumps({k: v for k, v in description.items() if v is not None}))
    with PrivateStore.create(home) as store:
        install(home, store, sample.package)
    with Agent.open(home.folder) as agent:
        if observed:
            agent.observe(sample.x[:observed], sample.y[:observed])
        before = Figures.of(agent, sample)
        learned = agent.personalize()
        return before, Figures.of(agent, sample, replaced=learned.result == "replaced")


def measure(data: str, seeds: range, share: float | None, *, renamed: bool) -> dict[tuple[int, str], Figures]:
    """Measure all numbers of observed examples; the means over the seeds, before and after learning."""
    found: dict[tuple[int, str], list[Figures]] = {}
    with tempfile.TemporaryDirectory(prefix="fs") as place:
        for seed in seeds:
            sample = Sample.of(data, seed, Path(place) / f"package-{seed}", renamed=renamed)
            for observed in OBSERVED:
                both = live(sample, observed, Path(place) / f"device-{seed}-{observed}", share)
                for when, figures in zip(("observed", "learned"), both, strict=True):
                    found.setdefault((observed, when), []).append(figures)
    return {key: summary(several) for key, several in found.items()}


def summary(several: list[Figures]) -> Figures:
    """Return the means over devices, and the most that one has lost."""
    means = Figures(*np.mean([list(vars(each).values()) for each in several], axis=0).tolist())
    return replace(means, lost=max(each.lost for each in several))


def show(title: str, found: dict[tuple[int, str], Figures]) -> None:
    """Print a table of what was measured."""
    columns = ("own", "all", "fleet own", "fleet all", "lost", "off own", "off all", "replaced")
    table = Table("examples", "", *columns, box=None, title=title)
    for (observed, when), figures in found.items():
        shares = [f"{100 * value:.1f}" for value in vars(figures).values()]
        table.add_row(str(observed), when, *shares)
    Console(width=100).print(table)


def judged(found: dict[tuple[int, str], Figures]) -> bool:
    """Print whether the bars on digits are met."""
    kept = min(figures.all for figures in found.values())
    gained = min(figures.own - figures.fleet_own for figures in found.values())
    met = kept >= LEAST_ON_EVERYONES and gained >= 0
    print(f"{'MET' if met else 'MISSED'}: {kept:.1%} at least on everyone's digits; ", end="")
    print(f"own classes {100 * gained:+.1f} points at least against everyone's scope")
    return met


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--data", nargs="+", default=["digits"], choices=list(PARTS))
    parser.add_argument("--seeds", default="1000-1009", help="first-last")
    parser.add_argument("--owner-share", type=float, default=0.3, help="that of device.json")
    options = parser.parse_args()
    first, last = map(int, options.seeds.split("-"))
    seeds, met = range(first, last + 1), True
    for data in options.data:
        found = measure(data, seeds, options.owner_share, renamed=False)
        show(f"{data}, seeds {options.seeds}", found)
        met &= data != "digits" or judged(found)
        show(f"{data}, renamed", measure(data, seeds, options.owner_share, renamed=True))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
