"""The training artifacts of a run: the graph that a method needs, in the files that workers load."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from fedstill_proto.artifact import save_artifact
from fedstill_proto.soft_labels import Encoding
from fedstill_server.config import FleetConfig
from fedstill_server.export.build import ArtifactOptions

from fedstill_sim.engine.workplace import artifact_folder
from fedstill_sim.stack_size import best_stack_size, built


def prepare_artifacts(
    run_folder: Path, fleet: FleetConfig, *, devices: int, stack_sizes: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Build every family's training artifact into <run>/artifacts/<family>-c<C> and return the stack sizes.

    stack_sizes: what an earlier start of the run chose, or 1 for real devices; None measures.
    """
    chosen = {}
    for family in fleet.families:
        share = math.ceil(devices / len(fleet.families))
        options = artifact_options(fleet, family)
        size = stack_sizes[family] if stack_sizes else best_stack_size(options, devices=share)
        folder = artifact_folder(run_folder, family, size)
        if not folder.exists():
            save_artifact(built(options, size), folder)
        chosen[family] = size
    return chosen


def artifact_options(fleet: FleetConfig, family: str, *, stack_size: int = 1) -> ArtifactOptions:
    """The graph that a family needs for the fleet's method: the soft labels it reads, the rows of a step."""
    training = fleet.training
    form, k, rows = "none", 0, training.batch_size
    if fleet.method in ("class-logits", "public-logits") and training.soft_weight > 0:
        form = "dense"
        if fleet.downlink.encoding is Encoding.TOP_K and fleet.downlink.k < fleet.classes:
            form, k = "top-k", fleet.downlink.k
        # A step on public soft labels holds a private batch and as many public rows.
        rows *= 2 if fleet.method == "public-logits" else 1
    return ArtifactOptions(
        family, fleet.input_shape, fleet.classes, training.optimizer, form, k, stack_size, rows
    )
