"""How a device stands in its fleet, from its home alone: for status, which asks no server."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from fedstill_proto.errors import FedstillError

from fedstill_client.doctor.device import LAST_MOMENT, is_running
from fedstill_client.fleet.connection import read_connection
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import installed_manifest
from fedstill_client.privacy.refusals import last_refusals
from fedstill_client.store import PrivateStore


def standing_facts(home: AgentHome) -> dict[str, object]:
    """Facts by name; times are ISO 8601 in UTC, and None where there was none.

    Args:
        home: The home of an agent.

    Raises:
        DeviceStoreError: The private store cannot be read.
    """
    connection, running = read_connection(home), is_running(home)
    with PrivateStore.open(home) as store:
        answered, refused = store.ledger.last_answer(), last_refusals(store.ledger)
        try:
            generation: int | None = installed_manifest(home, store)[0].generation
        except FedstillError:
            generation = None
    last = refused[-1] if refused else None
    run, number, at = answered or ("", None, 0.0)
    return {
        "generation": generation,
        "agent_runs": running,
        "connected": running and connection is not None and connection.is_connected(now=time.time()),
        "connection": "" if connection is None or not running else connection.in_words(),
        "server_heard_at": None if connection is None else _utc(connection.heard_at),
        "next_look_at": None if connection is None or not running else _utc(connection.come_back_at),
        "next_window_at": None if connection is None else _utc(connection.next_window_at),
        "last_round": number,
        "last_round_run": run,
        "last_round_at": _utc(at),
        "last_refusal": "" if last is None else last.word,
        "last_refusal_text": "" if last is None else last.text,
        "last_refusal_round": None if last is None else last.round,
        "last_refusal_at": None if last is None else _utc(last.at),
    }


def _utc(at: float) -> str | None:
    return datetime.fromtimestamp(min(at, LAST_MOMENT), UTC).isoformat(timespec="seconds") if at else None
