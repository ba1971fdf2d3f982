"""Rewrites of a captured graph that leave every result as it is and save work."""

from __future__ import annotations

import torch
from torch.fx import Graph, Node
from torch.fx.graph_module import GraphModule

aten = torch.ops.aten


def rewrite(module: GraphModule) -> None:
    """Applies all rewrites in place."""
    mask_pooled_gradients(module.graph)
    module.graph.eliminate_dead_code()
    module.recompile()


def mask_pooled_gradients(graph: Graph) -> None:
    """relu'(h) * unpool(g) -> unpool(relu'(pool(h)) * g), for h = relu(...).

    A window's gradient lands on its maximum, and the pooled value is that maximum: masking before the
    gradient is spread touches only one element of each window.
    """
    for node in graph.find_nodes(op="call_function", target=aten.threshold_backward.default):
        spread, activated, threshold = node.args
        if not isinstance(spread, Node) or spread.target is not aten.max_pool2d_with_indices_backward.default:
            continue
        gradient, pooled_input, *window = spread.args
        pooled = _pooled(activated)
        if pooled_input is not activated or pooled is None:
            continue
        with graph.inserting_before(node):
            masked = graph.call_function(aten.threshold_backward.default, (gradient, pooled, threshold))
            masked.meta = dict(pooled.meta)
            again = graph.call_function(spread.target, (masked, activated, *window))
            again.meta = dict(node.meta)
        node.replace_all_uses_with(again)


def _pooled(activated: object) -> Node | None:
    """The node that holds the pooled form of an activation."""
    users = activated.users if isinstance(activated, Node) else {}
    for user in users:
        if user.target is aten.max_pool2d_with_indices.default:
            return next((item for item in user.users if item.args[1] == 0), None)
    return None
