"""Flower's view of the registered devices, from `fedstill-server up` to the process of the rounds.

nodes.json in the fleet's folder: {"<node>": {"name": "kitchen", "activated_at": "<when it last came up>"}}
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from fedstill_proto.system.sealed import read_sealed_json, write_sealed_json

from fedstill_server.fleet.errors import FleetError
from fedstill_server.rounds.roster import RegisteredNode


def write_nodes(path: Path, nodes: Mapping[int, RegisteredNode]) -> None:
    """Replace the file."""
    write_sealed_json(path, {str(node_id): asdict(node) for node_id, node in nodes.items()})


def read_nodes(path: Path) -> dict[int, RegisteredNode]:
    """Every registered node; none while no device is registered. Raises FleetError for a damaged file."""
    try:
        state = path.stat()
        return dict(_read(path, state.st_mtime_ns, state.st_ino))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise FleetError(f"{path}: cannot be read: {error}; remove it, and up writes it anew.") from None


@functools.lru_cache(4)
def _read(path: Path, written_ns: int, file: int) -> dict[int, RegisteredNode]:
    """What a file holds, which is read again where it was written anew: rounds look many times a second."""
    document = read_sealed_json(path, remedy="delete it, and up writes it anew")
    return {int(node_id): RegisteredNode(**fields) for node_id, fields in document.items()}
