"""The list of operators holds what every student family is made of."""

from __future__ import annotations

import pytest
from fedstill_client.packages import check_graph
from fedstill_proto.messages import Optimizer
from fedstill_server.export.build import build_artifact
from fedstill_server.export.student import export_student
from fedstill_server.families import FAMILIES, initial_parameters


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_all_graphs_of_a_family_pass(family: str) -> None:
    weights = initial_parameters(family, (8, 8), 4, 0)
    _, inference = export_student(family=family, input_shape=(8, 8), classes=4, parameters=weights)
    artifact = build_artifact(
        family=family,
        input_shape=(8, 8),
        classes=4,
        optimizer=Optimizer.ADAMW,
        soft_labels="top-k",
        k=2,
        stack_size=1,
        step_rows=4,
        verify=False,
    )
    for graph in (inference, artifact.training_graph, artifact.forward_graph):
        check_graph(graph)
