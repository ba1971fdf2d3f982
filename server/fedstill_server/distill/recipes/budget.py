"""A search for the best student within a budget, measured in ONNX Runtime on this machine.

Each candidate's graph is built and timed before it is trained: what is too large or too slow costs no
training. The rest are distilled alike; the one that validates best is kept, and the Pareto list (nothing is
better without being larger or slower) is reported. `families` names widths and depths, such as mlp-16 and
mlp-32-16.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

from fedstill_server.config.options import option
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.job import DistillJob, Trained
from fedstill_server.distill.measuring import Cost, accuracy_of_graph, cost_of, pareto
from fedstill_server.distill.plan import check
from fedstill_server.distill.quantization import eight_bit_forms
from fedstill_server.distill.stage_runner import Recipe, StageRunner, network_of
from fedstill_server.export.student import export_student
from fedstill_server.families import FAMILIES, initial_parameters
from fedstill_server.training.networks import parameters_of


class BudgetSearch(Recipe):
    name: ClassVar[str] = "budget"
    source: ClassVar[str] = "grid search with the hardware in the loop"
    line: ClassVar[str] = "the best of several sizes within a limit of bytes and time, and the Pareto list"

    families: tuple[str, ...] = option(
        ("mlp-8", "mlp-16", "mlp-32", "mlp-64", "mlp-32-16", "cnn-4-8"), "Students to choose from."
    )
    size_bytes: int = option(0, "The most bytes of the float32 graph; 0 is no limit.", least=0)
    latency_us: float = option(
        0.0, "Median of one answer on one thread, in microseconds, at most; 0 is no limit.", least=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check(bool(self.families), "families", self.families, "a list of at least one family")

    def run(self, base: DistillJob, runner: StageRunner) -> Trained:
        families = FAMILIES.named(self.families, where="budget.families")
        costs = {family: self._cost(base, family) for family in families}
        fitting = [family for family in families if self._fits(costs[family])]
        if not fitting:
            least = min(costs, key=lambda family: costs[family].size_bytes)
            raise DistillError(
                f"budget: nothing fits; the smallest, {least}, has {costs[least].size_bytes:,d} B and takes "
                f"{costs[least].latency_us:.1f} us"
            )
        made = {family: runner.train(f"size-{family}", replace(base, family=family)) for family in fitting}
        scores = {family: runner.accuracy(network_of(base, one)) for family, one in made.items()}
        for family in pareto({name: costs[name] for name in scores}, scores):
            runner.notes.append(f"pareto: {family:12s} {_shown(costs[family], scores[family])}")
        best = max(fitting, key=lambda family: (scores[family], -costs[family].size_bytes))
        self._note_forms(base, made[best], runner)
        return made[best]

    def _cost(self, base: DistillJob, family: str) -> Cost:
        first = initial_parameters(family, base.input_shape, base.classes, 0)
        _, graph = export_student(
            family=family, input_shape=base.input_shape, classes=base.classes, parameters=first
        )
        return cost_of(graph, base.x)

    def _fits(self, cost: Cost) -> bool:
        size, latency = self.size_bytes or math.inf, self.latency_us or math.inf
        return cost.size_bytes <= size and cost.latency_us <= latency

    def _note_forms(self, base: DistillJob, made: Trained, runner: StageRunner) -> None:
        """What each 8-bit form of the chosen student would be like."""
        assert runner.validation is not None  # accuracy() has asked for it
        parameters = parameters_of(network_of(base, made))
        _, graph = export_student(
            family=made.family, input_shape=base.input_shape, classes=base.classes, parameters=parameters
        )
        for name, form in eight_bit_forms(graph, parameters, base.x[:256]).items():
            accuracy = accuracy_of_graph(form, runner.validation)
            runner.notes.append(f"{made.family} as {name:8s} {_shown(cost_of(form, base.x), accuracy)}")


def _shown(cost: Cost, accuracy: float) -> str:
    return f"{cost.size_bytes:9,d} B {cost.latency_us:7.1f} us  validation {accuracy:.1%}"
