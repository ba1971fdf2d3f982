"""The slots of an utterance on a device: a tagger's labels, made whole, and what they mean.

The likeliest labels in which no slot goes on that has not begun (Viterbi, 1967) are read as spans. Then rules
that need no learning have their say: a name that the owner has declared is one wherever the tagger saw no
text of another kind; a slot of a quantity is the whole quantity ("fifty percent"), and a percentage, a
temperature or a duration is a slot wherever the tagger saw no other.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.errors import WireError
from fedstill_proto.package.artifact import SLOTS_GRAPH_FILE, StudentPackage
from fedstill_proto.text.quantities import Quantity, QuantityKind
from fedstill_proto.text.slot_words import FEATURES, GRAMS, KnownNames, SlotWords, slot_words
from fedstill_proto.text.slots import (
    HomeNames,
    SlotKind,
    SlotSchema,
    SlotSpan,
    SlotValue,
    slot_value,
)

if TYPE_CHECKING:
    import onnxruntime as ort

_NEVER = -1e9
_OF_QUANTITY = {
    QuantityKind.NUMBER: SlotKind.NUMBER,
    QuantityKind.PERCENT: SlotKind.NUMBER,
    QuantityKind.KELVIN: SlotKind.NUMBER,
    QuantityKind.TEMPERATURE: SlotKind.TEMPERATURE,
    QuantityKind.DURATION: SlotKind.DURATION,
}
_CERTAIN = (QuantityKind.PERCENT, QuantityKind.TEMPERATURE, QuantityKind.DURATION)


@dataclass(frozen=True, eq=False)
class SlotFinder:
    """Finds the slots of utterances."""

    schema: SlotSchema
    session: ort.InferenceSession
    known: KnownNames | None = field(default=None)
    home: HomeNames | None = None

    @classmethod
    def of_package(cls, package: StudentPackage, home: HomeNames | None = None) -> SlotFinder | None:
        """That of a package; None where it has no tagger.

        Raises:
            WireError: slots.json or slots.onnx is none, or they do not belong together.
            GraphError: ONNX Runtime does not take the graph.
        """
        schema = slot_schema(package)
        if schema is None or package.slots_graph is None:
            return None
        return cls.of_graph(schema, package.slots_graph, home)

    @classmethod
    def of_graph(cls, schema: SlotSchema, graph: bytes, home: HomeNames | None = None) -> SlotFinder:
        """A finder with a schema and its tagger; raises WireError and GraphError."""
        # Whoever only checks a package runs none.
        from fedstill_client.model.runtime import session

        opened = session(graph)
        shapes = {port.name: list(port.shape)[1:] for port in (*opened.get_inputs(), *opened.get_outputs())}
        wanted = {"numbers": [GRAMS], "features": [FEATURES], "logits": [schema.labels]}
        if shapes != wanted:
            raise WireError(SLOTS_GRAPH_FILE, f"takes and gives {shapes!r:.120}; slots.json needs {wanted}")
        names = home if home is not None and (home.areas or home.things) else None
        return cls(schema, opened, None if names is None else KnownNames.of_home(names), names)

    def slots(self, text: str) -> tuple[SlotValue, ...]:
        """The slots of a text, in the order in which they stand; raises InvalidValue for a long text."""
        words = slot_words(text, self.schema, known=self.known)
        if not words.places:
            return ()
        return tuple(
            slot_value(text, span, home=self.home, quantities=words.quantities) for span in self.spans(words)
        )

    def spans(self, words: SlotWords) -> list[SlotSpan]:
        """Where slots are."""
        (logits,) = self.session.run(["logits"], {"numbers": words.numbers, "features": words.features})
        labels = likeliest_labels(np.asarray(logits, np.float64))
        spans = _with_possessions(words, _spans_of(self.schema, words, labels))
        spans = _with_names(self.schema, words, spans)
        return _with_quantities(self.schema, words, spans)


def slot_schema(package: StudentPackage) -> SlotSchema | None:
    """The slots of a package; None where it has none, WireError where its slots.json is none."""
    if package.slots is None:
        return None
    return SlotSchema.from_json(package.slots)


def likeliest_labels(logits: FloatArray) -> IntArray:
    """The best sequence of labels for logits [words, labels], in which no slot goes on unbegun: [words]."""
    words, labels = logits.shape
    scores = logits - logits.max(axis=1, keepdims=True)
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
    allowed = _allowed(labels)
    best = scores[0] + np.where(np.arange(labels) % 2 == 0, _NEVER, 0.0)
    best[0] = scores[0, 0]
    came_from = np.zeros((words, labels), np.int64)
    for at in range(1, words):
        paths = best[:, None] + allowed
        came_from[at] = paths.argmax(axis=0)
        best = paths.max(axis=0) + scores[at]
    out = np.zeros(words, np.int64)
    out[-1] = best.argmax()
    for at in range(words - 1, 0, -1):
        out[at - 1] = came_from[at, out[at]]
    return out


@functools.lru_cache(maxsize=8)
def _allowed(labels: int) -> FloatArray:
    """0 where a label may follow another, and never otherwise: [labels, labels]."""
    out = np.zeros((labels, labels), np.float32)
    for goes_on in range(2, labels, 2):
        out[:, goes_on] = _NEVER
        out[[goes_on - 1, goes_on], goes_on] = 0.0
    return out


def _spans_of(schema: SlotSchema, words: SlotWords, labels: IntArray) -> list[SlotSpan]:
    spans: list[SlotSpan] = []
    for at, label in enumerate(labels.tolist()):
        if not label:
            continue
        begin, end = words.places[at]
        name = schema.names[(label - 1) // 2]
        # Nobody says two things one behind the other without a word between them.
        joined = at > 0 and spans and spans[-1].end == words.places[at - 1][1] and spans[-1].name == name
        if label % 2 and not (joined and _is_named(name)):
            spans.append(SlotSpan(name, begin, end))
        elif spans:
            spans[-1] = SlotSpan(spans[-1].name, spans[-1].begin, end)
    return spans


def _is_named(name: str) -> bool:
    """Whether a slot is one of words rather than of a number or a colour."""
    return SlotKind.of_name(name) not in (*_OF_QUANTITY.values(), SlotKind.COLOR)


def _with_possessions(words: SlotWords, spans: list[SlotSpan]) -> list[SlotSpan]:
    """ "opa's" is of something: the word behind it, where that is a part of nothing else."""
    begun = {span.begin for span in spans}
    out = []
    for span in spans:
        behind = words.words_of(span.begin, span.end).stop
        owns = SlotKind.of_name(span.name) in (SlotKind.AREA, SlotKind.NAME)
        owns = owns and words.text[max(span.begin, span.end - 2) : span.end].lower() in ("'s", "’s")
        if owns and behind < len(words.places):
            begin, end = words.places[behind]
            if begin not in begun and words.text[span.end : begin].isspace():
                span = SlotSpan(span.name, span.begin, end)
        out.append(span)
    return out


def _with_names(schema: SlotSchema, words: SlotWords, spans: list[SlotSpan]) -> list[SlotSpan]:
    kinds = dict(zip(schema.names, schema.kinds, strict=True))
    kept = list(spans)
    for kind, inside in sorted(words.named, key=lambda each: -len(each[1])):
        begin, end = words.places[inside.start][0], words.places[inside.stop - 1][1]
        touching = [each for each in kept if each.begin < end and begin < each.end]
        others = [each for each in touching if kinds[each.name] not in (SlotKind.AREA, SlotKind.NAME)]
        longer = [each for each in touching if each.begin < begin or end < each.end]
        strange = any(
            kinds[each.name] is not kind for each in longer
        )  # "garden jobs", where there is a garden
        slot = next((name for name in schema.names if kinds[name] is kind), None)
        if slot is None or others or strange or (touching and _is_of_both(words, inside)):
            continue
        kept = [each for each in kept if each not in touching]
        kept.append(SlotSpan(slot, begin, end))
    return sorted(kept, key=lambda each: each.begin)


def _is_of_both(words: SlotWords, inside: range) -> bool:
    """Whether the same words are the name of a room and of a thing."""
    return sum(each == inside for _, each in words.named) > 1


def _with_quantities(schema: SlotSchema, words: SlotWords, spans: list[SlotSpan]) -> list[SlotSpan]:
    kinds = dict(zip(schema.names, schema.kinds, strict=True))
    kept = list(spans)
    for quantity in words.quantities:
        touching = [each for each in kept if each.begin < quantity.end and quantity.begin < each.end]
        slot = _slot_of(schema, kinds, quantity, touching)
        if slot is not None:
            kept = [each for each in kept if each not in touching]
            kept.append(SlotSpan(slot, quantity.begin, quantity.end))
    return sorted(kept, key=lambda each: each.begin)


def _slot_of(
    schema: SlotSchema, kinds: dict[str, SlotKind], quantity: Quantity, touching: list[SlotSpan]
) -> str | None:
    """The slot that a quantity is; None where it is none, or a part of another."""
    counting = (SlotKind.NUMBER, SlotKind.TEMPERATURE, SlotKind.DURATION)
    wanted = _OF_QUANTITY[quantity.kind]
    for each in touching:
        kind = kinds[each.name]
        if kind is wanted or (kind in counting and quantity.kind is QuantityKind.NUMBER):
            return each.name
        if kind not in counting:
            return None
    fitting = [name for name in schema.names if kinds[name] is wanted]
    certain = quantity.kind in _CERTAIN or bool(touching)
    return fitting[0] if certain and len(fitting) == 1 else None
