"""Opens a graph and answers with it in a process that does nothing else, and says what memory that took.

python fresh.py GRAPH FEEDS.npz THREADS
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import psutil

_ANSWERS = 3


def main(graph: str, feeds: str, threads: int) -> None:
    process = psutil.Process()
    with np.load(feeds, allow_pickle=False) as file:
        given = {name: file[name] for name in file.files}
    before = process.memory_info().rss
    started = time.perf_counter()
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    opened, loaded = time.perf_counter() - started, process.memory_info().rss
    for _ in range(_ANSWERS):
        session.run(None, given)
    answered = process.memory_info().rss
    print(
        json.dumps(
            {
                "before_bytes": before,
                "loaded_bytes": loaded,
                "answered_bytes": answered,
                "peak_bytes": max(_high_water(), answered),
                "open_ms": 1e3 * opened,
            }
        )
    )


def _high_water() -> int:
    """The most that this process has had, where Linux says it; getrusage would count its parent, too."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
