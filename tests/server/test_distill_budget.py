"""What a graph costs, its 8-bit forms, and the search for the best student within a budget."""

from __future__ import annotations

import numpy as np
import pytest
from fedstill_server.data.examples import Examples
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.measuring import Cost, cost_of, pareto
from fedstill_server.distill.quantization import eight_bit_forms
from fedstill_server.distill.recipes.budget import BudgetSearch
from fedstill_server.distill.stage_runner import StageRunner
from fedstill_server.distill.techniques.kd import KnowledgeDistillation
from fedstill_server.export.opened import open_graph
from fedstill_server.export.student import export_student
from fedstill_server.training.networks import parameters_of

from tests.server.distill_samples import CLASSES, corners, job, taught

FAMILY = "mlp-20"


def test_the_pareto_list_by_hand() -> None:
    costs = {
        "small": Cost(size_bytes=10, latency_us=5),
        "slow": Cost(size_bytes=10, latency_us=9),  # as large and as good as small
        "good": Cost(size_bytes=30, latency_us=6),
        "waste": Cost(size_bytes=40, latency_us=6),  # worse than good
        "fast": Cost(size_bytes=50, latency_us=1),
    }
    accuracies = {"small": 0.8, "slow": 0.8, "good": 0.9, "waste": 0.85, "fast": 0.8}
    assert pareto(costs, accuracies) == ["small", "good", "fast"]


@pytest.fixture(scope="module")
def learned() -> tuple[bytes, dict[str, np.ndarray]]:
    parameters = parameters_of(taught(FAMILY, epochs=10).network)
    _, graph = export_student(family=FAMILY, input_shape=(4, 4), classes=CLASSES, parameters=parameters)
    return graph, parameters


def test_all_forms_answer_nearly_alike(learned: tuple[bytes, dict[str, np.ndarray]]) -> None:
    graph, parameters = learned
    x, _ = corners(200, seed=3)
    expected = open_graph(graph).run(["logits"], {"x": x})[0]

    forms = eight_bit_forms(graph, parameters, corners(64, seed=4)[0])

    assert set(forms) == {"float32", "dynamic", "static", "weights"}
    for form in forms.values():
        logits = open_graph(form).run(["logits"], {"x": x})[0]
        assert (logits.argmax(-1) == expected.argmax(-1)).mean() > 0.95
        assert np.abs(logits - expected).mean() < 0.1 * np.abs(expected).mean()


def test_the_search_keeps_to_its_budget(learned: tuple[bytes, dict[str, np.ndarray]]) -> None:
    size = cost_of(learned[0], corners(5)[0]).size_bytes
    shop = StageRunner(validation=Examples(*corners(80, seed=8)))
    base = job(teacher=taught(epochs=5), techniques=(KnowledgeDistillation(),))

    made = BudgetSearch(families=(FAMILY, "mlp-20-6"), size_bytes=size).run(base, shop)

    assert (made.family, shop.trainings) == (FAMILY, 1)
    assert shop.notes[0].startswith(f"pareto: {FAMILY}")
    assert len(shop.notes) == 1 + 4
    with pytest.raises(DistillError, match=f"nothing fits; the smallest, {FAMILY}"):
        BudgetSearch(families=(FAMILY,), size_bytes=100).run(base, shop)
