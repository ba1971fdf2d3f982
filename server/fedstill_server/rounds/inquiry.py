"""Asks devices, while rounds go on or wait, what came of the package that they were given (query.release).

No round waits for it: questions go out from time to time, and answers are taken when they are there.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from fedstill_proto.errors import WireError
from fedstill_proto.system.release_report import ReleaseReport, read_release_answer, release_question
from flwr.app import Message
from flwr.serverapp import Grid

from fedstill_server.rounds.clock import clock_of
from fedstill_server.rounds.roster import NodeRegister
from fedstill_server.rounds.transport import push

ASK_EVERY_S = 30.0
_LOST_AFTER = 4  # times as long
_MOST_AT_ONCE = 500

log = logging.getLogger("fedstill.release")


@dataclass(frozen=True)
class Asked:
    """Whom to ask about which package.

    Attributes:
        package_version: The package's.
        devices: The names of registered devices.
        every_s: Seconds after which a device is asked again.
    """

    package_version: int
    devices: Collection[str]
    every_s: float = ASK_EVERY_S


class Inquiry:
    """The questions of one fleet that are open."""

    def __init__(
        self,
        registered: NodeRegister,
        asked: Callable[[], Asked | None],
        keep: Callable[[int, Mapping[str, ReleaseReport]], None],
    ) -> None:
        """Ask nobody yet.

        Args:
            registered: Tells the name of each registered node.
            asked: Tells whom to ask about what; None asks nobody.
            keep: Takes the reports on a package, by the device's name.
        """
        self._registered, self._asked, self._keep = registered, asked, keep
        self._open: dict[str, tuple[str, int]] = {}  # message id -> device, package version
        self._asked_s: dict[str, float] = {}  # by device

    def look(self, grid: Grid) -> None:
        """Take the answers that are there, and ask whom it is time to ask.

        Args:
            grid: Reaches the nodes.
        """
        self._receive(grid)
        asked = self._asked()
        if asked is None or not asked.devices:
            self._asked_s.clear()
            return
        now_s, present = clock_of(grid).now_s(), set(grid.get_node_ids())
        self._open = {
            key: (name, version)
            for key, (name, version) in self._open.items()
            if now_s - self._asked_s.get(name, -math.inf) < _LOST_AFTER * asked.every_s
        }
        wanted = set(asked.devices) - {name for name, _ in self._open.values()}
        due = [
            (self._asked_s.get(node.name, -math.inf), number, node.name)
            for number, node in self._registered().items()
            if node.name in wanted and number in present
            if now_s - self._asked_s.get(node.name, -math.inf) >= asked.every_s
        ]
        due = sorted(due)[:_MOST_AT_ONCE]
        messages = [
            Message(release_question(asked.package_version), node, "query.release") for _, node, _ in due
        ]
        for message_id, (_, _, name) in zip(push(grid, messages).message_ids, due, strict=True):
            self._asked_s[name] = now_s
            if message_id is not None:
                self._open[message_id] = name, asked.package_version

    def _receive(self, grid: Grid) -> None:
        if not self._open:
            return
        reports: dict[int, dict[str, ReleaseReport]] = {}
        for reply in grid.pull_messages(list(self._open)):
            name, version = self._open.pop(str(reply.metadata.reply_to_message_id), ("", 0))
            if not name or reply.has_error():
                continue
            try:
                reports.setdefault(version, {})[name] = read_release_answer(reply.content)
            except WireError as error:
                log.warning("%s: its report on package %d cannot be read: %s", name, version, error)
        for version, found in reports.items():
            self._keep(version, found)
