"""The perplexity of a state-space student against that of a GRU with as many parameters, on public plays.

    python benchmarks/state_space.py            # about 10 minutes of one core

Speeches of the keyboard's public plays, of ten of which one is held out to test and one to choose by. Both
learn the same rows in the same order, for the same number of passes, from the labels alone. The learning rate
of each is the best of the same few on the speeches to choose by, with a seed of its own; the perplexity is
that of the held-out next words, over paired seeds. The bar: the ratio of perplexities is at most 1.05, with
the upper end of its 95 % interval (Student's t over the logarithms of the pairs).
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from fedstill_server.distill.engine import train
from fedstill_server.distill.job import DistillJob
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.distill.scoring import perplexity_on
from fedstill_server.distill.stage_runner import network_of
from fedstill_server.distill.text_task import TextDistillTask, open_text
from fedstill_sim.tasks.text.data import load_keyboard
from scipy.stats import t as student_t

STATE_SPACE, RECURRENT = "ssm-64-128", "gru-64-104"
RATES = (3e-3, 6e-3, 1.2e-2)
PLAN = DistillPlan(epochs=6, batch_size=32, learning_rate=RATES[0], weight_decay=0.05)
_TUNING_SEED = 1000
BAR = 1.05


def plays(speeches: int, places: int) -> TextDistillTask:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plays.txt"
        file.write_text("\n".join(text.replace("\n", " ") for text in load_keyboard().public[:speeches]))
        return open_text(str(file), words=2000, places=places)


def perplexities(
    task: TextDistillTask, family: str, plan: DistillPlan, *, seed: int
) -> tuple[float, float, int]:
    """Of the speeches to choose by and of those to test on, and how many parameters the student has."""
    assert task.public.y is not None
    job = DistillJob(
        family=family,
        classes=task.classes,
        x=task.public.x,
        labels=task.public.y,
        plan=replace(plan, seed=seed),
    )
    network = network_of(job, train(job))
    count = sum(value.numel() for value in network.parameters())
    return perplexity_on(network, task.validation), perplexity_on(network, task.test), count


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speeches", type=int, default=1500)
    parser.add_argument("--places", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=PLAN.epochs)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--families", nargs=2, default=(STATE_SPACE, RECURRENT))
    given = parser.parse_args()
    task, begun = plays(given.speeches, given.places), time.process_time()
    plan = replace(PLAN, epochs=given.epochs)
    print(f"{len(task.public)} rows of {given.places} words, {task.classes} words known", flush=True)
    chosen: dict[str, DistillPlan] = {}
    for family in given.families:
        tried = {
            rate: perplexities(task, family, replace(plan, learning_rate=rate), seed=_TUNING_SEED)
            for rate in given.rates
        }
        best = min(tried, key=lambda rate: tried[rate][0])
        chosen[family] = replace(plan, learning_rate=best)
        told = ", ".join(f"{rate:g}: {found[0]:.1f}" for rate, found in tried.items())
        print(f"{family}: {tried[best][2]:,d} parameters; to choose by, {told}", flush=True)
    pairs = []
    for seed in range(given.seeds):
        pair = [perplexities(task, family, chosen[family], seed=seed)[1] for family in given.families]
        pairs.append(pair)
        print(f"seed {seed}: " + ", ".join(f"{f} {p:.1f}" for f, p in zip(given.families, pair, strict=True)))
    ratios = [math.log(one / other) for one, other in pairs]
    mean = statistics.mean(ratios)
    half = student_t.ppf(0.975, len(ratios) - 1) * statistics.stdev(ratios) / len(ratios) ** 0.5
    low, middle, high = (math.exp(value) for value in (mean - half, mean, mean + half))
    print(
        f"ratio of perplexities {middle:.3f} [{low:.3f}, {high:.3f}], {time.process_time() - begun:.0f} s; "
        f"the bar of {BAR} is {'met' if high <= BAR else 'missed'}"
    )
    return 0 if high <= BAR else 1


if __name__ == "__main__":
    raise SystemExit(main())
