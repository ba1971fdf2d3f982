"""Several lists as one, and what a later list leaves out of an earlier one."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from fedstill_proto.package.constraints.constraints import (
    NO_CONSTRAINTS,
    ClassLabel,
    Constraints,
    SuppressedTopic,
    entry_lists,
)
from fedstill_proto.package.constraints.folding import folded
from fedstill_proto.package.constraints.suppressor import suppressor_of
from fedstill_proto.text.vocabulary import normal, split

Entry = TypeVar("Entry", str, ClassLabel)


def united(*lists: Constraints) -> Constraints:
    """What suppresses all that any of the lists does; it is binding where one of them is."""
    result = NO_CONSTRAINTS
    for each in lists:
        result = _united(result, each)
    return result


def _united(left: Constraints, right: Constraints) -> Constraints:
    topics: dict[str, SuppressedTopic] = {topic.name: topic for topic in left.topics}
    for topic in right.topics:
        own = topics.get(topic.name)
        topics[topic.name] = topic if own is None else _both(own, topic)
    stays = [
        word
        for own, other in ((left, right), (right, left))
        for word in own.allowed
        if normal(word) in map(normal, other.allowed) or not suppressor_of(other).word(normal(word))
    ]
    return Constraints(
        words=_merged(left.words, right.words),
        sequences=_merged(left.sequences, right.sequences),
        classes=_merged(left.classes, right.classes),
        topics=tuple(topics.values()),
        allowed=_merged(tuple(stays)),
        binding=left.binding or right.binding,
        lifted=_merged(left.lifted, right.lifted),
    )


def dropped(before: Constraints, after: Constraints) -> tuple[str, ...]:
    """What a binding list suppresses and a later one neither suppresses nor lifts, as "words: damn"."""
    if not before.binding:
        return ()
    lifted = {_key(text) for text in after.lifted}
    lifted |= {
        _key(f"{kind}: {entry}")
        for topic in before.topics
        if _key(f"topics: {topic.name}") in lifted
        for kind in ("words", "sequences", "classes")
        for entry in getattr(topic, kind)
    }
    missing = [f"{kind}: {entry}" for kind, entry in entry_lists(before) if not _holds(after, kind, entry)]
    missing += [f"allowed: {word}" for word in after.allowed if suppressor_of(before).word(normal(word))]
    return tuple(text for text in dict.fromkeys(missing) if _key(text) not in lifted)


def renewed(before: Constraints, given: Constraints) -> Constraints:
    """The list that a publisher has after giving another one: what that lifts is gone, all else is united."""
    gone = {_key(text) for text in given.lifted}

    def left(kind: str, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        return tuple(entry for entry in entries if _key(f"{kind}: {entry}") not in gone)

    kept = replace(
        before,
        words=left("words", before.words),
        sequences=left("sequences", before.sequences),
        classes=left("classes", before.classes),
        allowed=left("allowed", before.allowed),
        topics=tuple(
            SuppressedTopic(
                name=topic.name,
                words=left("words", topic.words),
                sequences=left("sequences", topic.sequences),
                classes=left("classes", topic.classes),
            )
            for topic in before.topics
            if _key(f"topics: {topic.name}") not in gone
        ),
    )
    return united(kept, given)


def _holds(after: Constraints, kind: str, entry: ClassLabel) -> bool:
    """Whether a list suppresses an entry of another one, by whatever entry of its own."""
    if kind == "classes":
        return _class_key(entry) in map(_class_key, after.all_classes)
    text = str(entry)
    if kind == "words":
        return bool(suppressor_of(after).found(text))
    wanted = " ".join(map(folded, split(text)))
    return any(" ".join(map(folded, split(each))) in wanted for each in after.all_sequences)


def _both(left: SuppressedTopic, right: SuppressedTopic) -> SuppressedTopic:
    return SuppressedTopic(
        name=left.name,
        words=_merged(left.words, right.words),
        sequences=_merged(left.sequences, right.sequences),
        classes=_merged(left.classes, right.classes),
    )


def _merged(*lists: tuple[Entry, ...]) -> tuple[Entry, ...]:
    return tuple(dict.fromkeys(entry for each in lists for entry in each))


def _key(text: str) -> str:
    kind, _, entry = text.partition(": ")
    return f"{kind}: {normal(entry.strip())}"


def _class_key(label: ClassLabel) -> str:
    return normal(str(label).strip())
