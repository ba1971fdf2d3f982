"""Has each message of the server answered in a process of its own, by the ClientApp that is installed here.

The SuperNode starts a process for each message, gives it the message's pieces through a pipe, and reads the
reply from another: nothing listens anywhere, so no other user of the device can take a task or answer it. A
round that crashes, or outlives its bound, takes nothing with it. The only app that is ever loaded is
`fedstill_client.app:app` (see answer.py); a name that came from the server is never imported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedstill_proto.errors import FedstillError, WireError
from fedstill_proto.system import frames
from fedstill_proto.v1 import fleet_pb2

_ERROR_WITHIN_S = 120.0
NO_MESSAGE = 3  # the exit status of a process that was given no message


class RoundFailed(FedstillError):
    """The process of a round ended without a reply, or was ended."""


class RoundTooLong(RoundFailed):
    """The process of a round took longer than it may, and was ended."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """A message for the app: whom it is for, and its pieces by name."""

    node: int
    run: int
    message_id: str
    objects: Mapping[str, bytes]

    def to_frames(self) -> list[bytes]:
        """The same as a list of bytes."""
        pieces = (piece for name, data in self.objects.items() for piece in (name.encode(), data))
        return [str(self.node).encode(), str(self.run).encode(), self.message_id.encode(), *pieces]

    @classmethod
    def from_frames(cls, content: Sequence[bytes]) -> Order:
        """Read what `to_frames` made."""
        node, run, message_id, *pieces = content
        names = (name.decode() for name in pieces[0::2])
        objects = dict(zip(names, pieces[1::2], strict=True))
        return cls(node=int(node), run=int(run), message_id=message_id.decode(), objects=objects)


def answer_apart(order: Order, *, limit_s: float) -> list[bytes]:
    """Have a process of its own answer a message.

    Args:
        order: The message.
        limit_s: After so many seconds the process is killed.

    Returns:
        The reply, taken apart, in frames (see fedstill_proto.flower_objects).

    Raises:
        RoundTooLong: The process was killed for its time.
        RoundFailed: It ended by itself without a reply.
        WireError: The pieces are no message.
    """
    reply = _process([], frames.to_bytes(order.to_frames()), limit_s=limit_s)
    return frames.from_bytes(reply)


def error_apart(question: fleet_pb2.Message, code: int, word: str) -> list[bytes]:
    """Have a process of its own make the reply that says why there is none: it takes all of Flower.

    Args:
        question: The message that is replied to, without its content.
        code: Of the error.
        word: Its text.

    Returns:
        The reply, taken apart, in frames.

    Raises:
        RoundFailed: The process failed.
        WireError: The question is no message.
    """
    made = _process(["--error", str(code), word], question.SerializeToString(), limit_s=_ERROR_WITHIN_S)
    return frames.from_bytes(made)


def _process(arguments: Sequence[str], given: bytes, *, limit_s: float) -> bytes:
    command = [sys.executable, "-P", "-m", "fedstill_client.answer", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            reply, _ = process.communicate(given, timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise RoundTooLong(f"the round took longer than {limit_s:g} s and was ended") from None
        finally:
            _kill(process)
    if process.returncode == NO_MESSAGE:
        raise WireError("message", "its objects are no message")
    if process.returncode != 0:
        raise RoundFailed(f"the process of the round ended with {process.returncode}")
    return reply


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started, if it is there."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
