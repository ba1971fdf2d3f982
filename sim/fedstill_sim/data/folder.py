"""Bring your own data: a folder with one `client_<i>.npz` a device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedstill_sim.data.fleet import FleetData


def load_folder(folder: Path, *, families: Sequence[str] = ("mlp-small",)) -> FleetData:
    """The fleet that a folder describes; families are dealt out to devices in turn."""
    raise NotImplementedError
