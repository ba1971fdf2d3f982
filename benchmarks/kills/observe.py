"""Examples are observed, a few at a time: all that were acknowledged are there, whole, and in their order."""

from __future__ import annotations

import numpy as np
from fedstill_client.agent.agent import Agent
from fedstill_client.home import AgentHome
from fedstill_client.packages import load_installed
from fedstill_client.store import PrivateStore

from kills.operation import Whole, Words, check_opens, hold, say
from kills.place import Place, examples_of

_BATCHES = 60


class Observe:
    name = "observe"

    def work(self, home: AgentHome, place: Place) -> None:
        with Agent.open(home.folder) as agent, PrivateStore.open(home) as store:
            manifest = load_installed(home, store).manifest
            for batch in range(_BATCHES):
                say(batch=batch, ids=agent.observe(*examples_of(manifest, 1 + batch % 5, seed=100 + batch)))

    def look(self, home: AgentHome, place: Place, said: Words, whole: Whole) -> str:
        with PrivateStore.open(home) as store:
            manifest, kept = load_installed(home, store).manifest, store.examples("all")
        row_of = {int(number): row for row, number in enumerate(kept.ids)}
        with PrivateStore.open(place.home) as store:
            last = int(store.examples("all").ids.max())
        for line in said.whole:
            x, labels = examples_of(manifest, len(line["ids"]), seed=100 + line["batch"])
            hold(set(line["ids"]) <= set(row_of), f"acknowledged examples {line['ids']} are lost")
            rows = [row_of[number] for number in line["ids"]]
            hold(np.array_equal(kept.x[rows], x), f"examples {line['ids']} have changed")
            hold(np.array_equal(kept.labels[rows], labels), f"labels of {line['ids']} have changed")
            last = max(line["ids"])
        state = self._unacknowledged(int(kept.ids.max()) - last, len(said.whole))
        check_opens(home)
        with Agent.open(home.folder) as agent:
            (number,) = agent.observe(*examples_of(manifest, 1, seed=1))
        hold(number == int(kept.ids.max()) + 1, f"the next example is {number}")
        return state

    def _unacknowledged(self, extra: int, batches: int) -> str:
        """Return what was kept but not yet acknowledged: nothing, or the one batch that was on its way."""
        hold(extra in (0, 1 + batches % 5), f"{extra} examples of a batch of {1 + batches % 5} were kept")
        return "new" if extra else "old"
