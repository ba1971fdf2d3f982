"""Structured pruning with recovery (Li et al. 2017, arXiv 1608.08710, with the first-order importance of
Molchanov et al. 2019, arXiv 1906.10771).

A wider perceptron is distilled first. Then, in `rounds` equal steps, its least important hidden units go, and
what is left is distilled again to recover. A unit's importance is |activation * gradient of the loss|, summed
over the examples: what the loss would change without it, to first order. The student is of the family mlp-W
that was asked for: whole units are gone, so it is smaller and faster without any sparse arithmetic.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from fedstill_proto.arrays import IntArray, Parameters
from torch import nn

from fedstill_server.config.options import option
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.job import DistillJob, Trained
from fedstill_server.distill.layers import inner_layers, watched
from fedstill_server.distill.stage_runner import Recipe, StageRunner, network_of
from fedstill_server.families.sizes import widths_of


class StructuredPruning(Recipe):
    name: ClassVar[str] = "pruning"
    source: ClassVar[str] = "Li et al. 2017, arXiv 1608.08710; Molchanov et al. 2019, arXiv 1906.10771"
    line: ClassVar[str] = "a wider student loses its least important units, and recovers"

    wider: float = option(2.0, "How much wider than the family that is asked for.", above=1, most=16)
    rounds: int = option(2, "Rounds of pruning and recovering.", least=1)

    def run(self, base: DistillJob, runner: StageRunner) -> Trained:
        sized = widths_of(base.family)
        if sized is None or sized[0] != "mlp":
            raise DistillError(f"pruning: {base.family} is not a perceptron by its widths, such as mlp-32")
        goal = np.array(sized[1])
        start = np.maximum(np.round(goal * self.wider).astype(int), goal)
        epochs = max(1, base.plan.epochs // (self.rounds + 1))  # in all, no more than without the recipe
        plan = replace(base.plan, epochs=epochs)
        made = runner.train("wide", replace(base, family=_family(start), plan=plan, start=None))
        for turn in range(1, self.rounds + 1):
            widths = np.round(start + (goal - start) * turn / self.rounds).astype(int)
            pruned = pruned_parameters(made.parameters, unit_importance(base, made), widths)
            job = replace(base, family=_family(widths), plan=plan, start=pruned)
            made = runner.train(f"pruned-{turn}", job)
        return made


def _family(widths: IntArray) -> str:
    return "-".join(["mlp", *map(str, widths)])


def unit_importance(job: DistillJob, made: Trained) -> list[np.ndarray]:
    """|activation * gradient| of each hidden unit, one array [width] a layer.

    The loss is the cross-entropy with the student's own first choice where a label is missing.
    """
    network = network_of(job, made)
    layers = inner_layers(network)
    x, labels = torch.from_numpy(job.x), torch.from_numpy(job.labels)
    with watched(network, layers) as seen:
        logits = network(x)
        goals = labels.where(labels >= 0, logits.argmax(dim=-1))
        loss = nn.functional.cross_entropy(logits, goals, reduction="sum")
        gradients = torch.autograd.grad(loss, [seen[layer] for layer in layers])
        activations = [torch.relu(seen[layer].detach()) for layer in layers]
    return [
        (activation * gradient).abs().sum(dim=0).numpy()
        for activation, gradient in zip(activations, gradients, strict=True)
    ]


def pruned_parameters(parameters: Parameters, importance: list[np.ndarray], widths: IntArray) -> Parameters:
    """The weights of a perceptron whose layers keep their `widths` most important units, in the old order."""
    kept = dict(parameters)
    for layer, (scores, width) in enumerate(zip(importance, widths, strict=True)):
        units = np.sort(np.argsort(-scores, kind="stable")[:width])
        last = layer + 1 == len(importance)
        following = "output.weight" if last else f"hidden.{layer + 1}.weight"
        for name in (f"hidden.{layer}.weight", f"hidden.{layer}.bias"):
            kept[name] = np.ascontiguousarray(kept[name][units])
        kept[following] = np.ascontiguousarray(kept[following][:, units])
    return kept
