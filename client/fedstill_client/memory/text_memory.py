"""The memory of a device: keeps its owner's texts with their vectors, and finds them again by meaning."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.intents import ScoredIntent

from fedstill_client.memory.embedder import TextEmbedder
from fedstill_client.memory.nearest import NEIGHBOURS, Mixture, fitted_mixture, nearest, votes
from fedstill_client.memory.passages import MOST_PASSAGES, passages
from fedstill_client.memory_types import FoundMemory, KeptMemory, MemoryAnswer, MemoryFacts
from fedstill_client.store.memories import MemoryLimits, MemoryTable

MOST_FOUND = 100
NAME_LIMIT = 200
"""Characters of a label, or of a source."""
_FITTED_ON = 128  # of the newest memories with labels, the mixture
_EMBEDDED_TOGETHER = 256
_SHOWN_CLASSES = 5


@dataclass(frozen=True, eq=False)
class MemoryStudent:
    """The student as a memory needs it.

    Attributes:
        embedder: Makes the vectors.
        row_holds: Whether a text fits into one of the student's rows.
        class_names: The classes that it tells apart; none for a student of embeddings.
        probabilities: What it says of texts [n, classes]; not asked where it tells no classes apart.
        allowed: Answers [n, classes] without the classes that its package suppresses.
        state: Another object when its answers have changed.
    """

    embedder: TextEmbedder
    row_holds: Callable[[str], bool]
    class_names: tuple[str, ...]
    probabilities: Callable[[Sequence[str]], FloatArray]
    allowed: Callable[[FloatArray], FloatArray]
    state: object


@dataclass(frozen=True, eq=False)
class _Kept:
    """All memories as they are found, of one version of the table and one embedder."""

    version: int
    embedder: str
    memories: tuple[KeptMemory, ...]
    vectors: FloatArray  # [n, width]
    class_names: tuple[str, ...]
    labelled: IntArray  # places of those whose label is a class
    labels: IntArray  # their classes


class TextMemory:
    """Keeps texts and finds them; not safe to share among threads (an agent's is: see agent/memory.py).

    Args:
        table: Of the private store.
        student: The student of now; asked each time.
    """

    def __init__(self, table: MemoryTable, student: Callable[[], MemoryStudent]) -> None:
        self._table, self._student_now = table, student
        self._kept: _Kept | None = None
        self._mixture: tuple[_Kept, object, Mixture] | None = None

    def add(
        self, texts: Sequence[str], *, label: str = "", source: str = "", kept_at: float | None = None
    ) -> tuple[int, ...]:
        """Keep texts, all or none; a text that does not fit into the student's row, as passages that do.

        Args:
            texts: The texts.
            label: What they are; for a student of classes, the name of one.
            source: Where they are from.
            kept_at: When, in seconds since 1970; now by default.

        Returns:
            The ids of the passages, which `forget` takes.

        Raises:
            InvalidValue: A text holds nothing, a label is no class, or there is no room.
        """
        student = self._student_now()
        label, source = _name("label", label), _name("source", source)
        if label and student.class_names and label not in student.class_names:
            problem = (
                f"{label!r:.60} is none of the student's classes: {', '.join(student.class_names)[:300]}"
            )
            raise InvalidValue("label", problem)
        cut = [part for text in texts for part in passages(_text(text), student.row_holds)]
        if not cut:
            raise InvalidValue("texts", "hold no word; give one text or more")
        if len(cut) > MOST_PASSAGES:
            raise InvalidValue("texts", f"{len(cut)} passages; give {MOST_PASSAGES} at most at a time")
        when = time.time() if kept_at is None else kept_at
        memories = [KeptMemory(0, part, label, source, when) for part in cut]
        return self._table.add(memories, student.embedder.embed(cut), student.embedder.name)

    def ask(self, question: str, k: int = 5) -> MemoryAnswer:
        """The memories nearest to a question, and what their labels say that it is.

        Raises:
            InvalidValue: k is out of range, or the question holds nothing.
        """
        if not 1 <= k <= MOST_FOUND:
            raise InvalidValue("k", f"{k}; give 1 to {MOST_FOUND}")
        student = self._student_now()
        kept, query = self._current(student), student.embedder.embed([question])
        places, cosines = nearest(kept.vectors, query, k)
        found = tuple(
            FoundMemory(kept.memories[place], float(cosine))
            for place, cosine in zip(places[0].tolist(), cosines[0].tolist(), strict=True)
        )
        if not len(kept.labelled):
            return MemoryAnswer(found)
        mixture = self._fitted(kept, student)
        said = self._mixed(kept, student, mixture, [question], query)[0]
        likeliest = np.argsort(-said, kind="stable")[:_SHOWN_CLASSES]
        classes = tuple(
            ScoredIntent(kept.class_names[each], float(said[each])) for each in likeliest if said[each] > 0
        )
        return MemoryAnswer(found, classes, mixture.share)

    def mixed(self, texts: Sequence[str]) -> FloatArray | None:
        """What texts are [n, classes], by the memory and the student; None where no memory has a label."""
        student = self._student_now()
        if not student.class_names or not self._table.count()[0]:
            return None
        kept = self._current(student)
        if not len(kept.labelled):
            return None
        return self._mixed(kept, student, self._fitted(kept, student), texts, student.embedder.embed(texts))

    def list(self, *, source: str | None = None) -> tuple[KeptMemory, ...]:
        """All memories, or those from one source, the newest first."""
        kept = self._table.read().memories
        return tuple(one for one in reversed(kept) if source is None or one.source == source)

    def forget(
        self, *, ids: Sequence[int] | None = None, source: str | None = None, everything: bool = False
    ) -> int:
        """Erase memories, from the disk too; gives how many. Raises InvalidValue."""
        self._kept = self._mixture = None
        return self._table.forget(ids=ids, source=source, everything=everything)

    @property
    def limits(self) -> MemoryLimits:
        """How much is kept."""
        return self._table.limits

    @limits.setter
    def limits(self, limits: MemoryLimits) -> None:
        self._table.limits = limits

    def facts(self) -> MemoryFacts:
        """How much is kept, and how much may be."""
        (many, size), limits, kept = self._table.count(), self._table.limits, self._table.read().memories
        sources = Counter(one.source for one in kept if one.source)
        labelled = sum(bool(one.label) for one in kept)
        return MemoryFacts(
            many, size, limits.most, limits.max_bytes, labelled, tuple(sorted(sources.items()))
        )

    def _current(self, student: MemoryStudent) -> _Kept:
        """All memories; what another student's vectors find is embedded anew first."""
        name, version = student.embedder.name, self._table.version
        kept = self._kept
        if kept is not None and (kept.version, kept.embedder) == (version, name):
            return kept
        read = self._table.read()
        stale = [place for place, made_by in enumerate(read.embedders) if made_by != name]
        for start in range(0, len(stale), _EMBEDDED_TOGETHER):
            part = [read.memories[place] for place in stale[start : start + _EMBEDDED_TOGETHER]]
            vectors = student.embedder.embed([one.text for one in part])
            self._table.put_vectors([one.id for one in part], vectors, name)
        if stale:
            version, read = self._table.version, self._table.read()
        names = student.class_names or tuple(sorted({one.label for one in read.memories if one.label}))
        numbers = {label: number for number, label in enumerate(names)}
        labelled = [place for place, one in enumerate(read.memories) if one.label in numbers]
        self._kept = _Kept(
            version,
            name,
            read.memories,
            np.stack(read.vectors) if read.vectors else np.zeros((0, 1), np.float32),
            names,
            np.array(labelled, np.int64),
            np.array([numbers[read.memories[place].label] for place in labelled], np.int64),
        )
        return self._kept

    def _fitted(self, kept: _Kept, student: MemoryStudent) -> Mixture:
        if not student.class_names:
            return Mixture(share=1.0)
        if self._mixture is None or self._mixture[0] is not kept or self._mixture[1] is not student.state:
            newest = kept.labelled[-_FITTED_ON:]
            said = student.probabilities([kept.memories[place].text for place in newest])
            mixture = fitted_mixture(kept.vectors[newest], kept.labels[-_FITTED_ON:], said)
            self._mixture = (kept, student.state, mixture)
        return self._mixture[2]

    def _mixed(
        self, kept: _Kept, student: MemoryStudent, mixture: Mixture, texts: Sequence[str], queries: FloatArray
    ) -> FloatArray:
        classes = len(kept.class_names)
        places, cosines = nearest(kept.vectors[kept.labelled], queries, NEIGHBOURS)
        said = votes(cosines, kept.labels[places], classes=classes, temperature=mixture.temperature)
        if not student.class_names:
            return said
        # A label of the owner's brings no class back that the package suppresses.
        return student.allowed(mixture.of(student.probabilities(texts), said))


def _name(field: str, given: str) -> str:
    name = given.strip()
    if len(name) > NAME_LIMIT or not (name.isprintable() or not name):
        raise InvalidValue(field, f"{given!r:.60} is no line of {NAME_LIMIT} characters at most")
    return name


def _text(given: str) -> str:
    return given.encode("utf-8", "ignore").decode()
