"""The memory of an agent, safe to share among threads: the installed package's student finds its texts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from fedstill_proto.arrays import FloatArray

from fedstill_client.memory.text_memory import MemoryStudent, TextMemory
from fedstill_client.memory_types import KeptMemory, MemoryAnswer, MemoryFacts
from fedstill_client.store.memories import MemoryLimits, MemoryTable


class AgentMemory:
    """Texts that the owner keeps, finds again, and forgets; see docs/how-to/memory.md.

    They stay in the private store of the device: nothing learns from them, and no message has them.
    """

    def __init__(
        self, table: MemoryTable, student: Callable[[], MemoryStudent], lock: threading.RLock
    ) -> None:
        self._memory, self._lock = TextMemory(table, student), lock

    def add(self, texts: str | Sequence[str], *, label: str = "", source: str = "") -> tuple[int, ...]:
        """Keep texts. All are on the disk when it returns.

        Args:
            texts: A text or several; one that does not fit into a row of the student, as passages that do.
            label: What they are; for a student of classes, the name of one.
            source: Where they are from.

        Returns:
            The ids of the passages, which `forget` takes.

        Raises:
            InvalidValue: A text holds nothing, the label is no class, or there is no room; nothing is kept.
            AgentError: The installed student gives no vectors of texts.
        """
        with self._lock:
            given = [texts] if isinstance(texts, str) else list(texts)
            return self._memory.add(given, label=label, source=source)

    def ask(self, question: str, k: int = 5) -> MemoryAnswer:
        """The k memories nearest to a question, and what it is by their labels and the student.

        Raises:
            InvalidValue: k is none of 1 to 100, or the question holds nothing.
            AgentError: The installed student gives no vectors of texts.
        """
        with self._lock:
            return self._memory.ask(question, k)

    def list(self, *, source: str | None = None) -> tuple[KeptMemory, ...]:
        """All memories, or those from one source, the newest first."""
        with self._lock:
            return self._memory.list(source=source)

    def forget(
        self, *, ids: Sequence[int] | None = None, source: str | None = None, everything: bool = False
    ) -> int:
        """Erase memories by ids, from one source, or all, from the disk too; gives how many.

        Raises:
            InvalidValue: Not exactly one of the three is given.
        """
        with self._lock:
            return self._memory.forget(ids=ids, source=source, everything=everything)

    def facts(self) -> MemoryFacts:
        """How much is kept, and how much may be."""
        with self._lock:
            return self._memory.facts()

    def limit(self, limits: MemoryLimits) -> None:
        """Keep so much from now on; what is there stays."""
        with self._lock:
            self._memory.limits = limits

    def mixed(self, texts: Sequence[str]) -> FloatArray | None:
        """What texts are [n, classes], by memory and student; None where no memory has a label."""
        with self._lock:
            return self._memory.mixed(texts)
