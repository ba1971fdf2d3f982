"""The assistant as Home Assistant's conversation agent, asked by the Wyoming protocol's own client."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.home_assistant.events import BadEvent, read_bounded_event
from fedstill_client.home_assistant.service import Address, WyomingError, WyomingService
from wyoming.asr import Transcript
from wyoming.client import AsyncClient, AsyncTcpClient
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.intent import Intent, NotRecognized, Recognize
from wyoming.ping import Ping, Pong

from tests.client.utterance_samples import assistant, home_of


@asynccontextmanager
async def service_of(folder: Path) -> AsyncIterator[tuple[Agent, int]]:
    """An agent, and the port of a service that asks it."""
    with Agent.open(home_of(folder, assistant()).folder) as agent:
        server = await WyomingService(agent, ["en"]).listen(Address.of("tcp://127.0.0.1:0"))
        async with server:
            yield agent, server.sockets[0].getsockname()[1]


async def answer_of(client: AsyncClient, event: Event) -> Event:
    await client.write_event(event)
    answer = await client.read_event()
    assert answer is not None
    return answer


def test_a_transcript_becomes_an_intent_within_20_ms(tmp_path: Path) -> None:
    async def ask() -> tuple[Intent, NotRecognized, list[float]]:
        async with service_of(tmp_path / "home") as (_, port), AsyncTcpClient("127.0.0.1", port) as client:
            said = Transcript("turn on the radio", context={"conversation_id": "7"}).event()
            intent = Intent.from_event(await answer_of(client, said))
            unsure = NotRecognized.from_event(await answer_of(client, Recognize("make it cozy").event()))
            seconds = []
            for _ in range(30):
                started = time.perf_counter()
                await answer_of(client, said)
                seconds.append(time.perf_counter() - started)
            return intent, unsure, seconds

    intent, unsure, seconds = asyncio.run(ask())

    assert intent.name == "on"
    assert intent.context == {"conversation_id": "7"}
    assert unsure.text is None
    assert sorted(seconds)[len(seconds) // 2] < 0.02


def test_what_was_not_recognized_is_reviewed_and_recognized_then(tmp_path: Path) -> None:
    async def ask() -> tuple[Event, Event]:
        async with (
            service_of(tmp_path / "home") as (agent, port),
            AsyncTcpClient("127.0.0.1", port) as client,
        ):
            before = await answer_of(client, Transcript("make it cozy").event())
            (kept,) = agent.unclear().utterances
            agent.review(kept.id, intent="clean")
            return before, await answer_of(client, Transcript("Make it cozy.").event())

    before, after = asyncio.run(ask())

    assert NotRecognized.is_type(before.type)
    assert Intent.from_event(after).name == "clean"


def test_it_says_what_it_is(tmp_path: Path) -> None:
    async def ask() -> tuple[Info, Pong]:
        async with service_of(tmp_path / "home") as (_, port), AsyncTcpClient("127.0.0.1", port) as client:
            info = Info.from_event(await answer_of(client, Describe().event()))
            await client.write_event(Event("audio-chunk", {"rate": 16000}, b"\0" * 2000))  # of no use here
            return info, Pong.from_event(await answer_of(client, Ping("there?").event()))

    info, pong = asyncio.run(ask())

    (program,) = info.intent
    assert program.name == "fedstill"
    assert program.installed
    assert program.models[0].languages == ["en"]
    assert pong.text == "there?"


BAD = [
    pytest.param(b"\n", "the line is no JSON", id="an empty line"),
    pytest.param(b"turn on the light\n", "the line is no JSON", id="plain text"),
    pytest.param(b"GET / HTTP/1.1\r\n", "the line is no JSON", id="a browser"),
    pytest.param(b"[]\n", "JSON, and no object: list", id="a list"),
    pytest.param(b"{}\n", "type None", id="no type"),
    pytest.param(b'{"type": 3}\n', "type 3", id="a number as its type"),
    pytest.param(b'{"type": "transcript", "data": "x"}\n', "data str", id="data that is a text"),
    pytest.param(b'{"type": "t", "data_length": -1}\n', "data_length -1", id="a negative length"),
    pytest.param(b'{"type": "t", "data_length": 1e9}\n', "data_length 1000000000", id="a float"),
    pytest.param(b'{"type": "t", "data_length": 70000}\n', "give 0 to 65536", id="more data than is taken"),
    pytest.param(b'{"type": "t", "payload_length": 2000000}\n', "payload_length 2000000", id="much audio"),
    pytest.param(b'{"type": "t", "data_length": 9}\n{"te', "4 bytes of 9", id="half of its data"),
    pytest.param(b'{"type": "t", "payload_length": 9}\nab', "2 bytes of 9", id="half of its payload"),
    pytest.param(b'{"type": "trans', "ended in the middle", id="half a line"),
    pytest.param(b'{"type": "t", "data_length": 2}\n"x', "data is no JSON", id="damaged data"),
    pytest.param(b'{"type": "t", "data_length": 2}\n[]', "data is JSON, and no object", id="data is a list"),
    pytest.param(b"x" * 70_000, "a line of more than 65536 bytes", id="a line without an end"),
    pytest.param(b'{"a":' * 20_000 + b"\n", "a line of more", id="nested deeply and long"),
    pytest.param(b"\xff\xfe{\n", "the line is no JSON", id="another encoding"),
]

SENT = [sent for case in BAD if isinstance(sent := case.values[0], bytes)]


@pytest.mark.parametrize(("sent", "problem"), BAD)
def test_what_is_no_whole_event_is_refused_with_what_is_wrong(sent: bytes, problem: str) -> None:
    async def read() -> None:
        reader = asyncio.StreamReader(limit=1 << 16)
        reader.feed_data(sent)
        reader.feed_eof()
        await read_bounded_event(reader)

    with pytest.raises(BadEvent, match=problem.replace("(", r"\(")):
        asyncio.run(read())


def test_half_an_event_is_not_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def read() -> None:
        reader = asyncio.StreamReader(limit=1 << 16)
        reader.feed_data(b'{"type": "transcript"')
        await read_bounded_event(reader, within=0.05)

    with pytest.raises(BadEvent, match=r"nothing more of it within 0\.05 s"):
        asyncio.run(read())


def test_a_bad_client_disturbs_no_other_and_teaches_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask() -> tuple[str, int]:
        async with service_of(tmp_path / "home") as (agent, port):
            async with AsyncTcpClient("127.0.0.1", port) as client:
                for sent in SENT:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(sent)
                    writer.close()
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                text = json.dumps({"type": "transcript", "data": {"text": "movie night"}, "data_length": 50})
                writer.write(text.encode() + b"\n{")
                writer.close()
                intent = Intent.from_event(await answer_of(client, Transcript("turn on the fan").event()))
            await asyncio.sleep(0.1)
            return intent.name, agent.unclear().in_all

    assert asyncio.run(ask()) == ("on", 0)
    assert "nothing of it was used" in caplog.text


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("10410", "give tcp://HOST:PORT"),
        ("tcp://127.0.0.1", "give tcp://HOST:PORT"),
        ("tcp://127.0.0.1:99999", "Port out of range"),
        ("http://127.0.0.1:80", "give tcp://HOST:PORT"),
        ("unix://", "give tcp://HOST:PORT"),
        ("tcp://0.0.0.0:10410", "the protocol knows no passwords"),
        ("tcp://192.168.1.3:10410", "with --network it listens all the same"),
        ("tcp://[::]:10410", "other machines would reach it"),
    ],
)
def test_an_address_that_will_not_do_is_refused_at_once(uri: str, problem: str) -> None:
    with pytest.raises(WyomingError, match=problem):
        Address.of(uri)


def test_other_machines_may_be_let_in() -> None:
    assert Address.of("tcp://0.0.0.0:10410", network=True).host == "0.0.0.0"
    assert Address.of("tcp://[::1]:10410") == Address(host="::1", port=10410)
    assert Address.of("unix:///run/fedstill.sock").path == "/run/fedstill.sock"


def test_the_command_serves_until_it_is_ended(tmp_path: Path) -> None:
    home = home_of(tmp_path / "home", assistant())
    command = [sys.executable, "-m", "fedstill_client.cli", "wyoming", "--uri", "tcp://127.0.0.1:0"]
    with subprocess.Popen(
        [*command, "--home", str(home.folder)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        port = int(process.stderr.readline().rpartition(":")[2])

        async def ask() -> Event:
            async with AsyncTcpClient("127.0.0.1", port) as client:
                return await answer_of(client, Transcript("clean the tv").event())

        answer = asyncio.run(ask())
        taken = subprocess.run(
            [*command[:-1], f"tcp://127.0.0.1:{port}", "--home", str(home.folder)],
            capture_output=True,
            text=True,
        )
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(20) == 0

    assert Intent.from_event(answer).name == "clean"
    assert taken.returncode == 2
    assert f"cannot listen at 127.0.0.1:{port}" in taken.stderr
