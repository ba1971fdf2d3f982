"""What a run of a graph may take from a device: a time for each run, and memory for all together.

A signed graph of known operators can still count for ever or ask for all memory there is. ONNX Runtime looks
before each operator whether a run is to end; its arena of memory has a limit, once one is set.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import onnxruntime as ort
from fedstill_proto.errors import FedstillError

RUN_LIMIT_S = 30.0
MEMORY_LIMIT_MB = 512

_GRAPH_OF_A_GPU = "gpu_graph_id"  # 0 is what is used where it is not set
_LOOK_EVERY_S = 0.25
Result = TypeVar("Result")


class LimitExceeded(FedstillError):
    """A graph took more time or memory than a device gives it; what was there before is kept."""


class _Watch:
    """Ends the runs whose time is over. Its thread sleeps while there is no run."""

    def __init__(self) -> None:
        self._ends: dict[ort.RunOptions, float] = {}
        self._busy = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def begin(self, options: ort.RunOptions) -> None:
        self._ends[options] = time.monotonic() + RUN_LIMIT_S
        if not self._busy.is_set():
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._look, name="run limits", daemon=True)
                    self._thread.start()
            self._busy.set()

    def end(self, options: ort.RunOptions) -> None:
        self._ends.pop(options, None)

    def _look(self) -> None:
        while True:
            self._busy.wait()
            # Many short runs wake this thread a few times a second, and not each of them.
            time.sleep(_LOOK_EVERY_S)
            now = time.monotonic()
            for options, end in list(self._ends.items()):
                if now > end:
                    options.terminate = True
            if not self._ends:
                self._busy.clear()
                if self._ends:  # it began in between
                    self._busy.set()


_watch = _Watch()
_memory_is_limited = False


def limited(run: Callable[[ort.RunOptions], Result]) -> Result:
    """`run` with options that end it in time; raises LimitExceeded where it took too much of either."""
    options = ort.RunOptions()
    # ONNX Runtime looks this up in each run; where it is missing, an exception takes 50 microseconds.
    options.add_run_config_entry(_GRAPH_OF_A_GPU, "0")
    _watch.begin(options)
    try:
        return run(options)
    except Exception as error:
        if options.terminate:
            raise LimitExceeded(
                f"a run of the graph took more than {RUN_LIMIT_S:g} s, and was ended; is the device "
                "overloaded, or the student too large for it?"
            ) from error
        if "Arena" in str(error):
            raise LimitExceeded(
                f"the graph asks for more than the {MEMORY_LIMIT_MB} MB of memory that a device gives it."
            ) from error
        raise
    finally:
        _watch.end(options)


def limit_memory() -> None:
    """Let all graphs that this process opens from now on share an arena of MEMORY_LIMIT_MB."""
    global _memory_is_limited
    if _memory_is_limited:
        return
    arena = {
        "max_mem": MEMORY_LIMIT_MB << 20,
        "arena_extend_strategy": 1,  # as much as is asked for, not the next power of two
        "initial_chunk_size_bytes": -1,
        "max_dead_bytes_per_chunk": -1,
        "initial_growth_chunk_size_bytes": -1,
        "max_power_of_two_extend_bytes": -1,
    }
    where = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(where, ort.OrtArenaCfg(arena))
    _memory_is_limited = True


def apply_to(options: ort.SessionOptions) -> None:
    """Let a session that is about to be opened take its memory from the limited arena, if there is one."""
    if _memory_is_limited:
        options.add_session_config_entry("session.use_env_allocators", "1")
