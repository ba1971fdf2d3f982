"""Texts that an owner keeps, and what a memory of them answers: in the agent's process and outside."""

from __future__ import annotations

from dataclasses import dataclass

from fedstill_proto.text.intents import ScoredIntent


@dataclass(frozen=True)
class KeptMemory:
    """A text that is kept.

    Attributes:
        id: Its number.
        text: What was kept.
        label: What its owner says that it is, such as the name of a class; "" says nothing.
        source: Where it is from, such as a file's name; "" says nothing.
        kept_at: When, in seconds since 1970.
    """

    id: int
    text: str
    label: str = ""
    source: str = ""
    kept_at: float = 0.0


@dataclass(frozen=True)
class FoundMemory:
    """A memory that was found.

    Attributes:
        memory: What was kept.
        similarity: The cosine of its vector and the question's, 1 at most.
    """

    memory: KeptMemory
    similarity: float


@dataclass(frozen=True)
class MemoryAnswer:
    """What was found for a question.

    Attributes:
        found: The nearest memories, the nearest first.
        classes: What the question is, by the labels of those found and by the student, the likeliest first;
            none where no memory has a label.
        share: What the memory's votes weigh beside the student's probabilities, 0 to 1; 1 where the student
            tells no classes apart.
    """

    found: tuple[FoundMemory, ...]
    classes: tuple[ScoredIntent, ...] = ()
    share: float = 0.0


@dataclass(frozen=True)
class MemoryFacts:
    """How much is kept, and how much may be.

    Attributes:
        memories: Texts that are kept.
        bytes: Bytes that they take, with their vectors.
        most: Texts at most.
        max_bytes: Bytes at most.
        labelled: Texts with a label.
        sources: Where they are from, by the alphabet, with how many each.
    """

    memories: int
    bytes: int
    most: int
    max_bytes: int
    labelled: int
    sources: tuple[tuple[str, int], ...]
