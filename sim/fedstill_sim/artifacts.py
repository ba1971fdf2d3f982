"""Training artifacts of a run: which stack size pays for each student family, and the files that workers load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedstill_server.config import FleetConfig


def prepare_artifacts(
    run_folder: Path, fleet: FleetConfig, *, devices: int, stack_sizes: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Build every family's training artifact into <run>/artifacts/<family>-c<C> and return the stack sizes.

    stack_sizes: what an earlier start of the run chose (a resumed run must use the same); None measures (cached).
    """
    raise NotImplementedError  # lands within the hour; the signature is what run.py builds on
