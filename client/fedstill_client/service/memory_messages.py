"""The values of an agent's memory as messages, and back."""

from __future__ import annotations

from collections.abc import Sequence

from fedstill_proto.errors import WireError
from fedstill_proto.text.intents import ScoredIntent
from fedstill_proto.v1 import agent_pb2 as pb

from fedstill_client.memory_types import FoundMemory, KeptMemory, MemoryAnswer, MemoryFacts

IDS_LIMIT = 100_000
PAGE = 200
"""Memories in one answer of a list."""
USUAL_FOUND = 5


def encode_answer(answer: MemoryAnswer) -> pb.MemoryResponse:
    """What was found for a question."""
    return pb.MemoryResponse(
        memories=[_encode(one.memory, one.similarity) for one in answer.found],
        classes=[pb.ScoredIntent(name=one.name, confidence=one.confidence) for one in answer.classes],
        share=answer.share,
    )


def decode_answer(message: pb.MemoryResponse) -> MemoryAnswer:
    """What was found for a question."""
    return MemoryAnswer(
        tuple(FoundMemory(_decode(one), one.similarity) for one in message.memories),
        tuple(ScoredIntent(one.name, one.confidence) for one in message.classes),
        message.share,
    )


def encode_page(kept: Sequence[KeptMemory], *, before_id: int) -> pb.MemoryResponse:
    """A page of a list whose newest stand first: of those with lower ids than that; 0 is of all."""
    left = [one for one in kept if not before_id or one.id < before_id]
    return pb.MemoryResponse(memories=[_encode(one) for one in left[:PAGE]], more=len(left) > PAGE)


def decode_page(message: pb.MemoryResponse) -> list[KeptMemory]:
    """The memories of a page."""
    return [_decode(one) for one in message.memories]


def encode_facts(facts: MemoryFacts) -> pb.MemoryResponse:
    """How much is kept."""
    return pb.MemoryResponse(facts=pb.MemoryFacts(**{**vars(facts), "sources": dict(facts.sources)}))


def decode_facts(message: pb.MemoryFacts) -> MemoryFacts:
    """How much is kept."""
    return MemoryFacts(
        message.memories,
        message.bytes,
        message.most,
        message.max_bytes,
        message.labelled,
        tuple(sorted(message.sources.items())),
    )


def decode_ids(message: pb.MemoryRequest) -> tuple[int, ...] | None:
    """The ids that are to be forgotten; raises WireError."""
    if len(message.ids) > IDS_LIMIT:
        raise WireError("ids", f"{len(message.ids)} ids; send {IDS_LIMIT} at most at a time")
    return tuple(message.ids) or None


def _encode(kept: KeptMemory, similarity: float = 0.0) -> pb.KeptMemory:
    return pb.KeptMemory(
        id=kept.id,
        text=kept.text,
        label=kept.label,
        source=kept.source,
        kept_seconds=kept.kept_at,
        similarity=similarity,
    )


def _decode(message: pb.KeptMemory) -> KeptMemory:
    return KeptMemory(message.id, message.text, message.label, message.source, message.kept_seconds)
