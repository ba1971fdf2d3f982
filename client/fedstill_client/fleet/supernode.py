"""The device's side of Flower's network: takes messages, has each answered, and sends the replies.

It stands where Flower's own SuperNode would, and does less. That one installs whatever app the SuperLink
sends, imports it, and hands messages out at a port of loopback to any user of the machine. This one never
asks for a bundle: the app that is installed answers, in a process of its own (see round_process.py), and a
run whose bundle is not the known one, which holds no code, is refused by its digest. Nothing listens. A
server can send no more bytes than a task may have (fedstill_proto.system.flower_node is the connection).

Most of its life this process waits, and loads nothing for that which it can do without: no numpy, and
nothing of Flower.

    python -P -m fedstill_client.fleet.supernode       the home is named by FEDSTILL_DEVICE_FOLDER
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from fedstill_proto.errors import FedstillError, WireError
from fedstill_proto.message_pieces import TASK_LIMIT_BYTES, TakenApart
from fedstill_proto.refusal import Refusal
from fedstill_proto.system.bundle import bundle_digest
from fedstill_proto.system.fleet_http import NotBelieved, NotLetIn
from fedstill_proto.system.flower_node import FleetConnection, NodeAccess, Received, RunOver
from fedstill_proto.system.steering import USUAL_LOOK_S

from fedstill_client.fleet.connection import ConnectionRecord, Standing
from fedstill_client.fleet.membership import Membership, authority_file, device_key
from fedstill_client.fleet.node import read_node, write_node
from fedstill_client.fleet.round_process import Order, RoundFailed, RoundTooLong, answer_apart, error_apart
from fedstill_client.home import DEVICE_FOLDER_VARIABLE, AgentHome
from fedstill_client.privacy.most_seconds import most_seconds

_CRASHED = 8  # Flower's own code for the process of a round that ended without a reply
_AFTER_THAT_S = 60.0  # a round stops by itself at the policy's most_seconds; what does not is killed

_LOOK_WITHIN_S = 4.0  # not all devices at once

log = logging.getLogger("fedstill.supernode")


class BundleRefused(FedstillError):
    """A run came with another bundle than the one that holds no code."""


def round_limit_s(home: AgentHome) -> float:
    """The seconds after which the process of a round is killed, whatever its task says."""
    return most_seconds(home.folder) + _AFTER_THAT_S


class Answering:
    """Answers messages, one at a time, with the app that is installed."""

    def __init__(self, home: AgentHome, connection: FleetConnection) -> None:
        self._home, self._connection = home, connection
        self._known_run: int | None = None  # one whose bundle holds no code

    def answer_next(self) -> bool:
        """Answer the next message, if there is one; returns whether there was."""
        received = self._connection.receive()
        if received is not None:
            self.answer(received)
        return received is not None

    def answer(self, received: Received) -> None:
        """Answer a message."""
        started = time.monotonic()
        try:
            reply = self._answer(received)
        except WireError as error:
            log.warning("message refused: %s", error)
            reply = _refused(received, Refusal.UNREADABLE)
        self._connection.send(reply, seconds=time.monotonic() - started)

    def _answer(self, received: Received) -> TakenApart:
        try:
            self._check_bundle(received.run)
        except BundleRefused as refusal:
            log.warning("%s", refusal)
            self._note(refusal, received.run)
            return _refused(received, Refusal.ANOTHER_APP)
        objects = self._connection.objects_of(received)
        order = Order(
            node=self._connection.node, run=received.run, message_id=received.tree.object_id, objects=objects
        )
        try:
            return TakenApart.from_frames(answer_apart(order, limit_s=round_limit_s(self._home)))
        except RoundTooLong as error:
            log.warning("%s", error)
            return _refused(received, Refusal.NOT_NOW)
        except RoundFailed as error:
            log.warning("%s", error)
            return _error(received, _CRASHED, Refusal.FAILED.word)

    def _note(self, refusal: BundleRefused, run: int) -> None:
        # What runs students is not needed until then, and takes memory.
        from fedstill_client.privacy.refusals import note_refusal
        from fedstill_client.store import PrivateStore

        try:
            with PrivateStore.open(self._home) as store:
                note_refusal(store.ledger, str(refusal), run=str(run), round=0, refusal=Refusal.ANOTHER_APP)
        except FedstillError as error:
            log.warning("the refusal is not in the ledger: %s", error)

    def _check_bundle(self, run: int) -> None:
        if run == self._known_run:
            return
        digest, known = self._connection.bundle_of(run), bundle_digest()
        if digest != known:
            raise BundleRefused(
                f"rule 'only the installed app': run {run} comes with the app bundle {digest[:64]!r}, and "
                f"only {known[:16]}..., which holds no code, is accepted; it was neither fetched nor run"
            )
        self._known_run = run


def access_of(home: AgentHome) -> NodeAccess:
    """Where a device connects, and as whom."""
    return NodeAccess(
        address=Membership.read(home).address,
        authority=authority_file(home).read_bytes(),
        key=device_key(home).read_bytes(),
        message_limit_bytes=TASK_LIMIT_BYTES,
    )


def deactivate_node(home: AgentHome) -> bool:
    """Deactivate the node that this device was; False where it was none, or was gone already."""
    node = read_node(home)
    return node is not None and access_of(home).deactivate(node)


def run(home: AgentHome) -> None:
    """Answer messages until the process is ended; while the server lets nobody in, wait and ask again."""
    record = ConnectionRecord(home)
    while True:
        try:
            _answer_messages(home, record)
        except NotLetIn as refusal:
            pause_s = record.refused(Standing.REFUSED, refusal.why)
        except NotBelieved as error:
            pause_s = record.refused(Standing.UNTRUSTED, str(error))
        log.warning("%s; the next try is in %.0f s", record.now.in_words(), pause_s)
        time.sleep(pause_s)


class ReleaseHints:
    """Has the device look for a release when its server says that there is one that it does not know.

    The server's word is a hint: what is signed decides, and run.py bounds how often anybody looks.
    """

    def __init__(self, home: AgentHome) -> None:
        self._home, self._heard, self._look_at = home, 0, math.inf

    def hear(self, release: int) -> None:
        """Take the version that the server names; the device looks within a few seconds."""
        now = time.monotonic()
        if release > self._heard:
            self._heard = release
            if release > self._known():
                self._look_at = min(self._look_at, now + random.uniform(0, _LOOK_WITHIN_S))
        if now >= self._look_at:
            self._look_at = math.inf
            self._home.look_for_release()

    def _known(self) -> int:
        """The version of the repository's timestamp that the device has verified."""
        try:
            signed = json.loads((self._home.trust / "metadata" / "timestamp.json").read_bytes())["signed"]
            return int(signed["version"])
        except (OSError, ValueError, TypeError, KeyError):
            return 0


def _answer_messages(home: AgentHome, record: ConnectionRecord) -> NoReturn:
    deactivate_node(home)
    with FleetConnection.of(access_of(home)) as connection:
        record.connected()
        write_node(home, connection.node)
        log.info("node %d", connection.node)
        answering, hints = Answering(home, connection), ReleaseHints(home)
        while True:
            try:
                was_asked, look_after_s = answering.answer_next(), connection.heard.look_after_s
                record.heard(look_after_s, connection.heard.next_window_at)
                hints.hear(connection.heard.release)
                if not was_asked:
                    time.sleep(look_after_s)
            except RunOver:
                log.info("the run is over; its message is left alone")
            except NotLetIn:
                raise
            except FedstillError as error:
                log.warning("message left alone: %s: %s", type(error).__name__, error)
                time.sleep(USUAL_LOOK_S)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    run(AgentHome(Path(os.environ[DEVICE_FOLDER_VARIABLE])))


def _end(*_: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # once is enough
    sys.exit(0)


def _refused(received: Received, refusal: Refusal) -> TakenApart:
    return _error(received, refusal.code, refusal.word)


def _error(received: Received, code: int, reason: str) -> TakenApart:
    return TakenApart.from_frames(error_apart(received.head, code, reason))


if __name__ == "__main__":
    main()
