"""A worker's own side: it serves its pipe until the parent closes it, or is gone."""

from __future__ import annotations

import importlib
import os
import select
import signal
import threading
from multiprocessing.connection import Connection


def main(pipe: Connection, target: str) -> None:
    """Call the function that `target` ("module:function") names with the pipe to the parent."""
    # Ctrl-C reaches every process of a terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(pipe.fileno(),), daemon=True).start()
    module, _, function = target.partition(":")
    getattr(importlib.import_module(module), function)(pipe)


def _end_with_parent(descriptor: int) -> None:
    """A killed parent closes the pipe: work that nobody waits for ends at once."""
    hung_up = select.poll()
    hung_up.register(descriptor, 0)  # no events but errors and the other side's end
    hung_up.poll()
    os._exit(1)
