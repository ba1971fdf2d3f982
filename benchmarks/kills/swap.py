"""Students are put in each other's place while the agent answers: one of them is there, all of it."""

from __future__ import annotations

import numpy as np
from fedstill_client.agent.agent import Agent
from fedstill_client.home import AgentHome
from fedstill_client.model.student_store import OwnStudent, StudentHistory, StudentStore
from fedstill_client.packages import load_installed
from fedstill_client.store import PrivateStore
from fedstill_proto.package.artifact import StudentManifest

from kills.operation import Problem, Whole, Words, check_opens, digest_of, hold, say
from kills.place import Place

_RUN, _SWAPS = "swaps", 60


class Swap:
    """Swaps students in the private store, and in the folder of a plain device (state/), by turns."""

    name = "swap"

    def work(self, home: AgentHome, place: Place) -> None:
        with Agent.open(home.folder) as agent, PrivateStore.open(home) as store:
            manifest = load_installed(home, store).manifest
            x = np.ones((1, *manifest.input_shape), np.float32)
            for number in range(1, _SWAPS + 1):
                for students in _histories(home, store, manifest):
                    with students.locked():
                        before = _student(manifest, number - 1) if number > 1 else None
                        students.save(_student(manifest, number), before=before)
                say(number=number, answer=float(agent.predict(x)[0, 0]))

    def look(self, home: AgentHome, place: Place, said: Words, whole: Whole) -> str:
        check_opens(home)
        last = said.whole[-1]["number"] if said.whole else 0
        found = []
        with PrivateStore.open(home) as store:
            manifest = load_installed(home, store).manifest
            for students in _histories(home, store, manifest):
                found.append(self._found(students, manifest, last, first=place))
        for line in said.whole:  # the agent answered with the student that had just been put in place
            wanted = whole.said.whole[line["number"] - 1]["answer"]
            hold(line["answer"] == wanted, f"swap {line['number']} was answered {line['answer']}")
        return "old" if max(found) == last else "new"

    def _found(self, students: StudentHistory, manifest: StudentManifest, last: int, first: Place) -> int:
        """Return the number of the student in place; the one before must be there as well."""
        current = students.latest()
        if last == 0 and (current is None or current.run != _RUN):
            return 0
        if current is None:
            raise Problem(f"swap {last} was acknowledged, and there is no student")
        hold(current.run == _RUN, f"swap {last} was acknowledged, and its student is not there")
        hold(current.round in (last, last + 1), f"student {current.round} after swap {last}")
        hold(digest_of(current) == digest_of(_student(manifest, current.round)), "a mixture of students")
        if current.round > 1:
            before = students.before(_RUN, current.round)
            wanted = digest_of(_student(manifest, current.round - 1))
            hold(digest_of(before) == wanted, "the student from before is another")
        return current.round


def _histories(
    home: AgentHome, store: PrivateStore, manifest: StudentManifest
) -> tuple[StudentHistory, StudentHistory]:
    return (
        store.students(manifest, manifest.package_version),
        StudentStore(manifest, home.folder / "state"),
    )


def _student(manifest: StudentManifest, number: int) -> OwnStudent:
    arrays = {spec.name: np.full(spec.shape, number / 1000, np.float32) for spec in manifest.parameters}
    arrays[manifest.parameters[-1].name].flat[0] = number  # so that each answers differently
    return OwnStudent(_RUN, number, arrays)
