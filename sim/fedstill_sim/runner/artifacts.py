"""The training artifacts of a run: the graph that a method needs, in the files that workers load."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from fedstill_proto.package.artifact import save_artifact
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.methods import method_of
from fedstill_server.methods.artifact_options import artifact_options

from fedstill_sim.folder import artifact_folder
from fedstill_sim.runner.stack_size import best_stack_size, built


def prepare_artifacts(
    run_folder: Path, fleet: FleetConfig, *, devices: int, stack_sizes: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Build every family's training artifact into <run>/artifacts/<family>-c<C>.

    Args:
        run_folder: The run.
        fleet: Its configuration.
        devices: How many devices the fleet has.
        stack_sizes: By family, the stack sizes that an earlier start of the run chose, or 1 where each device
            is a client of its own; None measures which are fastest.

    Returns:
        The stack size of each family.
    """
    chosen = {}
    for family in fleet.families:
        share = math.ceil(devices / len(fleet.families))
        options = artifact_options(fleet, family)
        if stack_sizes:
            size = stack_sizes[family]
        else:
            size = best_stack_size(options, devices=share) if options.form.stacks else 1
        # A start that a family's devices share is made once, which a stack of one does in the least time.
        shared = method_of(fleet.method).shares_starts
        for needed in {size, 1} if shared else {size}:
            folder = artifact_folder(run_folder, family, needed)
            if not folder.exists():
                save_artifact(built(options, needed), folder)
        chosen[family] = size
    return chosen
