"""The memory of a process that opens a graph and answers: its resident set, measured in a fresh one."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedstill_server.inspection.errors import InspectionError

_PROGRAM = Path(__file__).with_name("fresh.py")
_LONGEST_S = 120.0


@dataclass(frozen=True, kw_only=True)
class ResidentSet:
    """Bytes of a fresh process: Python, numpy and ONNX Runtime alone, then with the graph.

    Attributes:
        before_bytes: Before the graph is opened.
        loaded_bytes: When it is open.
        answered_bytes: After a few answers to one example.
        peak_bytes: The most at any time.
        open_ms: Milliseconds until it was open.
    """

    before_bytes: int
    loaded_bytes: int
    answered_bytes: int
    peak_bytes: int
    open_ms: float

    @property
    def graph_bytes(self) -> int:
        """What the graph and its answers added."""
        return max(self.answered_bytes - self.before_bytes, 0)


def resident_set(graph: bytes, feeds: Mapping[str, npt.NDArray[Any]], *, threads: int = 1) -> ResidentSet:
    """Open a graph in a new process, and answer three times.

    Args:
        graph: A whole graph, with its weights.
        feeds: Its inputs by name.
        threads: Of the answers.

    Raises:
        InspectionError: The process does not come to an end, or fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, given = Path(folder) / "graph.onnx", Path(folder) / "feeds.npz"
        path.write_bytes(graph)
        np.savez(given, **feeds)  # type: ignore[arg-type]
        # -P: the folder of the program is no place to import from.
        command = [sys.executable, "-P", str(_PROGRAM), str(path), str(given), str(threads)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LONGEST_S)
        except subprocess.TimeoutExpired:
            raise InspectionError(
                f"memory: opening the graph in a fresh process took more than {_LONGEST_S:g} s"
            ) from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise InspectionError(f"memory: a fresh process failed with the graph: {last[:200]}")
    return ResidentSet(**json.loads(done.stdout.splitlines()[-1]))
