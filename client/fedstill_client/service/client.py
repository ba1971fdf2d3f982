"""The agent as an app uses it:

    from fedstill_client import AgentClient

    with AgentClient() as agent:
        print(agent.predict(x).argmax(axis=1))
        agent.observe(x, labels)

Light to import: no ONNX Runtime, no flwr.
"""

from __future__ import annotations

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
    LearningProgress,
    LearningResult,
    OnProgress,
    PersonalizeOptions,
    Suggestion,
)
from fedstill_client.home import AgentHome
from fedstill_client.service import messages
from fedstill_client.service.endpoint import check_socket
from fedstill_client.service.wire import MESSAGE_LIMIT_BYTES, decode_array, encode_array

_LIMIT = MESSAGE_LIMIT_BYTES + (1 << 16)
_Answer = TypeVar("_Answer")
_ERRORS: dict[grpc.StatusCode, type[AgentError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: AgentRefused,
    grpc.StatusCode.RESOURCE_EXHAUSTED: AgentBusy,
    grpc.StatusCode.UNAVAILABLE: AgentUnavailable,
}


class AgentClient:
    """The agent that serves a home; safe to share among threads.

    home: the agent's home or its socket; without one, what FEDSTILL_HOME names, or /var/lib/fedstill.
    timeout_seconds: how long a call may take; learning takes as long as it takes.
    """

    def __init__(self, home: Path | str | None = None, *, timeout_seconds: float = 30.0) -> None:
        place = AgentHome.given(None if home is None else Path(home)).folder
        self._socket = AgentHome(place).socket if place.is_dir() or not place.exists() else place
        self._timeout = timeout_seconds
        options = [("grpc.max_receive_message_length", _LIMIT), ("grpc.max_send_message_length", _LIMIT)]
        self._channel = grpc.insecure_channel(check_socket(self._socket), options=options)
        self._stub = agent_pb2_grpc.AgentStub(self._channel)

    def __enter__(self) -> AgentClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; the agent goes on."""
        self._channel.close()

    def predict(self, x: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Class probabilities [n, classes] of the examples x [n, *input_shape]."""
        request = pb.PredictRequest(x=encode_array(x, "x"))
        answer = self._call(self._stub.Predict, request)
        return decode_array(answer.probabilities, "probabilities")

    def observe(self, x: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[int, ...]:
        """Keep private examples x [n, *input_shape] with their labels [n, *label_shape]; gives their ids.

        They never leave the device. When it returns, they have survived a loss of power.
        """
        request = pb.ObserveRequest(x=encode_array(x, "x"), labels=encode_array(labels, "labels"))
        return tuple(self._call(self._stub.Observe, request).example_ids)

    def predict_text(self, text: str, k: int = 3) -> Understanding:
        """What an utterance means: up to k intents, the likeliest first, and whether to act on the first."""
        request = pb.PredictRequest(text=_sendable(text), k=max(k, 0))
        return messages.decode_understanding(self._call(self._stub.Predict, request))

    def observe_intents(self, said: Sequence[tuple[str, str]]) -> tuple[int, ...]:
        """Keep private utterances, each a text and the name of its intent; gives their ids.

        They never leave the device. When it returns, they have survived a loss of power.
        """
        said = [(_sendable(text), _sendable(intent)) for text, intent in said]
        utterances = [pb.Utterance(text=text, intent=intent) for text, intent in said]
        return tuple(self._call(self._stub.Observe, pb.ObserveRequest(utterances=utterances)).example_ids)

    def suggest(self, context: str, prefix: str = "", k: int = 3) -> list[Suggestion]:
        """Up to k words, the likeliest first: what follows a text, or completes or corrects a prefix."""
        request = pb.SuggestRequest(context=_sendable(context), prefix=_sendable(prefix), k=max(k, 0))
        return messages.decode_suggestions(self._call(self._stub.Suggest, request))

    def observe_text(self, text: str) -> int:
        """Keep a private text that was typed; gives its id, which `forget` takes.

        It never leaves the device. Its words are suggested from then on. When it returns, it has survived a
        loss of power.
        """
        request = pb.ObserveTextRequest(text=_sendable(text))
        return int(self._call(self._stub.ObserveText, request).text_id)

    def personalize(
        self, options: PersonalizeOptions | None = None, *, on_progress: OnProgress = lambda progress: None
    ) -> LearningResult:
        """Let the agent learn from its private examples now, and wait for the result."""
        for update in self.learning(options):
            if isinstance(update, LearningResult):
                return update
            on_progress(update)
        raise AgentUnavailable(f"{self._socket}: the agent ended before its learning did.")

    def learning(
        self, options: PersonalizeOptions | None = None
    ) -> Iterator[LearningProgress | LearningResult]:
        """The progress of a learning, and its result at the end. Who stops iterating stops the learning."""
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
        """Remove private examples (by id, from before a time in seconds since 1970, or all of them).

        What was learned from the agent's examples goes with them.
        """
        request = pb.ForgetRequest(example_ids=ids or (), before_seconds=before, everything=everything)
        return messages.decode_forgotten(self._call(self._stub.Forget, request))

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
    """Without halves of signs, which cannot be written as UTF-8."""
    return text.encode("utf-8", "ignore").decode()
