"""A learning goes on, from its snapshot to a better student: the old one answers or the new one."""

from __future__ import annotations

from fedstill_client.agent_types import LearningResult
from fedstill_client.home import AgentHome
from fedstill_client.learning import learn
from fedstill_client.packages import load_installed
from fedstill_client.store import PrivateStore

from kills.operation import Whole, Words, check_opens, digest_of, hold, one_of, say, student_of
from kills.place import LEARNING, Place


class Personalize:
    name = "personalize"

    def work(self, home: AgentHome, place: Place) -> None:
        say(result=_learn(home).result)

    def look(self, home: AgentHome, place: Place, said: Words, whole: Whole) -> str:
        check_opens(home)
        old, new = digest_of(student_of(place.home)), digest_of(student_of(whole.home))
        hold(old != new, "without a kill the student is no better: nothing is measured")
        state = one_of(digest_of(student_of(home)), [("old", old), ("new", new)])
        with PrivateStore.open(home) as store:
            under_way = store.learning() is not None
        hold(under_way == (state == "old"), f"the student is {state}, a learning is there: {under_way}")
        if state == "old":
            hold(not said.whole, "the learning was acknowledged, and its student is not there")
            hold(_learn(home).resumed, "the learning did not go on from its snapshot")
            after = digest_of(student_of(home))
            hold(after == new, f"the learning that went on ended with {after}, without a kill {new}")
        return state


def _learn(home: AgentHome) -> LearningResult:
    with PrivateStore.open(home) as store:
        return learn(store, load_installed(home, store), settings=LEARNING)
