"""The agent's values as messages, and back."""

from __future__ import annotations

from dataclasses import fields

from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.text.intents import ScoredIntent, Understanding
from fedstill_proto.v1 import agent_pb2 as pb

from fedstill_client.agent_types import (
    AgentStatus,
    Forgotten,
    Judgement,
    LearningProgress,
    LearningResult,
    LearningWishes,
    Suggestion,
)
from fedstill_client.service.wire import ELEMENT_NAMES, ELEMENT_NUMBERS

FORGET_LIMIT = 100_000  # ids in one request


def wishes_message(wishes: LearningWishes) -> pb.PersonalizeRequest:
    return pb.PersonalizeRequest(**{name: v for name, v in vars(wishes).items() if v is not None})


def wishes_of(message: pb.PersonalizeRequest) -> LearningWishes:
    """Raises WireError, naming the field."""
    names = [field.name for field in fields(LearningWishes)]
    try:
        return LearningWishes(**{n: getattr(message, n) for n in names if message.HasField(n)})
    except InvalidValue as error:
        raise WireError(error.field, error.problem) from None


def progress_update(progress: LearningProgress) -> pb.PersonalizeUpdate:
    return pb.PersonalizeUpdate(
        progress=pb.LearningProgress(**{**vars(progress), "best": _judgement_message(progress.best)})
    )


def result_update(result: LearningResult) -> pb.PersonalizeUpdate:
    judgements = {when: _judgement_message(getattr(result, when)) for when in ("before", "after")}
    return pb.PersonalizeUpdate(result=pb.LearningResult(**{**vars(result), **judgements}))


def progress_of(message: pb.LearningProgress) -> LearningProgress:
    return LearningProgress(
        steps=message.steps,
        epoch=message.epoch,
        epochs=message.epochs,
        training_loss=message.training_loss,
        seconds=message.seconds,
        best=_judgement_of(message.best) if message.HasField("best") else None,
    )


def result_of(message: pb.LearningResult) -> LearningResult:
    return LearningResult(
        result=message.result,
        words=message.words,
        before=_judgement_of(message.before) if message.HasField("before") else None,
        after=_judgement_of(message.after) if message.HasField("after") else None,
        judged_on=message.judged_on,
        steps=message.steps,
        epochs=message.epochs,
        seconds=message.seconds,
        joules=message.joules if message.HasField("joules") else None,
        soft_labels=message.soft_labels,
        soft_examples=message.soft_examples,
        resumed=message.resumed,
    )


def status_message(status: AgentStatus) -> pb.StatusResponse:
    return pb.StatusResponse(**{**vars(status), "input_type": ELEMENT_NUMBERS[status.input_type]})


def status_of(message: pb.StatusResponse) -> AgentStatus:
    values = {field.name: getattr(message, field.name) for field in fields(AgentStatus)}
    values["input_type"] = ELEMENT_NAMES.get(message.input_type, "float32")
    for name in ("input_shape", "label_shape"):
        values[name] = tuple(values[name])
    return AgentStatus(**values)


def forgotten_message(forgotten: Forgotten) -> pb.ForgetResponse:
    return pb.ForgetResponse(**vars(forgotten))


def forgotten_of(message: pb.ForgetResponse) -> Forgotten:
    return Forgotten(message.examples, message.students, message.learning)


def understanding_message(understood: Understanding) -> pb.PredictResponse:
    scored = [pb.ScoredIntent(name=each.name, confidence=each.confidence) for each in understood.intents]
    return pb.PredictResponse(intents=scored, sure=understood.sure)


def understanding_of(message: pb.PredictResponse) -> Understanding:
    """Raises WireError where there is none."""
    if not message.intents:
        raise WireError("intents", "the agent named none")
    scored = tuple(ScoredIntent(each.name, each.confidence) for each in message.intents)
    return Understanding(scored, message.sure)


def suggestions_message(suggestions: list[Suggestion]) -> pb.SuggestResponse:
    return pb.SuggestResponse(suggestions=[pb.Suggestion(**vars(each)) for each in suggestions])


def suggestions_of(message: pb.SuggestResponse) -> list[Suggestion]:
    return [Suggestion(each.word, each.chance, each.kind, each.own) for each in message.suggestions]


def _judgement_message(judgement: Judgement | None) -> pb.Judgement | None:
    return None if judgement is None else pb.Judgement(**vars(judgement))


def _judgement_of(message: pb.Judgement) -> Judgement:
    return Judgement(message.loss, message.correct, message.answers)
