"""Names for what lies in a cluster's object store, and the keeper that hands them out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fedstill_sim.workers.keeper import HandleLost as HandleLost

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class StoredHandle:
    """Names arrays in the object store; only the executor that it came from knows where they are."""

    name: str


class Store(Protocol):
    """What puts arrays into the object store and gets them: the executor, or in a worker the call."""

    def keep(self, arrays: Arrays) -> StoredHandle:
        """Store arrays until they are cleared."""

    def read(self, handle: StoredHandle) -> dict[str, npt.NDArray[Any]]:
        """Return stored arrays; raises HandleLost."""


STORES: dict[str, Store] = {}
"""The stores of this process, by the executor's token."""


@dataclass(frozen=True)
class StoreKeeper:
    """Keeps arrays in the object store, near whoever made them; it may be sent to workers.

    What a worker keeps belongs to the process that made its call: it outlives the worker, and is lost with
    the machine that it lies on.
    """

    token: str

    def keep(self, arrays: Arrays) -> StoredHandle:
        """Store arrays until the executor's `clear`."""
        return STORES[self.token].keep({name: np.asarray(array) for name, array in arrays.items()})

    def read(self, handle: Any) -> dict[str, npt.NDArray[Any]]:
        """Return stored arrays, which are not to be written to.

        Raises:
            HandleLost: They are gone, with the machine that had them.
        """
        return STORES[self.token].read(handle)

    def clear(self) -> None:
        """Forget all that was kept."""
        getattr(STORES[self.token], "clear", lambda: None)()
