"""Who asks and who is refused, gathered in memory, and written to the fleet's database now and then.

A device asks every few seconds, and its time is written every half minute; refusals are counted, and told as
one event a minute. All of it is bounded by the number of registered devices: a key that nobody knows is
counted, and not kept.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fedstill_proto.system.steering import CLOCK, REVOKED, UNREGISTERED

from fedstill_server.fleet.flower import FlowerNode
from fedstill_server.operations.database import FleetDatabase
from fedstill_server.operations.errors import OperationsError

WRITE_EVERY_S = 5.0
_SEEN_EVERY_S, _TOLD_EVERY_S = 30.0, 60.0  # of one device; of refusals
_NAMED = 20  # devices in an event
_LEFT = 10_000  # devices that wait for a database that is gone
LOAD = "load"
_IN_WORDS = {
    UNREGISTERED: "of keys that nobody has registered",
    REVOKED: "of revoked devices",
    CLOCK: "of devices whose clock is wrong",
    LOAD: "of devices that ask too often, or too much at a time",
}

log = logging.getLogger("fedstill.guard")


class Sightings:
    """What a guard saw of devices; `saw` and `refused` only count, `write` writes."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._clock = folder, clock
        self._lock = threading.Lock()
        self._seen: dict[str, float] = {}  # not written yet
        self._written: dict[str, float] = {}
        self._refused: dict[str, Counter[str]] = {}  # of each reason, by device; "" is an unknown one
        self._told_at = float("-inf")
        self._database: FleetDatabase | None = None

    def saw(self, name: str) -> None:
        """A registered device has asked for something."""
        now = self._clock()
        if now - self._written.get(name, float("-inf")) >= _SEEN_EVERY_S:
            with self._lock:
                self._seen[name] = now

    def refused(self, reason: str, name: str = "") -> None:
        """A request was refused, of a device that is or was registered, or of nobody's."""
        with self._lock:
            self._refused.setdefault(reason, Counter())[name] += 1

    def write(self) -> None:
        """Write what was not written yet; where the database is gone, it is tried again the next time."""
        with self._lock:
            seen, self._seen = self._seen, {}
            tells = bool(self._refused) and self._clock() - self._told_at >= _TOLD_EVERY_S
            refused = self._refused if tells else {}
            if tells:
                self._refused, self._told_at = {}, self._clock()
        if not seen and not refused:
            return
        try:
            if self._database is None:
                self._database = FleetDatabase.open(self._folder)
            self._database.note_devices({name: {"last_seen_at": at} for name, at in seen.items()})
            self._written.update(seen)
            if refused:
                self._database.tell("refused", _in_words(refused), **_document(refused))
        except OperationsError as error:
            log.warning("what was seen of devices is not written: %s", error)
            with self._lock:
                if len(self._seen) < _LEFT:
                    self._seen = seen | self._seen

    def keep(self, names: frozenset[str]) -> None:
        """Forget devices that are registered no more."""
        self._written = {name: at for name, at in self._written.items() if name in names}
        with self._lock:
            self._seen = {name: at for name, at in self._seen.items() if name in names}


class NodeFacts:
    """What Flower says of the registered devices, written where it has changed."""

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self._folder, self._tell = folder, tell
        self._written: dict[str, dict[str, object]] = {}
        self._database: FleetDatabase | None = None
        self._is_gone = False

    def note(self, nodes: Mapping[str, FlowerNode], *, let_in: Sequence[str] = ()) -> None:
        """Note the node of each registered device, by its name, and which were let in just now."""
        facts = {
            name: {"node": str(node.node_id), "online": node.online} for name, node in sorted(nodes.items())
        }
        changed = {name: each for name, each in facts.items() if self._written.get(name) != each}
        if not changed and not let_in:
            return
        try:
            if self._database is None:
                self._database = FleetDatabase.open(self._folder)
            self._database.note_devices(changed)
            for name in let_in:
                self._database.tell("device", f"{name} is let in", device=name, action="let-in")
        except OperationsError as error:
            if not self._is_gone:
                self._tell(f"what is seen of devices is not written: {error}")
            self._is_gone = True
            return
        self._is_gone, self._written = False, facts

    def close(self) -> None:
        """Close the database."""
        if self._database is not None:
            self._database.close()


def _in_words(refused: dict[str, Counter[str]]) -> str:
    parts = [
        f"{counts.total()} {_IN_WORDS[reason]}{_names(counts)}" for reason, counts in sorted(refused.items())
    ]
    return f"refused requests: {'; '.join(parts)}"


def _names(counts: Counter[str]) -> str:
    named = [name for name, _ in counts.most_common(_NAMED) if name]
    return f" ({', '.join(named)})" if named else ""


def _document(refused: dict[str, Counter[str]]) -> dict[str, object]:
    """For programs: how many of each reason, and of which devices."""
    return {
        reason: {
            "requests": counts.total(),
            "devices": {name: count for name, count in counts.most_common(_NAMED) if name},
        }
        for reason, counts in refused.items()
    }
