"""Serves a relay: its SuperLink, its proxy, and the process that hands messages on, all kept alive."""

from __future__ import annotations

import math

from fedstill_proto.system.supervisor import ChildProcess

from fedstill_server.fleet.certificates import renew_server_certificate
from fedstill_server.fleet.flower import Control
from fedstill_server.fleet.proxy import proxy
from fedstill_server.fleet.up import FleetUp, Watch
from fedstill_server.relay.folder import RelayFolder


class RelayUp(FleetUp):
    """A relay that is up; it has no rounds of its own, and `run` returns when a signal comes."""

    def __init__(self, relay: RelayFolder, watch: Watch) -> None:
        super().__init__(relay.fleet, watch)
        self._relay = relay

    def _check(self) -> None:
        self._fleet.digests.check()
        if renew_server_certificate(self._fleet):
            self._watch.on_text("made a new server certificate")

    def _proxy(self) -> ChildProcess:
        self._relay.write_authority()
        return proxy(self._fleet, self._relay.repository_location())

    def _rounds_left(self) -> float:
        return math.inf

    # What only a fleet with rounds and packages of its own does.

    def _read_config(self) -> None:
        return

    def _follow_generation(self, control: Control) -> None:
        return

    def _report_rounds(self) -> None:
        return

    def _report_waiting(self) -> None:
        return

    def _refresh(self) -> None:
        return
