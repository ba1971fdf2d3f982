"""The assistant as a service of intent recognition for Home Assistant: texts in, intents out.

Home Assistant sends what was said as a transcript, and gets an intent with its entities, or that nothing was
recognized. What the student is unsure of is not recognized, and is kept on this device for
`fedstill-agent review`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import fedstill_proto
from fedstill_proto.errors import FedstillError
from fedstill_proto.text.intents import Understanding
from wyoming.asr import Transcript
from wyoming.event import Event, async_write_event
from wyoming.info import Attribution, Describe, Info, IntentModel, IntentProgram
from wyoming.intent import Entity, Intent, NotRecognized, Recognize
from wyoming.ping import Ping, Pong

from fedstill_client.home_assistant.entities import entities_of
from fedstill_client.home_assistant.events import LINE_LIMIT_BYTES, BadEvent, read_bounded_event

log = logging.getLogger("fedstill.wyoming")
DEFAULT_URI = "tcp://127.0.0.1:10410"
MOST_CONNECTIONS = 32
_PAGE = "https://www.home-assistant.io/integrations/wyoming"


class WyomingError(FedstillError):
    """The service cannot be started; the text says why."""


class UnderstandingAgent(Protocol):
    """What the service needs of an agent."""

    def predict_text(self, text: str, k: int, *, keep_unsure: bool) -> Understanding: ...


@dataclass(frozen=True)
class Address:
    """Where the service listens: of TCP, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def of(cls, uri: str, *, network: bool = False) -> Address:
        """Read tcp://HOST:PORT or unix://PATH.

        Args:
            uri: The address.
            network: Whether it may be one that other machines reach.

        Raises:
            WyomingError: It is no such address, or one that other machines reach.
        """
        try:
            parts = urlsplit(uri)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise WyomingError(f"--uri {uri}: {error}") from None
        if parts.scheme == "unix" and parts.path:
            return cls(path=parts.path)
        if parts.scheme != "tcp" or not host or port is None:
            raise WyomingError(f"--uri {uri}: give tcp://HOST:PORT or unix:///PATH")
        if not network and not _is_loopback(host):
            raise WyomingError(
                f"--uri {uri}: the protocol knows no passwords, and other machines would reach it there; "
                "with --network it listens all the same"
            )
        return cls(host=host, port=port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class WyomingService:
    """Answers the clients that connect.

    Args:
        agent: What understands; it is asked from several threads.
        languages: Codes of the languages that Home Assistant is told of.
    """

    def __init__(self, agent: UnderstandingAgent, languages: Sequence[str]) -> None:
        self._agent = agent
        self._info = _info(languages).event()
        self._connections = 0

    async def serve(self, address: Address, on_ready: Callable[[str], None] = lambda where: None) -> None:
        """Listen until SIGTERM or Ctrl-C; raises WyomingError where the address cannot be had."""
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(RuntimeError, ValueError):  # another thread than the main one
                loop.add_signal_handler(number, stopped.set)
        server = await self.listen(address)
        async with server:
            on_ready(_where(server))
            await stopped.wait()

    async def listen(self, address: Address) -> asyncio.Server:
        """Begin to listen; raises WyomingError."""
        try:
            if address.path:
                return await asyncio.start_unix_server(self._connected, address.path, limit=LINE_LIMIT_BYTES)
            return await asyncio.start_server(
                self._connected, address.host, address.port, limit=LINE_LIMIT_BYTES
            )
        except OSError as error:
            where = address.path or f"{address.host}:{address.port}"
            raise WyomingError(f"cannot listen at {where}: {error.strerror or error}") from None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername") or "a client"
        self._connections += 1
        try:
            if self._connections > MOST_CONNECTIONS:
                log.warning("%s: refused, %d clients are connected already", peer, MOST_CONNECTIONS)
                return
            while (event := await read_bounded_event(reader)) is not None:
                answer = await self._answer(event)
                if answer is not None:
                    await async_write_event(answer, writer)
        except BadEvent as error:
            log.warning("%s: %s; nothing of it was used", peer, error)
        except ConnectionError:
            pass  # the client has gone
        finally:
            self._connections -= 1
            writer.close()

    async def _answer(self, event: Event) -> Event | None:
        if Describe.is_type(event.type):
            return self._info
        if Ping.is_type(event.type):
            return Pong(text=Ping.from_event(event).text).event()
        if not (Transcript.is_type(event.type) or Recognize.is_type(event.type)):
            return None
        text, context = event.data.get("text"), event.data.get("context")
        if not isinstance(text, str) or not isinstance(context, dict | None):
            raise BadEvent(f"{event.type}: text {text!r:.40} and its context are no text and no object")
        return (await asyncio.to_thread(self._understand, text, context)).event()

    def _understand(self, text: str, context: dict[str, Any] | None) -> Intent | NotRecognized:
        started = time.perf_counter()
        try:
            understood = self._agent.predict_text(text, 3, keep_unsure=True)
        except FedstillError as error:
            log.warning("not recognized: %s", error)
            return NotRecognized(context=context)
        log.info(
            "%.1f ms, %s", 1e3 * (time.perf_counter() - started), "sure" if understood.sure else "unsure"
        )
        if understood.intent is None:
            return NotRecognized(context=context)
        entities = [Entity(name, value) for name, value in entities_of(understood)]
        return Intent(understood.intent, entities, context=context)


def run_service(
    agent: UnderstandingAgent,
    address: Address,
    *,
    languages: Sequence[str],
    on_ready: Callable[[str], None] = lambda where: None,
) -> None:
    """Answer clients until SIGTERM or Ctrl-C."""
    serving: Coroutine[Any, Any, None] = WyomingService(agent, languages).serve(address, on_ready)
    asyncio.run(serving)


def _where(server: asyncio.Server) -> str:
    name = server.sockets[0].getsockname()
    return f"unix://{name}" if isinstance(name, str) else f"tcp://{name[0]}:{name[1]}"


def _info(languages: Sequence[str]) -> Info:
    whose = Attribution(name="fedstill", url=_PAGE)
    version = fedstill_proto.__version__
    model = IntentModel(
        name="fedstill",
        attribution=whose,
        installed=True,
        description="The student of this device",
        version=version,
        languages=list(languages),
    )
    program = IntentProgram(
        name="fedstill",
        attribution=whose,
        installed=True,
        description="Intents, understood on this device",
        version=version,
        models=[model],
    )
    return Info(intent=[program])
