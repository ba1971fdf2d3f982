"""What the server's fold costs: microseconds of processor a device, and seconds for combining 512 answers.

Devices answer 320 of 800 public rows (fedstill), or with the mean soft labels of 4 of 10 classes
(class-logits); what they say is drawn. `one by one` is the method's definition, each device for itself, and
`stacked` what a run does; that both come to the same bits is checked.

    python benchmarks/fold_cost.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from fedstill_proto.messages import (
    Optimizer,
    PrivateStatistics,
    SoftLabelSummary,
    SummaryKind,
    TrainingPlan,
)
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.consensus.exact_sum import ExactFold
from fedstill_server.consensus.folds.norms import Norms
from fedstill_server.data.examples import Examples
from fedstill_server.methods import METHODS, Method, build_method, completed
from fedstill_server.rounds.partial_fold import PartialFold, no_answers, settled
from fedstill_server.state import FleetState, digest_of

ROWS, ANSWERED, CLASSES = 800, 320, 10
RUN, FAMILY = "0123abcd", "mlp-small"
CASES = (
    ("fedstill", "vetted"),
    ("fedstill", "trust"),
    ("fedstill", "clipped"),
    ("class-logits", "own-class"),
)


def bound(name: str, fold: str) -> tuple[Method, FleetState]:
    """A method of a fleet, and what of its state a fold reads."""
    config = FleetConfig(
        run=RUN,
        method=completed(name, {"fold": fold}),
        rounds=1,
        seed=1,
        families=(FAMILY,),
        classes=CLASSES,
        input_shape=(64,),
        public_set="public.npz",
        uplink=METHODS.load(name).defaults.uplink,
        public_batch=ANSWERED,
        training=TrainingPlan(
            epochs=1,
            batch_size=8,
            learning_rate=0.125,
            optimizer=Optimizer.SGD,
            temperature=2.0,
            soft_weight=0.5,
            seed=1,
        ),
    )
    rng = np.random.default_rng(0)
    public = Examples(rng.normal(size=(ROWS, 64)).astype(np.float32), np.arange(ROWS) % CLASSES)
    means = np.full((CLASSES, CLASSES), 1 / CLASSES, np.float32)
    arrays = {"class_means": means, "class_known": np.ones(CLASSES, np.uint8)}
    return build_method(config, public), FleetState(teacher={}, students={FAMILY: {}}, arrays=arrays)


def drawn(method: Method, devices: int) -> list[SoftLabelSummary]:
    """The answers of a round."""
    return [
        SoftLabelSummary(RUN, 1, FAMILY, method.answers, _said(method, np.random.default_rng([1, device])))
        for device in range(devices)
    ]


def _said(method: Method, rng: np.random.Generator) -> PrivateStatistics:
    if method.answers is SummaryKind.PUBLIC_SET:
        rows = len(np.array_split(np.arange(ROWS), -(-ROWS // ANSWERED))[0])
        powers = np.exp(rng.normal(0, 0.3, (rows, CLASSES)))
        soft = powers / powers.sum(axis=1, keepdims=True)
        return PrivateStatistics(soft_labels=DenseSoftLabels(soft.astype(np.float32)))
    present = np.sort(rng.choice(CLASSES, 4, replace=False))
    means = DenseSoftLabels(rng.dirichlet(np.ones(CLASSES), 4).astype(np.float32))
    return PrivateStatistics(soft_labels=means, present_classes=present, class_examples=np.full(4, 4))


class OneByOne:
    """A round's fold as its method defines it."""

    def __init__(self, method: Method, state: FleetState) -> None:
        self._method, self._state = method, state
        self._says = method.contribution(state, round_number=1)

    def norms(self, summaries: list[SoftLabelSummary]) -> ExactFold[Norms]:
        fold = ExactFold(Norms())
        if self._method.compares:
            for summary in summaries:
                fold.add(self._method.norms(self._says(summary)))
        return fold

    def fold(self, summaries: list[SoftLabelSummary], norms: Norms) -> ExactFold[Any]:
        fold = no_answers(self._method, 1)
        bounded = self._method.bounded(norms, self._state, round_number=1)
        for summary in summaries:
            fold.add(bounded(self._says(summary)))
        return fold


def least_us(devices: int, times: int, run: Callable[[], Any]) -> tuple[float, Any]:
    """Microseconds of processor a device, the least of some times, and what came out."""
    spent, result = [], None
    for _ in range(times):
        begun = time.thread_time()
        result = run()
        spent.append((time.thread_time() - begun) / devices * 1e6)
    return min(spent), result


def measured(
    label: str,
    how: str,
    part: OneByOne | PartialFold,
    method: Method,
    summaries: list[SoftLabelSummary],
    times: int,
) -> str:
    """Print a line, and return the digest of the consensus."""
    first, norms = least_us(len(summaries), times, lambda: part.norms(summaries))
    known = norms.result()
    second, total = least_us(len(summaries), times, lambda: part.fold(summaries, known))
    begun = time.thread_time()
    digest = digest_of(settled(method, total, round_number=1).arrays())
    spent_s = time.thread_time() - begun
    print(f"{label:<24} {how:<12} {first:8.1f} {second:8.1f} {first + second:8.1f} {spent_s:12.3f}")
    return digest


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", type=int, default=512, help="devices of a round; default: 512")
    parser.add_argument("--times", type=int, default=3, help="of which the least counts; default: 3")
    options = parser.parse_args()
    print(f"{'µs a device':<24} {'':<12} {'norms':>8} {'fold':>8} {'both':>8} {'settled, s':>12}")
    for name, fold in CASES:
        method, state = bound(name, fold)
        summaries = drawn(method, options.devices)
        digests = {
            measured(
                f"{name}, {fold}", "one by one", OneByOne(method, state), method, summaries, options.times
            ),
            measured(
                f"{name}, {fold}", "stacked", PartialFold(method, state, 1), method, summaries, options.times
            ),
        }
        if len(digests) > 1:
            raise SystemExit(f"{name}, {fold}: stacked, it comes to another consensus")


if __name__ == "__main__":
    main()
