"""The list of operators holds what every student family is made of."""

from __future__ import annotations

import pytest
from fedstill_client.packages import check_graph
from fedstill_proto.messages import Optimizer
from fedstill_server.export.build import ArtifactOptions, build_artifact
from fedstill_server.export.int8 import quantize_student
from fedstill_server.export.student import export_student
from fedstill_server.families import ARRAYS, FAMILIES, TEXT, initial_parameters


@pytest.mark.parametrize("family", sorted({*FAMILIES.of_task(ARRAYS), *FAMILIES.of_task(TEXT)}))
def test_all_graphs_of_a_family_pass(family: str) -> None:
    is_text = family in FAMILIES.of_task(TEXT)
    shape, classes = ((5,), 37) if is_text else ((8, 8), 4)
    weights = initial_parameters(family, shape, classes, 0)
    _, inference = export_student(family=family, input_shape=shape, classes=classes, parameters=weights)
    eight_bit = quantize_student(inference, weights)
    artifact = build_artifact(
        ArtifactOptions(
            family=family,
            input_shape=shape,
            classes=classes,
            optimizer=Optimizer.ADAMW,
            soft_labels="top-k",
            k=2,
            stack_size=1,
            step_rows=4,
            step_vocabulary=21 if is_text else None,
        ),
        verify=False,
    )
    assert eight_bit is not None
    for graph in (inference, eight_bit.graph, artifact.training_graph, artifact.forward_graph):
        check_graph(graph)
