"""Examples are forgotten: all is there as it was, or nothing, and then no byte of it is on the disk."""

from __future__ import annotations

from fedstill_client.agent.agent import Agent
from fedstill_client.home import AgentHome
from fedstill_client.packages import load_installed
from fedstill_client.store import PrivateStore

from kills.operation import Whole, Words, check_opens, digest_of, hold, say, student_of
from kills.place import Place

_BYTES = 24  # of an example, that are looked for


class Forget:
    name = "forget"

    def work(self, home: AgentHome, place: Place) -> None:
        with Agent.open(home.folder) as agent:
            say(examples=agent.forget(everything=True).examples)

    def look(self, home: AgentHome, place: Place, said: Words, whole: Whole) -> str:
        with PrivateStore.open(place.home) as store:
            before = store.examples("all")
            releases = store.ledger.releases()
        canaries = [bytes(row.tobytes()[:_BYTES]) for row in before.x]
        hold(any(canary in _files(place.home) for canary in canaries), "the search finds nothing anyway")
        # The device starts: whoever opens the store ends what was begun.
        with PrivateStore.open(home) as store:
            content = _files(home)
            left, under_way = store.counts(), store.learning() is not None
            hold(store.ledger.releases() == releases, "the ledger has changed")
        count, gone = left.training + left.held_out, digest_of(student_of(home)) == "none"
        hold(count in (0, len(before.ids)), f"{count} of {len(before.ids)} examples are left")
        hold(gone == (count == 0) == (not under_way), f"{count} examples, student gone: {gone}")
        hold(not said.whole or count == 0, "the forgetting was acknowledged, and the examples are there")
        state = "new" if count == 0 else "old"
        if count:
            check_opens(home)
            hold(digest_of(student_of(home)) == digest_of(student_of(place.home)), "another student")
            with Agent.open(home.folder) as agent:
                hold(agent.forget(everything=True).examples == count, "it cannot be forgotten afterwards")
                content = _files(home)
        found = [number for number, canary in zip(before.ids, canaries, strict=True) if canary in content]
        hold(not found, f"bytes of {len(found)} forgotten examples are on the disk, such as {found[:3]}")
        self._check_answers(home)
        return state

    def _check_answers(self, home: AgentHome) -> None:
        """Check that the package's own student answers."""
        check_opens(home)
        with PrivateStore.open(home) as store:
            hold(load_installed(home, store).manifest.package_version == 1, "another package")


def _files(home: AgentHome) -> bytes:
    paths = sorted(path for path in home.folder.iterdir() if path.is_file() and not path.is_symlink())
    return b"".join(path.read_bytes() for path in paths)
