"""A fleet whose state is in a shared database: the lease of the machine that serves it, and its standby."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from fedstill_proto.system.files import replace_file
from fedstill_proto.system.signals import EndSignals

from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.operations.address import database_address
from fedstill_server.operations.errors import OperationsError
from fedstill_server.operations.replica import (
    HOLDER_VARIABLE,
    LEASE_S,
    FleetReplica,
    LeaseLost,
    new_holder,
)

_RENEW_EVERY_S = LEASE_S / 6
_PUSH_EVERY_S = 10.0
_AGAIN_S = 5.0
_NOTE = ".lease"  # in the fleet's folder: the lease that was taken last, of this folder alone

log = logging.getLogger("fedstill.database")


class Replication:
    """The lease of a fleet that is up, and the copy of its folder; does nothing without a shared database."""

    def __init__(self, fleet: FleetFolder, tell: Callable[[str], None]) -> None:
        self._fleet, self._tell = fleet, tell
        self._replica: FleetReplica | None = None
        self._holder = ""
        self._ended = threading.Event()
        self._renewed_at = self._pushed_at = 0.0
        self._is_lost = self._is_gone = False

    @contextmanager
    def held(self) -> Iterator[Replication]:
        """A context in which this machine serves the fleet.

        Raises:
            FleetError: Another machine does.
            OperationsError: The database does not answer.
        """
        if not database_address(self._fleet.folder):
            yield self
            return
        self._replica, self._holder = FleetReplica.of(self._fleet.folder, self._fleet.run), new_holder()
        # Nobody else serves this folder (FleetFolder.held): whose lease it noted last was killed.
        note = self._fleet.folder / _NOTE
        killed = note.read_text() if note.exists() else ""
        replace_file(note, self._holder.encode())
        if not self._replica.take_lease(self._holder, instead_of=killed):
            other, left_s = self._replica.holder()
            raise FleetError(
                f"{self._fleet.folder}: this fleet is up on {other.split(':')[0]}, whose lease ends in "
                f"{left_s:.0f} s; end it there, or run: fedstill-server up --standby"
            )
        os.environ[HOLDER_VARIABLE] = self._holder
        self._renewed_at = time.monotonic()
        renewing = threading.Thread(target=self._renew, name="lease", daemon=True)
        renewing.start()
        try:
            self._replica.push(self._holder)
            yield self
        finally:
            self._ended.set()
            renewing.join()
            os.environ.pop(HOLDER_VARIABLE, None)
            with suppress(OperationsError):
                self._replica.push(self._holder)
                self._replica.give_lease_back(self._holder)
            self._replica.close()

    def look(self) -> None:
        """Copy what operators have changed; raises FleetError where another machine serves the fleet now."""
        if self._is_lost or (self._replica and time.monotonic() - self._renewed_at > LEASE_S):
            raise FleetError(
                f"{self._fleet.folder}: the lease in the shared database is lost, and another machine may "
                "serve the fleet; nothing more is done here."
            )
        if self._replica is None or time.monotonic() - self._pushed_at < _PUSH_EVERY_S:
            return
        self._pushed_at = time.monotonic()
        with suppress(OperationsError):  # the thread that renews the lease says so
            self._replica.push(self._holder)

    def _renew(self) -> None:
        assert self._replica is not None
        while not self._ended.wait(_RENEW_EVERY_S):
            try:
                self._is_lost = not self._replica.take_lease(self._holder)
                self._renewed_at = time.monotonic()
                if self._is_gone:
                    self._tell("the shared database answers again")
                self._is_gone = False
            except OperationsError as error:
                if not self._is_gone:
                    self._tell(f"{error}; rounds wait for it")
                self._is_gone = True


def copies_commits(fleet: FleetFolder) -> Callable[[], None]:
    """What a process of the rounds calls when it has committed something: returns when the database has it.

    A database that is gone is waited for: rounds stop until it is back. LeaseLost ends the process.
    """
    holder = os.environ.get(HOLDER_VARIABLE, "")
    if not holder or not database_address(fleet.folder):
        return lambda: None
    replica = FleetReplica.of(fleet.folder, fleet.run)

    def copy() -> None:
        told = False
        while True:
            try:
                replica.push(holder)
            except LeaseLost:
                raise
            except OperationsError as error:
                if not told:
                    log.warning("%s; the round waits for it", error)
                told = True
                time.sleep(_AGAIN_S)
                continue
            if told:
                log.warning("the shared database answers again; the round goes on")
            return

    return copy


def wait_as_standby(fleet: FleetFolder, signals: EndSignals, tell: Callable[[str], None]) -> bool:
    """Wait until no other machine serves the fleet, and make this folder what it left behind.

    Returns:
        Whether this machine's turn has come; False where a signal came first.

    Raises:
        FleetError: The fleet has no shared database.
    """
    if not database_address(fleet.folder):
        raise FleetError(
            f"{fleet.folder}: a standby needs the shared database of the fleet; run: "
            f"fedstill-server database {fleet.folder} postgresql://..."
        )
    told = ""
    while True:
        try:
            replica = FleetReplica.of(fleet.folder, fleet.run)
            try:
                other, _ = replica.holder()
                if not other:
                    copied = replica.pull()
                    tell(f"taking over; {copied.changed} files are as the other machine left them")
                    return True
            finally:
                replica.close()
            news = f"standing by: the fleet is up on {other.split(':')[0]}"
        except OperationsError as error:
            news = f"standing by: {error}"
        if news != told:
            tell(news)
        told = news
        if signals.wait(_AGAIN_S):
            return False
