"""The agent as an app uses it:

    from fedstill_client import AgentClient

    with AgentClient() as agent:
        print(agent.predict(x).argmax(axis=1))
        agent.observe(x, labels)

Light to import: no ONNX Runtime, no flwr.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import grpc
import numpy as np
import numpy.typing as npt
from fedstill_proto.text.intents import Understanding
from fedstill_proto.v1 import agent_pb2 as pb
from fedstill_proto.v1 import agent_pb2_grpc

from fedstill_client.agent_types import (
    AgentBusy,
    AgentError,
    AgentRefused,
    AgentStatus,
    AgentUnavailable,
    Forgotten,
    KeptText,
    LearningProgress,
    LearningResult,
    OnProgress,
    OwnWord,
    PersonalizeOptions,
    Scope,
    Suggestion,
    UnclearUtterances,
    WordsAction,
    WordsAnswer,
)
from fedstill_client.home import AgentHome
from fedstill_client.service import messages
from fedstill_client.service.endpoint import check_socket
from fedstill_client.service.memory_client import MemoryClient
from fedstill_client.service.wire import MESSAGE_LIMIT_BYTES, decode_array, encode_array

_LOG = logging.getLogger("fedstill.agent")
_LIMIT = MESSAGE_LIMIT_BYTES + (1 << 16)
_Answer = TypeVar("_Answer")
_ERRORS: dict[grpc.StatusCode, type[AgentError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: AgentRefused,
    grpc.StatusCode.RESOURCE_EXHAUSTED: AgentBusy,
    grpc.StatusCode.UNAVAILABLE: AgentUnavailable,
}


class AgentClient:
    """The agent that serves a home, as an app of the same user calls it; safe to share among threads.

    Every call raises AgentRefused for what this agent does not take, AgentUnavailable where no agent answers,
    and another AgentError for what it cannot do.

    Args:
        home: The agent's home or its socket; by default what FEDSTILL_HOME names, or /var/lib/fedstill.
        timeout_seconds: How long a call may take; learning takes as long as it takes.

    Raises:
        AgentUnavailable: There is no socket, or it is another user's.
    """

    def __init__(self, home: Path | str | None = None, *, timeout_seconds: float = 30.0) -> None:
        place = AgentHome.given(None if home is None else Path(home)).folder
        self._socket = AgentHome(place).socket if place.is_dir() or not place.exists() else place
        self._timeout = timeout_seconds
        options = [("grpc.max_receive_message_length", _LIMIT), ("grpc.max_send_message_length", _LIMIT)]
        self._channel = grpc.insecure_channel(check_socket(self._socket), options=options)
        self._told = False
        self._stub = agent_pb2_grpc.AgentStub(self._channel)

    def __enter__(self) -> AgentClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the agent goes on."""
        self._channel.close()

    def predict(self, x: npt.ArrayLike, *, scope: Scope = "owner") -> npt.NDArray[np.float32]:
        """Predict the classes of examples.

        Args:
            x: Examples as they are given [n, *given_shape]; for a student of text, rows of words [n, 1 to S].
            scope: "owner" for the owner's own questions, "everyone" for the fleet's student alone.

        Returns:
            Class probabilities [n, classes]; for a student of text, those of the next word.
        """
        request = pb.PredictRequest(x=encode_array(x, "x"), scope=messages.encode_scope(scope))
        answer = self._call(self._stub.Predict, request)
        self._tell(answer.notice)
        return decode_array(answer.probabilities, "probabilities")

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The vectors [n, width] of texts, of length 1, by the installed package's student of sub-words."""
        request = pb.EmbedRequest(texts=[_sendable(text) for text in texts])
        return decode_array(self._call(self._stub.Embed, request).vectors, "vectors")

    @property
    def memory(self) -> MemoryClient:
        """Texts that the owner keeps on the device and finds again by what they mean."""
        return MemoryClient(lambda request: self._call(self._stub.Memory, request))

    def observe(self, x: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[int, ...]:
        """Keep private examples with their labels.

        They never leave the device. When it returns, they have survived a loss of power.

        Args:
            x: Examples as they are given [n, *given_shape].
            labels: Class numbers [n, *label_shape], or names of classes [n].

        Returns:
            The examples' ids, which `forget` takes.
        """
        marks = np.asarray(labels)
        if marks.dtype.kind in "UO":
            names = [_sendable(str(name)) for name in marks.ravel()]
            request = pb.ObserveRequest(x=encode_array(x, "x"), label_names=names)
        else:
            request = pb.ObserveRequest(x=encode_array(x, "x"), labels=encode_array(marks, "labels"))
        answer = self._call(self._stub.Observe, request)
        self._tell(answer.notice)
        return tuple(answer.example_ids)

    def predict_text(
        self, text: str, k: int = 3, *, scope: Scope = "owner", keep_unsure: bool = False
    ) -> Understanding:
        """Predict what an utterance means.

        Args:
            text: The utterance.
            k: How many intents at most.
            scope: "owner" for the owner's own questions, "everyone" for the fleet's student alone.
            keep_unsure: Keep the text on this device where what it means is unsure, for `unclear`.

        Returns:
            Up to k intents, the likeliest first, and whether the first is sure enough to act on.
        """
        request = pb.PredictRequest(
            text=_sendable(text),
            k=max(k, 0),
            scope=messages.encode_scope(scope),
            keep_unsure=keep_unsure,
        )
        return messages.decode_understanding(self._call(self._stub.Predict, request))

    def unclear(self, limit: int = 20) -> UnclearUtterances:
        """The newest utterances that were kept because what they mean is unsure."""
        return messages.decode_unclear(self._call(self._stub.Unclear, pb.UnclearRequest(limit=max(limit, 0))))

    def review(self, number: int, *, intent: str | None) -> tuple[int, ...]:
        """Say what one of the utterances of `unclear` means; it is understood from then on.

        Args:
            number: Its id.
            intent: The intent's name, or "none" for what asks for nothing; None where it is to be dropped.

        Returns:
            The ids of what was observed, which `forget` takes.
        """
        verdict = {"drop": True} if intent is None else {"intent": _sendable(intent)}
        return tuple(self._call(self._stub.Review, pb.ReviewRequest(id=number, **verdict)).example_ids)

    def observe_intents(self, utterances: Sequence[tuple[str, str]]) -> tuple[int, ...]:
        """Keep private utterances.

        They never leave the device. When it returns, they have survived a loss of power.

        Args:
            utterances: Texts, each with the name of its intent.

        Returns:
            Their ids, which `forget` takes.
        """
        sent = [pb.Utterance(text=_sendable(text), intent=_sendable(name)) for text, name in utterances]
        return tuple(self._call(self._stub.Observe, pb.ObserveRequest(utterances=sent)).example_ids)

    def suggest(
        self, context: str, prefix: str = "", k: int = 3, *, layout: str = "", private: bool = False
    ) -> list[Suggestion]:
        """Suggest what follows a text, or completes or corrects the letters of a word.

        Args:
            context: The text before the word.
            prefix: The letters of the word so far.
            k: How many words at most.
            layout: The keyboard that it is typed on, such as "qwertz"; "" is the device's.
            private: Whether to answer by the installed package alone, and to keep nothing of the context. Of
                a field for passwords, ask nothing.

        Returns:
            Up to k suggestions, the likeliest first.
        """
        request = pb.SuggestRequest(
            context=_sendable(context),
            prefix=_sendable(prefix),
            k=max(k, 0),
            layout=_sendable(layout),
            private=private,
        )
        return messages.decode_suggestions(self._call(self._stub.Suggest, request))

    def observe_text(self, text: str, *, learn: bool = True) -> KeptText:
        """Keep a private text that was typed; its words are suggested from then on.

        It never leaves the device. When this returns, it has survived a loss of power. What looks private in
        it (numbers of four digits and more, passwords, cards, addresses, ...) is kept nowhere.

        Args:
            text: The text.
            learn: False for a text that is nobody's business: nothing of it is kept.

        Returns:
            Its id, which `forget` takes, with how many parts of it were left out; 0 where nothing was kept.
        """
        request = pb.ObserveTextRequest(text=_sendable(text), private=not learn)
        answer = self._call(self._stub.ObserveText, request)
        return KeptText(answer.text_id, answer.left_out)

    def words(self, action: WordsAction = "list", words: Sequence[OwnWord | str] = ()) -> WordsAnswer:
        """List, forget, block, import or export the owner's own words.

        Args:
            action: "list" what was learned; "forget" words, and drop the personal students that may have
                learned them; "block" words: they are neither suggested nor learned; "unblock" them; list
                those that are "blocked"; "import" words of a personal dictionary, all or none; "export" all
                own words.
            words: The words to forget, block, unblock or import.
        """
        return messages.decode_words(self._call(self._stub.Words, messages.encode_words(action, words)))

    def personalize(
        self, options: PersonalizeOptions | None = None, *, on_progress: OnProgress = lambda progress: None
    ) -> LearningResult:
        """Let the agent learn from its private examples now, and wait for the result.

        Args:
            options: How to learn this time.
            on_progress: Called with the progress, several times a second.

        Raises:
            AgentBusy: The agent is learning already.
        """
        for update in self.learning(options):
            if isinstance(update, LearningResult):
                return update
            on_progress(update)
        raise AgentUnavailable(f"{self._socket}: the agent ended before its learning did.")

    def learning(
        self, options: PersonalizeOptions | None = None
    ) -> Iterator[LearningProgress | LearningResult]:
        """Learn as `personalize` does, and yield the progress, and the result at the end.

        Whoever stops iterating stops the learning; the next one goes on from there.
        """
        call = self._stub.Personalize(messages.encode_options(options or PersonalizeOptions()))
        try:
            for update in call:
                if update.HasField("result"):
                    yield messages.decode_result(update.result)
                else:
                    yield messages.decode_progress(update.progress)
        except grpc.RpcError as error:
            raise self._error(error) from None
        finally:
            call.cancel()

    def status(self) -> AgentStatus:
        """What the agent has and does."""
        return messages.decode_status(self._call(self._stub.Status, pb.StatusRequest()))

    def forget(
        self, *, ids: tuple[int, ...] | None = None, before: float | None = None, everything: bool = False
    ) -> Forgotten:
        """Remove private examples, and all that was learned from the agent's examples.

        Args:
            ids: The examples to remove.
            before: Remove those observed before this time, in seconds since 1970.
            everything: Remove all of them.
        """
        request = pb.ForgetRequest(example_ids=ids or (), before_seconds=before, everything=everything)
        return messages.decode_forgotten(self._call(self._stub.Forget, request))

    def _tell(self, notice: str) -> None:
        """Log what the agent finds odd, once."""
        if notice and not self._told:
            self._told = True
            _LOG.warning("%s", notice)

    def _call(self, method: Callable[..., _Answer], request: object) -> _Answer:
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise self._error(error) from None

    def _error(self, error: grpc.RpcError) -> AgentError:
        code, words = error.code(), error.details()
        if code is grpc.StatusCode.UNAVAILABLE:
            words = (
                f"{self._socket}: no agent answers; start one with: "
                f"fedstill-agent serve --home {self._socket.parent}"
            )
        elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
            words = f"{self._socket}: no answer within {self._timeout:g} s; ask for less at a time."
        return _ERRORS.get(code, AgentError)(words)


def _sendable(text: str) -> str:
    """The text without lone surrogates, which cannot be written as UTF-8."""
    return text.encode("utf-8", "ignore").decode()
