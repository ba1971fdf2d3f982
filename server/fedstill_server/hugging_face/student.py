"""A model of Hugging Face as a student family, whose examples are rows of sub-words."""

from __future__ import annotations

import functools
from pathlib import Path

from fedstill_proto.package.subwords import CLASSES, EMBEDDING, NEXT_TOKEN
from torch import nn

from fedstill_server.data.forms import NextSubwordsForm, SubwordsForm
from fedstill_server.families.family import NEXT_SUBWORDS, SUBWORDS, Family, Shape
from fedstill_server.hugging_face.configuration import places_at_most, read_configuration, usual_answer
from fedstill_server.hugging_face.errors import HubModelError
from fedstill_server.hugging_face.network import NextTokenNetwork
from fedstill_server.hugging_face.opening import open_model
from fedstill_server.hugging_face.reference import HubReference


def hub_family(place: str, *, where: str = "student family") -> Family:
    """The family of the students that begin as a model; raises HubModelError."""
    reference = HubReference.of(place, where=where)
    folder = reference.folder(where=where)
    return _family(reference, _state(folder), where)


def _state(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Of a folder's files, what tells whether they changed."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files)


@functools.lru_cache(maxsize=32)
def _family(reference: HubReference, state: object, where: str) -> Family:
    config = read_configuration(reference, reference.folder(where=where))
    answer = reference.answer or _of_students(usual_answer(config))
    most, size, name = places_at_most(config), int(config.vocab_size), reference.text

    def build(input_shape: Shape, classes: int) -> nn.Module:
        if len(input_shape) != 1 or (most is not None and input_shape[0] > most):
            raise HubModelError(
                f"{name}: examples are rows of sub-words, at most {most or 'any number of'} of them, and not "
                f"{list(input_shape)}"
            )
        if answer == EMBEDDING and classes != config.hidden_size:
            raise HubModelError(f"{name}: its vectors have {config.hidden_size} numbers, and not {classes}")
        if answer == NEXT_TOKEN and classes != size:
            raise HubModelError(f"{name}: it knows {size} sub-words, and not {classes}")
        network = _network(reference, state, answer, classes)
        if isinstance(network, NextTokenNetwork):
            network.stream_places = input_shape[0]
        return network

    if answer == NEXT_TOKEN:
        return Family(build, NEXT_SUBWORDS, NextSubwordsForm())
    return Family(build, SUBWORDS, SubwordsForm(size))


def _of_students(answer: str) -> str:
    """A student of a model without a head has one of classes, unless an embedding is asked for by name."""
    return CLASSES if answer == EMBEDDING else answer


def _network(reference: HubReference, state: object, answer: str, classes: int) -> nn.Module:
    return open_model(reference, answer=answer, classes=classes).network
