"""Rounds are performed and their summaries leave the device: the ledger has whatever a byte has left of."""

from __future__ import annotations

import hashlib

import numpy as np
from fedstill_client.home import AgentHome
from fedstill_client.rounds.device import FleetDevice

from kills.operation import Whole, Words, check_opens, digest_of, hold, one_of, say
from kills.place import Place, task

_ROUNDS = range(2, 10)


class Rounds:
    name = "round"

    def work(self, home: AgentHome, place: Place) -> None:
        for number in _ROUNDS:
            with FleetDevice.opened(home.folder) as device:
                asked = task(device.artifact.manifest, number)
                summary = device.perform(asked)
                say(round=number, summary=summary.hex(), student=digest_of(device.store.latest()))
                counts = device.evaluate(asked)
                say(round=number, counts=[int(count[0]) for count in vars(counts).values()])

    def look(self, home: AgentHome, place: Place, said: Words, whole: Whole) -> str:
        check_opens(home)
        with FleetDevice.opened(home.folder) as device:
            assert device.private_store is not None
            ledger = device.private_store.ledger.releases()
            current = device.store.latest()
        left = [_content(line) for line in said.whole]
        digests = [release.digest for release in ledger]
        for content in left:
            hold(hashlib.sha256(content).hexdigest() in digests, "a release is not in the ledger")
        counted = sum(release.bytes for release in ledger if release.round in _ROUNDS)
        hold(counted >= sum(map(len, left)), f"{sum(map(len, left))} bytes left, the ledger has {counted}")
        # Some bytes of the line that was cut off have left, too: it is the next release.
        releases = sum(release.round in _ROUNDS for release in ledger)
        hold(releases >= len(left) + bool(said.cut), "a release that had begun is not in the ledger")
        hold(releases <= len(left) + 1, f"{releases} releases in the ledger, {len(left)} have left")
        pairs = {(release.round, release.digest) for release in ledger}
        hold(len(pairs) == len(ledger), "a release is in the ledger twice")
        return self._go_on(home, said, whole, digest_of(current))

    def _go_on(self, home: AgentHome, said: Words, whole: Whole, found: str) -> str:
        """Check that the student is of the last round or the next, and that the round repeats its summary."""
        reference = [line for line in whole.said.whole if "summary" in line]
        done = sum("summary" in line for line in said.whole)
        states = [("old", reference[done - 1]["student"])] if done else []
        states += [("new", reference[done]["student"])] if done < len(reference) else []
        state = "old" if not done and found.startswith("r1/1/") else one_of(found, states)
        if done < len(reference):
            with FleetDevice.opened(home.folder) as device:
                number = _ROUNDS[done]
                again = device.perform(task(device.artifact.manifest, number))
            hold(again.hex() == reference[done]["summary"], f"round {number}, asked again, differs")
        return state


def _content(line: dict[str, object]) -> bytes:
    """Return the bytes that the ledger takes the digest of."""
    if "summary" in line:
        return bytes.fromhex(str(line["summary"]))
    return np.array(line["counts"], "<i8").tobytes()
