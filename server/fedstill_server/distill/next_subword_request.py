"""A request for a student that says the next sub-word: whose tokenizer it reads by, and what follows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fedstill_proto.package.subwords import NEXT_TOKEN

from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.text_task import TextDistillTask
from fedstill_server.families.places import split_name
from fedstill_server.families.train_rule import SEPARATOR
from fedstill_server.hugging_face.reference import HubReference, is_hub_place

if TYPE_CHECKING:
    from fedstill_server.distill.next_subwords import NextSubwordDistillTask
    from fedstill_server.distill.request import DistillRequest
    from fedstill_server.hugging_face.tokenizer import SubwordTokenizer

_USUAL_PLACES = 32


def asks_for_next_subwords(request: DistillRequest) -> bool:
    """Whether a request is for a student of next sub-words: it names a tokenizer, or a causal model."""
    if not TextDistillTask.is_at(request.task):
        return False
    student = _student(request)
    named = [] if student is None else [student[1]]
    return bool(request.tokenizer) or any(map(_is_causal, named or _teachers(request)))


def open_next_subwords(request: DistillRequest) -> tuple[DistillRequest, NextSubwordDistillTask]:
    """The task of a text, and the request with the student as it follows from the tokenizer.

    Raises:
        DistillError: The text, the tokenizer or the student do not fit.
        HubModelError: A model cannot be opened.
    """
    from fedstill_server.distill.next_subwords import next_subwords
    from fedstill_server.hugging_face.configuration import places_at_most, read_configuration

    student, teachers = _student(request), _teachers(request)
    if student is None and not request.family and teachers:
        student = ("", _half(teachers[0]), "")
    tokenizer = _tokenizer(request, [*([] if student is None else [student[1]]), *teachers])
    configurations = [read_configuration(one, one.folder(where="teacher")) for one in teachers]
    places = request.places or _USUAL_PLACES
    family = request.family or TextDistillTask.default_family
    if student is None:
        size = max([tokenizer.size, *(int(one.vocab_size) for one in configurations)])
    else:
        name, reference, rule = student
        config = read_configuration(reference, reference.folder(where="student"))
        size = max([int(config.vocab_size), *(int(one.vocab_size) for one in configurations)])
        if config.vocab_size < tokenizer.size or config.vocab_size != size:
            raise DistillError(
                f"student: {reference.text}: knows {config.vocab_size} sub-words, and the tokenizer or the "
                f"teacher has {max(size, tokenizer.size)}; say vocab_size={max(size, tokenizer.size)}"
            )
        most = places_at_most(config)
        if most is not None and places > most:
            raise DistillError(f"places: {places}, and the student reads {most} sub-words at most")
        family = f"{name or reference.name}={replace(reference, answer=NEXT_TOKEN).text}{rule}"
    task = next_subwords(request.task, tokenizer, size=size, places=places, tables=student is None)
    return replace(request, family=family), task


def _student(request: DistillRequest) -> tuple[str, HubReference, str] | None:
    """The name of a student that is a model of Hugging Face, or "", its place, and what of it trains."""
    named = split_name(request.family) if request.family else None
    if named is None:
        return None
    place, plus, rule = named[1].partition(SEPARATOR)
    return named[0], HubReference.of(place, where="student"), plus + rule


def _teachers(request: DistillRequest) -> list[HubReference]:
    return [HubReference.of(one, where="teacher") for one in request.teacher if is_hub_place(one)]


def _is_causal(reference: HubReference) -> bool:
    from fedstill_server.hugging_face.configuration import read_configuration, usual_answer

    if reference.answer:
        return reference.answer == NEXT_TOKEN
    return usual_answer(read_configuration(reference, reference.folder())) == NEXT_TOKEN


def _half(teacher: HubReference) -> HubReference:
    """The student where none is named: the teacher with every other layer."""
    from fedstill_server.hugging_face.configuration import read_configuration

    layers = int(read_configuration(teacher, teacher.folder(where="teacher")).num_hidden_layers)
    fields = {**dict(teacher.fields), "num_hidden_layers": str(max(1, layers // 2))}
    return replace(teacher, fields=tuple(sorted(fields.items())))


def _tokenizer(request: DistillRequest, references: list[HubReference]) -> SubwordTokenizer:
    from fedstill_server.distill.next_subwords import tokenizer_at
    from fedstill_server.hugging_face.configuration import read_configuration
    from fedstill_server.hugging_face.tokenizer import SubwordTokenizer

    if request.tokenizer:
        return tokenizer_at(request.tokenizer, request.task)
    for reference in references:
        folder = reference.folder()
        pad = read_configuration(reference, folder).pad_token_id
        found = SubwordTokenizer.of_folder(folder, pad=pad if isinstance(pad, int) and pad >= 0 else None)
        if found is not None:
            return found
    raise DistillError(
        "tokenizer: neither the student nor a teacher has a tokenizer.json; name one with --tokenizer, or "
        "--tokenizer train:2000 to make one of the text"
    )
