"""Spares Flower's SuperLink writes to its database that no fleet needs.

SQLite lets one writer in at a time, and a SuperLink writes with every request of a device: it looks for
tasks whose processes have died, and counts the bytes of the run. With hundreds of devices, its threads wait
for one another, and nothing else bounds how many devices it serves (benchmarks/superlink_wall.py).

Beside superlink.py this module uses names which Flower keeps for itself; those of 1.41 and 1.42 are the same.
"""

from __future__ import annotations

import time
from typing import Any

from anyio import to_thread
from flwr.server.superlink.linkstate.sql_linkstate import SqlLinkState

_LOOK_FOR_DEAD_TASKS_EVERY_S = 1.0  # their heartbeats are missed after many seconds
_THREADS = 6  # more only wait for the database


def spare_writes() -> None:
    """Look for dead tasks once a second, whoever asks, and leave Flower's counters of a run alone."""
    looks = SqlLinkState._cleanup_expired_task_tokens
    looked_s = 0.0

    def look_now_and_then(self: SqlLinkState) -> None:
        nonlocal looked_s
        now_s = time.monotonic()
        if now_s - looked_s >= _LOOK_FOR_DEAD_TASKS_EVERY_S:
            looked_s = now_s
            looks(self)

    def count_nothing(self: SqlLinkState, *_: Any, **__: Any) -> None:
        """Rounds count the bytes of tasks and answers themselves."""

    for name, replaced in (
        ("_cleanup_expired_task_tokens", look_now_and_then),
        ("store_traffic", count_nothing),
        ("add_clientapp_runtime", count_nothing),
    ):
        setattr(SqlLinkState, name, replaced)


def limit_threads() -> None:
    """Have few threads at the database; called where the SuperLink's event loop runs."""
    to_thread.current_default_thread_limiter().total_tokens = _THREADS
