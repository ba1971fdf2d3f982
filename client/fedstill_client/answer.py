"""Answers one message of the server: its pieces come through a pipe, and the reply's go back through another.

Started anew for each message (see fleet/round_process.py); the app that answers is the installed one.

    python -P -m fedstill_client.answer < message > reply
    python -P -m fedstill_client.answer --error CODE WORD < the message without its content > reply
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time

from fedstill_proto.errors import WireError
from fedstill_proto.system import frames

from fedstill_client.fleet.round_process import NO_MESSAGE, Order

_LOOK_FOR_PARENT_EVERY_S = 1.0

log = logging.getLogger("fedstill.round")


def main() -> None:
    """Read an order, answer it, and write the reply."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    # What an app or a library prints is not to end up in the reply.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        given = sys.stdin.buffer.read()
        if sys.argv[1:2] == ["--error"]:
            reply = _error(given, int(sys.argv[2]), sys.argv[3])
        else:
            reply = _answer(Order.from_frames(frames.from_bytes(given)))
    except WireError as error:
        log.warning("refused: %s", error)
        sys.exit(NO_MESSAGE)
    with output:
        output.write(frames.to_bytes(reply))


def _error(question: bytes, code: int, word: str) -> list[bytes]:
    from fedstill_proto.flower_objects import flower_message, take_apart
    from fedstill_proto.v1 import fleet_pb2
    from flwr.app import Error, Message

    asked = flower_message(fleet_pb2.Message.FromString(question))
    return take_apart(Message(Error(code, word), reply_to=asked)).to_frames()


def _answer(order: Order) -> list[bytes]:
    from fedstill_proto.codec.api import TASK_LIMIT_BYTES
    from fedstill_proto.flower_objects import assemble, take_apart
    from flwr.app import Context, RecordDict

    from fedstill_client.app import app

    message = assemble(order.message_id, order.objects, size_limit_bytes=TASK_LIMIT_BYTES)
    # What the server says of a run's configuration is not asked for.
    context = Context(
        run_id=order.run,
        node_id=order.node,
        node_config={},
        state=RecordDict(),
        run_config={},
    )
    return take_apart(app(message, context)).to_frames()


def _end_with(parent: int) -> None:
    """End when the parent has ended, for whatever reason: nobody would take the reply."""
    while os.getppid() == parent:
        time.sleep(_LOOK_FOR_PARENT_EVERY_S)
    os._exit(1)


if __name__ == "__main__":
    main()
