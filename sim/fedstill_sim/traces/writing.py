"""Writes traces as tables that people can look at and edit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from fedstill_sim.traces.columns import NETWORKS, FleetTrace, Floats
from fedstill_sim.traces.reading import (
    ABOUT_FILE,
    DEVICE_COLUMNS,
    DEVICES_FILE,
    SESSION_COLUMNS,
    SESSIONS_FILE,
)


def write_trace(trace: FleetTrace, folder: Path, *, about: str) -> None:
    """Write devices.csv, sessions.csv and trace.json, which read_trace reads as the same trace.

    Args:
        trace: The trace.
        folder: Where to; it is made.
        about: What made it, for people.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"about": about, "span_s": trace.span_s}, indent=1)
    (folder / ABOUT_FILE).write_text(text + "\n", encoding="utf-8")
    columns = (
        trace.names,
        *(getattr(trace, name).tolist() for name in ("gflops", "down_mbps", "up_mbps")),
        [NETWORKS[code] for code in trace.network],
        trace.zone_h.tolist(),
        trace.joined_s.tolist(),
        ["" if np.isinf(left) else repr(left) for left in trace.left_s.tolist()],
    )
    with (folder / DEVICES_FILE).open("w", encoding="utf-8") as file:
        file.write(",".join(DEVICE_COLUMNS) + "\n")
        file.writelines(f"{','.join(map(str, row))}\n" for row in zip(*columns, strict=True))
    names = np.array(trace.names, object)[trace.owners]
    times = (_whole(trace.start_s), _whole(trace.end_s))
    with (folder / SESSIONS_FILE).open("w", encoding="utf-8") as file:
        file.write(",".join(SESSION_COLUMNS) + "\n")
        rows = zip(names, *times, trace.charging.astype(int).tolist(), strict=True)
        file.writelines(f"{name},{start},{end},{charging}\n" for name, start, end, charging in rows)


def _whole(seconds: Floats) -> list[Any]:
    """Seconds as whole numbers where all are."""
    whole = np.rint(seconds)
    values: list[Any] = (whole.astype(np.int64) if (whole == seconds).all() else seconds).tolist()
    return values
