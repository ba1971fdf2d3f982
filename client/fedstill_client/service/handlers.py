"""What the agent's service does with each call: check, ask the agent, answer or name the problem."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn, Protocol

import grpc
import numpy as np
import numpy.typing as npt
from fedstill_proto.errors import FedstillError, FieldError, UnknownName, WireError
from fedstill_proto.text.intents import Understanding
from fedstill_proto.v1 import agent_pb2 as pb

from fedstill_client.agent_types import (
    AgentBusy,
    AgentStatus,
    Forgotten,
    KeptText,
    LearningResult,
    OnProgress,
    OwnWord,
    PersonalizeOptions,
    Scope,
    Stop,
    Suggestion,
    UnclearUtterances,
    WordsAction,
    WordsAnswer,
)
from fedstill_client.memory_types import KeptMemory, MemoryAnswer, MemoryFacts
from fedstill_client.service import memory_messages, messages
from fedstill_client.service.wire import decode_array, encode_array

_LOG = logging.getLogger(__name__)
DEFAULT_SUGGESTIONS = 3
DEFAULT_UNCLEAR = 20
_STOPPED = "the service is stopping"
_CALL_ENDED = "the call that asked for it has ended"


Watch = Callable[[], AbstractContextManager[None]]
"""Each answer is given within what it returns: it may time them."""


class ServedMemory(Protocol):
    """What the service needs of an agent's memory; `fedstill_client.agent.memory.AgentMemory` is one."""

    def add(self, texts: Sequence[str], *, label: str, source: str) -> tuple[int, ...]: ...

    def ask(self, question: str, k: int) -> MemoryAnswer: ...

    def list(self, *, source: str | None) -> tuple[KeptMemory, ...]: ...

    def forget(self, *, ids: Sequence[int] | None, source: str | None, everything: bool) -> int: ...

    def facts(self) -> MemoryFacts: ...


class ServedAgent(Protocol):
    """What the service needs of an agent; `fedstill_client.agent.agent.Agent` is one."""

    def predict(self, x: npt.NDArray[Any], *, scope: Scope) -> npt.NDArray[Any]: ...

    def doubt(self, x: npt.NDArray[Any]) -> str: ...

    def observe(self, x: npt.NDArray[Any], labels: npt.NDArray[Any]) -> tuple[int, ...]: ...

    def predict_text(self, text: str, k: int, *, scope: Scope, keep_unsure: bool) -> Understanding: ...

    def embed(self, texts: Sequence[str]) -> npt.NDArray[Any]: ...

    @property
    def memory(self) -> ServedMemory: ...

    def unclear(self, limit: int) -> UnclearUtterances: ...

    def review(self, number: int, *, intent: str | None) -> tuple[int, ...]: ...

    def observe_intents(self, utterances: Sequence[tuple[str, str]]) -> tuple[int, ...]: ...

    def suggest(
        self, context: str, prefix: str, k: int, *, layout: str, private: bool
    ) -> list[Suggestion]: ...

    def observe_text(self, text: str, *, learn: bool) -> KeptText: ...

    def words(self, action: WordsAction, words: Sequence[OwnWord]) -> WordsAnswer: ...

    def personalize(
        self, options: PersonalizeOptions, *, on_progress: OnProgress, stop: Stop
    ) -> LearningResult: ...

    def status(self) -> AgentStatus: ...

    def forget(self, *, ids: tuple[int, ...] | None, before: float | None, everything: bool) -> Forgotten: ...


class AgentHandlers:
    """The calls of fedstill.v1.Agent."""

    def __init__(self, agent: ServedAgent, stopping: threading.Event, *, watch: Watch = nullcontext) -> None:
        self._agent, self._watch = agent, watch
        self._stopping = stopping

    def Predict(self, request: pb.PredictRequest, context: grpc.ServicerContext) -> pb.PredictResponse:
        try:
            scope = messages.decode_scope(request.scope)
            if request.HasField("text"):
                k = request.k or DEFAULT_SUGGESTIONS
                with self._watch():
                    understanding = self._agent.predict_text(
                        request.text, k, scope=scope, keep_unsure=request.keep_unsure
                    )
                return messages.encode_understanding(understanding)
            x = decode_array(request.x, "x")
            with self._watch():
                answers, notice = self._agent.predict(x, scope=scope), self._agent.doubt(x)
            return pb.PredictResponse(probabilities=encode_array(answers, "probabilities"), notice=notice)
        except Exception as error:
            refuse(context, error)

    def Observe(self, request: pb.ObserveRequest, context: grpc.ServicerContext) -> pb.ObserveResponse:
        try:
            if request.utterances:
                utterances = [(utterance.text, utterance.intent) for utterance in request.utterances]
                return pb.ObserveResponse(example_ids=self._agent.observe_intents(utterances))
            x, named = decode_array(request.x, "x"), list(request.label_names)
            labels = np.array(named, np.str_) if named else decode_array(request.labels, "labels")
            ids = self._agent.observe(x, labels)
            return pb.ObserveResponse(example_ids=ids, notice=self._agent.doubt(x))
        except Exception as error:
            refuse(context, error)

    def Unclear(self, request: pb.UnclearRequest, context: grpc.ServicerContext) -> pb.UnclearResponse:
        try:
            return messages.encode_unclear(self._agent.unclear(request.limit or DEFAULT_UNCLEAR))
        except Exception as error:
            refuse(context, error)

    def Review(self, request: pb.ReviewRequest, context: grpc.ServicerContext) -> pb.ReviewResponse:
        try:
            verdict = request.WhichOneof("verdict")
            if verdict is None or (verdict == "drop" and not request.drop):
                raise WireError("verdict", "is neither an intent nor to drop it")
            intent = request.intent if verdict == "intent" else None
            ids = self._agent.review(request.id, intent=intent)
            return pb.ReviewResponse(example_ids=ids, left=self._agent.unclear(1).in_all)
        except Exception as error:
            refuse(context, error)

    def Suggest(self, request: pb.SuggestRequest, context: grpc.ServicerContext) -> pb.SuggestResponse:
        try:
            k = request.k or DEFAULT_SUGGESTIONS
            with self._watch():
                suggestions = self._agent.suggest(
                    request.context, request.prefix, k, layout=request.layout, private=request.private
                )
            return messages.encode_suggestions(suggestions)
        except Exception as error:
            refuse(context, error)

    def ObserveText(
        self, request: pb.ObserveTextRequest, context: grpc.ServicerContext
    ) -> pb.ObserveTextResponse:
        try:
            kept = self._agent.observe_text(request.text, learn=not request.private)
            return pb.ObserveTextResponse(text_id=kept, left_out=kept.left_out)
        except Exception as error:
            refuse(context, error)

    def Words(self, request: pb.WordsRequest, context: grpc.ServicerContext) -> pb.WordsResponse:
        try:
            return messages.encode_words_answer(self._agent.words(*messages.decode_words_request(request)))
        except Exception as error:
            refuse(context, error)

    def Embed(self, request: pb.EmbedRequest, context: grpc.ServicerContext) -> pb.EmbedResponse:
        try:
            with self._watch():
                vectors = self._agent.embed(list(request.texts))
            return pb.EmbedResponse(vectors=encode_array(vectors, "vectors"))
        except Exception as error:
            refuse(context, error)

    def Memory(self, request: pb.MemoryRequest, context: grpc.ServicerContext) -> pb.MemoryResponse:
        try:
            return self._remember(request)
        except Exception as error:
            refuse(context, error)

    def _remember(self, request: pb.MemoryRequest) -> pb.MemoryResponse:
        memory, texts = self._agent.memory, list(request.texts)
        source = request.source if request.HasField("source") else None
        if request.action == pb.MEMORY_ACTION_FACTS:
            return memory_messages.encode_facts(memory.facts())
        if request.action == pb.MEMORY_ACTION_ADD:
            ids = memory.add(texts, label=request.label, source=source or "")
            return pb.MemoryResponse(memories=[pb.KeptMemory(id=number) for number in ids])
        if request.action == pb.MEMORY_ACTION_ASK:
            if len(texts) != 1:
                raise WireError("texts", f"{len(texts)}; send one question")
            with self._watch():
                answer = memory.ask(texts[0], request.k or memory_messages.USUAL_FOUND)
            return memory_messages.encode_answer(answer)
        if request.action == pb.MEMORY_ACTION_LIST:
            return memory_messages.encode_page(memory.list(source=source), before_id=request.before_id)
        if request.action == pb.MEMORY_ACTION_FORGET:
            ids_given = memory_messages.decode_ids(request)
            forgotten = memory.forget(ids=ids_given, source=source, everything=request.everything)
            return pb.MemoryResponse(forgotten=forgotten)
        raise WireError("action", f"{request.action} is none of facts, add, ask, list, forget")

    def Personalize(
        self, request: pb.PersonalizeRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.PersonalizeUpdate]:
        try:
            options = messages.decode_options(request)
        except Exception as error:
            refuse(context, error)
        learning = _Learning(self._agent, options, self._stopping)
        if not context.add_callback(learning.abandon):
            return  # the call has ended before it began
        learning.start()
        while True:
            update = learning.updates.get()
            if isinstance(update, Exception):
                refuse(context, update)
            yield update
            if update.HasField("result"):
                return

    def Status(self, request: pb.StatusRequest, context: grpc.ServicerContext) -> pb.StatusResponse:
        try:
            return messages.encode_status(self._agent.status())
        except Exception as error:
            refuse(context, error)

    def Forget(self, request: pb.ForgetRequest, context: grpc.ServicerContext) -> pb.ForgetResponse:
        try:
            if len(request.example_ids) > messages.FORGET_LIMIT:
                problem = f"{len(request.example_ids)} ids; send {messages.FORGET_LIMIT} at most at a time"
                raise WireError("example_ids", problem)
            forgotten = self._agent.forget(
                ids=tuple(request.example_ids) or None,
                before=request.before_seconds if request.HasField("before_seconds") else None,
                everything=request.everything,
            )
            return messages.encode_forgotten(forgotten)
        except Exception as error:
            refuse(context, error)


class _Learning:
    """A learning in a thread of its own, so that a caller who goes away can stop it."""

    def __init__(self, agent: ServedAgent, options: PersonalizeOptions, stopping: threading.Event) -> None:
        self.updates: queue.SimpleQueue[pb.PersonalizeUpdate | Exception] = queue.SimpleQueue()
        self._agent, self._options, self._stopping = agent, options, stopping
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._learn, name="personalize", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def abandon(self) -> None:
        self._abandoned.set()

    def _stop(self) -> str | None:
        if self._stopping.is_set():
            return _STOPPED
        return _CALL_ENDED if self._abandoned.is_set() else None

    def _learn(self) -> None:
        try:
            result = self._agent.personalize(
                self._options,
                on_progress=lambda progress: self.updates.put(messages.encode_progress(progress)),
                stop=self._stop,
            )
            self.updates.put(messages.encode_result(result))
        except Exception as error:  # the caller gets it
            self.updates.put(error)


def refuse(context: grpc.ServicerContext, error: Exception) -> NoReturn:
    """End the call with the error's own words, and the status code of its kind."""
    if not isinstance(error, FedstillError):
        _LOG.exception("a call failed", exc_info=error)
    context.abort(status_code(error), _words(error))
    raise AssertionError("abort has raised")


def status_code(error: Exception) -> grpc.StatusCode:
    """INVALID_ARGUMENT: send something else; FAILED_PRECONDITION: do something first; and so on."""
    if isinstance(error, FieldError | UnknownName):
        return grpc.StatusCode.INVALID_ARGUMENT
    if isinstance(error, AgentBusy):
        return grpc.StatusCode.RESOURCE_EXHAUSTED
    if isinstance(error, FedstillError):
        return grpc.StatusCode.FAILED_PRECONDITION
    return grpc.StatusCode.INTERNAL


def _words(error: Exception) -> str:
    if isinstance(error, FedstillError):
        return str(error)
    return f"the agent failed ({type(error).__name__}); its log says more."
