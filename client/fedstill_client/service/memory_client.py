"""The memory of an agent as an app calls it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fedstill_proto.v1 import agent_pb2 as pb

from fedstill_client.memory_types import KeptMemory, MemoryAnswer, MemoryFacts
from fedstill_client.service import memory_messages as messages


class MemoryClient:
    """Texts that the owner keeps, finds again, and forgets; they never leave the device.

    Its calls raise what those of AgentClient do.
    """

    def __init__(self, call: Callable[[pb.MemoryRequest], pb.MemoryResponse]) -> None:
        self._call = call

    def add(self, texts: str | Sequence[str], *, label: str = "", source: str = "") -> tuple[int, ...]:
        """Keep texts, all or none; those too long for the student as passages. Gives the passages' ids.

        Args:
            texts: A text or several.
            label: What they are; for a student of classes, the name of one.
            source: Where they are from.
        """
        given = [texts] if isinstance(texts, str) else list(texts)
        request = pb.MemoryRequest(
            action=pb.MEMORY_ACTION_ADD, texts=map(_sendable, given), label=label, source=source
        )
        return tuple(one.id for one in self._call(request).memories)

    def ask(self, question: str, k: int = 5) -> MemoryAnswer:
        """The k memories nearest to a question, and what it is by their labels and the student."""
        request = pb.MemoryRequest(action=pb.MEMORY_ACTION_ASK, texts=[_sendable(question)], k=max(k, 0))
        return messages.decode_answer(self._call(request))

    def list(self, *, source: str | None = None) -> tuple[KeptMemory, ...]:
        """All memories, or those from one source, the newest first."""
        found: list[KeptMemory] = []
        while True:
            before = found[-1].id if found else 0
            request = pb.MemoryRequest(action=pb.MEMORY_ACTION_LIST, source=source, before_id=before)
            page = self._call(request)
            found += messages.decode_page(page)
            if not page.more:
                return tuple(found)

    def forget(
        self, *, ids: Sequence[int] | None = None, source: str | None = None, everything: bool = False
    ) -> int:
        """Erase memories by ids, from one source, or all, from the disk too; gives how many."""
        if ids is not None and not ids:
            return 0
        request = pb.MemoryRequest(
            action=pb.MEMORY_ACTION_FORGET, ids=ids, source=source, everything=everything
        )
        return int(self._call(request).forgotten)

    def facts(self) -> MemoryFacts:
        """How much is kept, and how much may be."""
        return messages.decode_facts(self._call(pb.MemoryRequest(action=pb.MEMORY_ACTION_FACTS)).facts)


def _sendable(text: str) -> str:
    """The text without lone surrogates, which cannot be written as UTF-8."""
    return text.encode("utf-8", "ignore").decode()
