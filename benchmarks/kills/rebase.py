"""A newer package is installed, and the owner's student re-based: the old student answers, or the new one."""

from __future__ import annotations

from fedstill_client.home import AgentHome
from fedstill_client.releases.rebasing import rebase_home
from fedstill_client.releases.record import read_record, rebase_is_due
from fedstill_client.store import PrivateStore

from kills.install import update_package
from kills.operation import Whole, Words, check_opens, digest_of, hold, one_of, say, student_of
from kills.place import Place


class Rebase:
    name = "rebase"

    def work(self, home: AgentHome, place: Place) -> None:
        update_package(home, place)
        rebase_home(home)
        say(rebased=True)

    def look(self, home: AgentHome, place: Place, said: Words, whole: Whole) -> str:
        check_opens(home)
        states = [("old", digest_of(student_of(place.home))), ("new", digest_of(student_of(whole.home)))]
        found = digest_of(student_of(home))
        state = one_of(found, states)
        # Where the student of before is kept, the two are the same: then the record tells them apart.
        hold(
            not said.whole or found == states[1][1], "the re-based student was acknowledged, and is not there"
        )
        with PrivateStore.open(home) as store:
            hold(not said.whole or not rebase_is_due(store), "what was acknowledged is not written down")
        update_package(home, place)
        rebase_home(home)
        check_opens(home)
        with PrivateStore.open(home) as store:
            counts = read_record(store).counts
            hold(not rebase_is_due(store), "the re-basing cannot be done afterwards")
        hold(
            counts is not None and counts.owner_after >= counts.owner_before, f"the owner has lost: {counts}"
        )
        hold(digest_of(student_of(home, version=1)) == states[0][1], "the student of before is lost")
        return state
