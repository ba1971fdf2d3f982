"""A request for a student of sub-words: its texts, its tokenizer, and what follows from them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fedstill_proto.package.subwords import EMBEDDING, NEXT_TOKEN

from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.subword_plan import TRAINED_HERE, asks_for_subwords
from fedstill_server.distill.text_tables import TextFiles, is_text_table, read_text_files
from fedstill_server.families.places import split_name
from fedstill_server.families.train_rule import SEPARATOR
from fedstill_server.hugging_face.reference import HubReference, is_hub_place

if TYPE_CHECKING:
    from fedstill_server.distill.request import DistillRequest
    from fedstill_server.distill.subword_task import SubwordTask

_USUAL = ("kd",)


def is_subword_request(request: DistillRequest) -> bool:
    """Whether a request is for a student of sub-words of texts."""
    return asks_for_subwords(family=request.family, teachers=request.teacher) and (
        is_text_table(request.task) or request.task.endswith(".txt")
    )


def open_subwords(
    request: DistillRequest, files: TextFiles | None = None
) -> tuple[DistillRequest, SubwordTask]:
    """The task of texts, and the request with the student's place as it follows from them.

    Args:
        request: What is asked for.
        files: The texts, where the request's task names no file.

    Raises:
        DistillError: The texts or the student do not fit.
        HubModelError: The student's model cannot be opened.
    """
    from fedstill_server.distill.subword_task import make_subword_task
    from fedstill_server.hugging_face.configuration import places_at_most, read_configuration, usual_answer

    files = files or read_text_files(request.task)
    name, reference, rule = _student(request)
    folder = reference.folder(where="student")
    config = read_configuration(reference, folder)
    if NEXT_TOKEN in (reference.answer, "" if reference.answer else usual_answer(config)):
        raise DistillError(
            f"student: {reference.text}: a causal model that learns classes or vectors says so, with "
            "answer=classes or answer=embedding"
        )
    tokenizer = _tokenizer(request, reference)
    if tokenizer.size > config.vocab_size:
        raise DistillError(
            f"student: {reference.text}: knows {config.vocab_size} sub-words, and the tokenizer has "
            f"{tokenizer.size}; say vocab_size={tokenizer.size}, or give it a tokenizer.json of its own"
        )
    if config.pad_token_id != tokenizer.pad:
        fields = {**dict(reference.fields), "pad_token_id": str(tokenizer.pad)}
        reference = replace(reference, fields=tuple(sorted(fields.items())))
    task = make_subword_task(
        files,
        tokenizer,
        size=config.vocab_size,
        width=config.hidden_size,
        most_places=places_at_most(config),
        places=request.places,
    )
    if task.answer == EMBEDDING:
        reference = replace(reference, answer=EMBEDDING)
        if request.technique == _USUAL:
            request = replace(request, technique=("embedding",))
    family = f"{name or reference.name}={reference.text}{rule}"
    return replace(request, family=family), task


def _student(request: DistillRequest) -> tuple[str, HubReference, str]:
    """The student's name, or "", its place, and what of it trains, with a + before."""
    words = request.family or _half(request)
    name, place = split_name(words) or ("", words)
    place, plus, rule = place.partition(SEPARATOR)
    return name, HubReference.of(place, where="student"), plus + rule


def _half(request: DistillRequest) -> str:
    """The student where none is named: the teacher with every other layer."""
    from fedstill_server.hugging_face.configuration import read_configuration

    place = next(one for one in request.teacher if is_hub_place(one.removeprefix(TRAINED_HERE)))
    reference = HubReference.of(place.removeprefix(TRAINED_HERE), where="teacher")
    layers = int(read_configuration(reference, reference.folder(where="teacher")).num_hidden_layers)
    fields = {**dict(reference.fields), "num_hidden_layers": str(max(1, layers // 2))}
    return replace(reference, fields=tuple(sorted(fields.items()))).text


def _tokenizer(request: DistillRequest, student: HubReference) -> Any:
    """The student's own tokenizer, or else that of a teacher."""
    from fedstill_server.hugging_face.configuration import read_configuration
    from fedstill_server.hugging_face.tokenizer import SubwordTokenizer

    teachers = [one.removeprefix(TRAINED_HERE) for one in request.teacher]
    references = [HubReference.of(one, where="teacher") for one in teachers if is_hub_place(one)]
    for reference in (student, *references):
        folder = reference.folder()
        pad = read_configuration(reference, folder).pad_token_id
        found = SubwordTokenizer.of_folder(folder, pad=pad if isinstance(pad, int) and pad >= 0 else None)
        if found is not None:
            return found
    raise DistillError(
        f"student: {student.text} has no tokenizer.json, nor has a teacher; put one beside its config.json"
    )
