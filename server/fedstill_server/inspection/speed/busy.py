"""Keeps one core busy: a program of its own, which ends with the process that started it, or after a time.

python busy.py SECONDS
"""

from __future__ import annotations

import os
import sys
import time

_TURNS = 20_000


def main(seconds: float) -> None:
    parent, until, value = os.getppid(), time.monotonic() + seconds, 1.0
    print("busy", flush=True)
    while time.monotonic() < until and os.getppid() == parent:
        for _ in range(_TURNS):
            value = value * 1.0000001 % 7.0


if __name__ == "__main__":
    main(float(sys.argv[1]))
