"""The agent's values as messages, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields

from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.text.intents import ScoredIntent, Understanding
from fedstill_proto.text.slots import SlotValue
from fedstill_proto.v1 import agent_pb2 as pb

from fedstill_client.agent_types import (
    AgentStatus,
    Forgotten,
    LearningProgress,
    LearningResult,
    OwnWord,
    PersonalizeOptions,
    Scope,
    Score,
    Suggestion,
    UnclearUtterance,
    UnclearUtterances,
    WordsAction,
    WordsAnswer,
    check_scope,
    check_words_action,
)
from fedstill_client.service.wire import ELEMENT_NAMES, ELEMENT_NUMBERS

_SCOPES: dict[Scope, pb.AnswerScope] = {
    "owner": pb.ANSWER_SCOPE_OWNER,
    "everyone": pb.ANSWER_SCOPE_EVERYONE,
}
_WORDS_ACTIONS: dict[WordsAction, pb.WordsAction] = {
    "list": pb.WORDS_ACTION_LIST,
    "forget": pb.WORDS_ACTION_FORGET,
    "block": pb.WORDS_ACTION_BLOCK,
    "unblock": pb.WORDS_ACTION_UNBLOCK,
    "blocked": pb.WORDS_ACTION_BLOCKED,
    "import": pb.WORDS_ACTION_IMPORT,
    "export": pb.WORDS_ACTION_EXPORT,
}
WORDS_LIMIT = 50_000  # in one request
FORGET_LIMIT = 100_000  # ids in one request


def encode_scope(scope: str) -> pb.AnswerScope:
    """Raises UnknownName."""
    return _SCOPES[check_scope(scope)]


def decode_scope(number: int) -> Scope:
    """Raises WireError."""
    if number == pb.ANSWER_SCOPE_UNSPECIFIED:
        return "owner"
    for scope, known in _SCOPES.items():
        if number == known:
            return scope
    raise WireError("scope", f"{number} is neither the owner's nor everyone's")


def encode_options(options: PersonalizeOptions) -> pb.PersonalizeRequest:
    return pb.PersonalizeRequest(**{name: v for name, v in vars(options).items() if v is not None})


def decode_options(message: pb.PersonalizeRequest) -> PersonalizeOptions:
    """Raises WireError, naming the field."""
    names = [field.name for field in fields(PersonalizeOptions)]
    try:
        return PersonalizeOptions(**{n: getattr(message, n) for n in names if message.HasField(n)})
    except InvalidValue as error:
        raise WireError(error.field, error.problem) from None


def encode_progress(progress: LearningProgress) -> pb.PersonalizeUpdate:
    return pb.PersonalizeUpdate(
        progress=pb.LearningProgress(**{**vars(progress), "best": _encode_score(progress.best)})
    )


def encode_result(result: LearningResult) -> pb.PersonalizeUpdate:
    scores = {when: _encode_score(getattr(result, when)) for when in ("before", "after")}
    return pb.PersonalizeUpdate(result=pb.LearningResult(**{**vars(result), **scores}))


def decode_progress(message: pb.LearningProgress) -> LearningProgress:
    return LearningProgress(
        steps=message.steps,
        epoch=message.epoch,
        epochs=message.epochs,
        training_loss=message.training_loss,
        seconds=message.seconds,
        best=_decode_score(message.best) if message.HasField("best") else None,
    )


def decode_result(message: pb.LearningResult) -> LearningResult:
    return LearningResult(
        result=message.result,
        words=message.words,
        before=_decode_score(message.before) if message.HasField("before") else None,
        after=_decode_score(message.after) if message.HasField("after") else None,
        judged_on=message.judged_on,
        steps=message.steps,
        epochs=message.epochs,
        seconds=message.seconds,
        joules=message.joules if message.HasField("joules") else None,
        soft_labels=message.soft_labels,
        soft_examples=message.soft_examples,
        resumed=message.resumed,
    )


def encode_status(status: AgentStatus) -> pb.StatusResponse:
    return pb.StatusResponse(**{**vars(status), "input_type": ELEMENT_NUMBERS[status.input_type]})


def decode_status(message: pb.StatusResponse) -> AgentStatus:
    values = {field.name: getattr(message, field.name) for field in fields(AgentStatus)}
    values["input_type"] = ELEMENT_NAMES.get(message.input_type, "float32")
    for name in ("input_shape", "label_shape", "class_names"):
        values[name] = tuple(values[name])
    return AgentStatus(**values)


def encode_forgotten(forgotten: Forgotten) -> pb.ForgetResponse:
    return pb.ForgetResponse(**vars(forgotten))


def decode_forgotten(message: pb.ForgetResponse) -> Forgotten:
    return Forgotten(message.examples, message.students, message.learning)


def encode_understanding(understood: Understanding) -> pb.PredictResponse:
    scored = [pb.ScoredIntent(**vars(intent)) for intent in understood.intents]
    slots = [
        pb.Slot(
            name=slot.name,
            text=slot.text,
            begin=slot.begin,
            end=slot.end,
            value=json.dumps(slot.value, ensure_ascii=False),
            unit=slot.unit,
        )
        for slot in understood.slots
    ]
    return pb.PredictResponse(intents=scored, sure=understood.sure, slots=slots)


def decode_understanding(message: pb.PredictResponse) -> Understanding:
    """Raises WireError where there is none."""
    if not message.intents:
        raise WireError("intents", "the agent named none")
    scored = tuple(ScoredIntent(intent.name, intent.confidence) for intent in message.intents)
    return Understanding(scored, message.sure, tuple(_decode_slot(slot) for slot in message.slots))


def _decode_slot(slot: pb.Slot) -> SlotValue:
    try:
        value = json.loads(slot.value)
    except (ValueError, RecursionError) as error:
        raise WireError("slots: value", f"{slot.value!r:.60} is no JSON: {str(error)[:60]}") from None
    return SlotValue(slot.name, slot.text, slot.begin, slot.end, value, slot.unit)


def encode_unclear(unclear: UnclearUtterances) -> pb.UnclearResponse:
    utterances = [
        pb.UnclearUtterance(
            id=one.id,
            text=one.text,
            heard_at=one.heard_at,
            intents=[pb.ScoredIntent(**vars(intent)) for intent in one.intents],
        )
        for one in unclear.utterances
    ]
    return pb.UnclearResponse(utterances=utterances, in_all=unclear.in_all, intents=unclear.names)


def decode_unclear(message: pb.UnclearResponse) -> UnclearUtterances:
    utterances = (
        UnclearUtterance(
            one.id,
            one.text,
            one.heard_at,
            tuple(ScoredIntent(each.name, each.confidence) for each in one.intents),
        )
        for one in message.utterances
    )
    return UnclearUtterances(tuple(utterances), message.in_all, tuple(message.intents))


def encode_suggestions(suggestions: list[Suggestion]) -> pb.SuggestResponse:
    return pb.SuggestResponse(suggestions=[pb.Suggestion(**vars(suggestion)) for suggestion in suggestions])


def decode_suggestions(message: pb.SuggestResponse) -> list[Suggestion]:
    return [
        Suggestion(suggestion.word, suggestion.chance, suggestion.kind, suggestion.own)
        for suggestion in message.suggestions
    ]


def encode_words(action: str, words: Sequence[OwnWord | str]) -> pb.WordsRequest:
    """Raises UnknownName."""
    chosen = _WORDS_ACTIONS[check_words_action(action)]
    given = (word if isinstance(word, OwnWord) else OwnWord(word) for word in words)
    return pb.WordsRequest(action=chosen, words=map(_encode_own_word, given))


def decode_words_request(message: pb.WordsRequest) -> tuple[WordsAction, list[OwnWord]]:
    """Raises WireError."""
    if len(message.words) > WORDS_LIMIT:
        raise WireError("words", f"{len(message.words)}; send {WORDS_LIMIT} at most at a time")
    for action, number in _WORDS_ACTIONS.items():
        if message.action == number:
            return action, [_decode_own_word(word) for word in message.words]
    raise WireError("action", f"{message.action} is none of {', '.join(_WORDS_ACTIONS)}")


def encode_words_answer(answer: WordsAnswer) -> pb.WordsResponse:
    return pb.WordsResponse(**{**vars(answer), "words": map(_encode_own_word, answer.words)})


def decode_words(message: pb.WordsResponse) -> WordsAnswer:
    values = {field.name: getattr(message, field.name) for field in fields(WordsAnswer)}
    return WordsAnswer(**{**values, "words": tuple(map(_decode_own_word, message.words))})


def _encode_own_word(word: OwnWord) -> pb.OwnWord:
    return pb.OwnWord(
        word=word.word.encode("utf-8", "ignore").decode(),
        count=max(word.count, 0),
        last_seconds=word.last,
        imported=word.imported,
    )


def _decode_own_word(message: pb.OwnWord) -> OwnWord:
    return OwnWord(message.word, message.count, message.last_seconds, message.imported)


def _encode_score(score: Score | None) -> pb.Score | None:
    return None if score is None else pb.Score(**vars(score))


def _decode_score(message: pb.Score) -> Score:
    return Score(message.loss, message.correct, message.answers)
