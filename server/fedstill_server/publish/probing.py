"""Asks a package, before anybody gets it, for what it suppresses; the build fails where that comes out.

A student of words is asked behind no words, behind the beginnings of suppressed phrases and words, and behind
rows of the public set, by each of its graphs, with its lexicon where it has one; a classifier is asked about
public examples. What would be shown is judged by `PlainReader`, which shares nothing with what masks it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import FedstillError, InvalidValue
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.constraints.classes import class_numbers, without_classes, without_labels
from fedstill_proto.package.constraints.constraints import Constraints
from fedstill_proto.package.constraints.plainly import PlainReader
from fedstill_proto.package.constraints.suppressor import Suppressor, suppressor_of
from fedstill_proto.package.constraints.token_mask import TokenMask
from fedstill_proto.package.target import TargetKind
from fedstill_proto.text.intents import IntentSchema
from fedstill_proto.text.lexicon import Lexicon
from fedstill_proto.text.vocabulary import CONTINUES, START, WordList

from fedstill_server.export.opened import logits_of_graph, open_graph
from fedstill_server.publish.constraints import constraints_of
from fedstill_server.publish.errors import PublishError

MOST_CONTEXTS, SHOWN, ROWS = 60, 100, 128
_SEED = 0x70726F62


def check_classes_known(package: StudentPackage) -> None:
    """Raise PublishError where a suppressed class is none of the student's: it may be misspelled."""
    constraints, manifest = constraints_of(package), package.manifest
    if manifest.labels_each_place or not constraints.all_classes:
        return
    try:
        _numbers(package, constraints, strict=True)
    except InvalidValue as error:
        raise PublishError(
            f"{manifest.family}: constraints.json: {error}; correct it, or lift it: a list with "
            '"lifted": ["classes: NAME"]'
        ) from None


def probe_package(package: StudentPackage, x: FloatArray) -> None:
    """Raise PublishError unless a package holds to its constraints.

    Args:
        package: The package.
        x: Public examples [n, *input_shape], as the network reads them.
    """
    constraints = constraints_of(package)
    if constraints.is_empty:
        return
    graphs = {"float32": package.whole(package.inference_graph)}
    if package.int8_graph is not None:
        graphs["int8"] = package.whole(package.int8_graph, int8=True)
    for precision, graph in graphs.items():
        try:
            leak = _leak(package, constraints, graph, x)
        except PublishError:
            raise
        except FedstillError as error:
            raise PublishError(f"{package.manifest.family}: constraints.json: {error}") from None
        if leak:
            raise PublishError(
                f"{package.manifest.family}: its constraints do not hold in {precision}: {leak}; it is not "
                "packed"
            )


def _leak(package: StudentPackage, constraints: Constraints, graph: bytes, x: FloatArray) -> str:
    manifest = package.manifest
    if manifest.labels_each_place:
        if not constraints.concerns_text:
            return ""
        return _word_leak(package, constraints, graph, x)
    if not constraints.all_classes or manifest.target.is_regression or not len(x):
        return ""
    numbers = _numbers(package, constraints)
    return _class_leak(manifest.target.kind, numbers, logits_of_graph(graph, x[:ROWS]))


def _numbers(package: StudentPackage, constraints: Constraints, *, strict: bool = False) -> frozenset[int]:
    manifest = package.manifest
    schema = None if package.intents is None else _schema(package)
    names = manifest.class_names if schema is None else schema.names
    classes = manifest.target.size or manifest.classes
    return class_numbers(constraints, classes=classes, names=names, strict=strict)


def _class_leak(kind: TargetKind, numbers: frozenset[int], logits: FloatArray) -> str:
    if not numbers:
        return ""
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    if kind is TargetKind.MULTI_LABEL:
        answers = without_labels(shares[..., 1], numbers)
    else:
        answers = without_classes(shares, numbers)
        if not np.allclose(answers.sum(axis=-1), 1.0, atol=1e-4):
            return "what a suppressed class had does not move to the others"
    if not np.isfinite(answers).all() or answers[..., sorted(numbers)].any():
        return f"class {min(numbers)} is answered"
    return ""


def _schema(package: StudentPackage) -> IntentSchema:
    assert package.intents is not None
    manifest = package.manifest
    places = int(np.prod(manifest.input_shape))
    return IntentSchema.from_json(package.intents, classes=manifest.classes, places=places)


@dataclass(frozen=True, eq=False)
class _Texts:
    """What a student's tokens say: the words of its list, or the sub-words of its tokenizer."""

    entries: list[str]  # what each says by itself
    begin: list[int]  # what texts begin with
    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    mask: TokenMask
    words: WordList | None = None

    @classmethod
    def of(cls, package: StudentPackage, suppressor: Suppressor) -> _Texts | None:
        """None for a package that does not say what its numbers mean."""
        subwords = package.manifest.subwords
        if package.vocabulary is not None:
            words = WordList.from_json(package.vocabulary, size=package.manifest.classes)
            mask = TokenMask.of_word_list(suppressor, words)
            entries = [entry.lstrip(CONTINUES) for entry in words.entries]
            return cls(entries, [START], words.encode, words.decode, mask, words)
        if subwords is None or package.tokenizer is None:
            return None
        from fedstill_proto.subwords.reader import SubwordReader  # needs the library of tokenizers

        reader = SubwordReader(package.tokenizer, places=subwords.places, pad=subwords.pad)
        entries = [reader.text([number]) for number in range(package.manifest.classes)]
        size, behind = package.manifest.classes, reader.numbers("a")[-1]
        mask = TokenMask.of_decoder(suppressor, reader.text, size=size, behind=behind)
        return cls(entries, [], reader.numbers, reader.text, mask)


def _word_leak(package: StudentPackage, constraints: Constraints, graph: bytes, x: FloatArray) -> str:
    suppressor, plain = suppressor_of(constraints), PlainReader(constraints)
    texts = _Texts.of(package, suppressor)
    if texts is None:
        return ""
    lexicon = None
    if package.lexicon is not None and texts.words is not None:
        lexicon = Lexicon.from_bytes(package.lexicon, texts.words)
    for number in np.flatnonzero(~texts.mask.suppressed(texts.begin)).tolist():
        if entry := plain.holds(texts.entries[number]):
            return f"{texts.entries[number]!r} may come anywhere ({entry})"
    contexts = [context for context in _contexts(constraints, texts, x) if context]
    if len(contexts) > MOST_CONTEXTS:
        contexts = random.Random(_SEED).sample(contexts, MOST_CONTEXTS)
    session = open_graph(graph)
    (places,) = package.manifest.input_shape
    for context in contexts:
        row = context[-places:]
        filled = np.zeros((1, places), package.manifest.input_type)
        filled[0, : len(row)] = row
        logits: FloatArray = session.run(["logits"], {"x": filled})[0][0, len(row) - 1]
        shown = [
            texts.decode([*context, number])
            for number in _likeliest(texts.mask.masked(logits, context))
            if texts.mask.allows(context, number)
        ]
        if lexicon is not None and texts.words is not None:
            shares = np.exp(logits - logits.max())
            shown += _dictionary_texts(lexicon, suppressor, texts.words, context, shares / shares.sum())
        if plain.holds(texts.decode(context)):
            continue  # what is given is not suggested
        for text in shown:
            if entry := plain.holds(text):
                return f"{text[-60:]!r} is suggested ({entry})"
    return ""


def _dictionary_texts(
    lexicon: Lexicon, suppressor: Suppressor, words: WordList, context: Sequence[int], student: FloatArray
) -> list[str]:
    """What the dictionary would add behind a context, likeliest first, without what is suppressed."""
    said = words.decode(context)
    chances = lexicon.mixed(student, context)
    found = []
    for number in _likeliest(chances):
        if number >= lexicon.listed:
            word = lexicon.dictionary[number - lexicon.listed]
            if not suppressor.at_end([*said.split(), word]):
                found.append(f"{said} {word}")
    return found


def _contexts(constraints: Constraints, texts: _Texts, x: FloatArray) -> Iterator[list[int]]:
    yield texts.begin
    for entry in constraints.all_words:
        *before, last = entry.split()
        given = [*texts.begin, *texts.encode(" ".join(before))] if before else texts.begin
        yield given
        pieces = texts.encode(last)
        for end in range(1, len(pieces)):
            yield [*given, *pieces[:end]]
    for row in x[:ROWS]:
        yield [*texts.begin, *(int(number) for number in row)]


def _likeliest(values: npt.NDArray[np.floating[Any]]) -> list[int]:
    """The places of the SHOWN largest finite values."""
    kept = np.argsort(-values, kind="stable")[:SHOWN]
    return [int(number) for number in kept if np.isfinite(values[number]) and values[number] != 0]
