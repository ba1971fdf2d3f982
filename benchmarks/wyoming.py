"""How long Home Assistant waits for an intent, and whether what was taught once is understood the next time.

    python benchmarks/wyoming.py                  # an assistant of 1,200 English utterances, made first
    python benchmarks/wyoming.py --home HOME      # another device's assistant

The service is a process of its own, asked by the Wyoming protocol's own client. Each of some utterances that
nobody has taught is said, reviewed and said again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # it is started by its file's name

import numpy as np
from fedstill_client.agent.agent import Agent
from wyoming.asr import Transcript
from wyoming.client import AsyncTcpClient
from wyoming.event import Event
from wyoming.intent import Intent, NotRecognized

from benchmarks.bars import Bar
from benchmarks.fleet_on_loopback.processes import RunningCommand, free_port, wait_until
from benchmarks.reported.homes import Homes

ASKED = (
    "turn on the kitchen light",
    "what time is it",
    "set the bedroom lamp to 40 percent",
    "stop the music",
)
MOODS = ("cozy", "gloomy", "festive", "like Sunday", "ready for guests", "quiet", "fit for a film", "homely")
UNTAUGHT = [f"{verb} {mood}" for verb in ("make it", "I want it", "it should be") for mood in MOODS]
TIMES = 500


async def _answer(client: AsyncTcpClient, text: str) -> Event:
    await client.write_event(Transcript(text).event())
    answer = await client.read_event()
    assert answer is not None
    return answer


async def _seconds(port: int) -> list[float]:
    async with AsyncTcpClient("127.0.0.1", port) as client:
        taken = []
        for number in range(TIMES):
            started = time.perf_counter()
            await _answer(client, ASKED[number % len(ASKED)])
            taken.append(time.perf_counter() - started)
        return taken


async def _taught_once(home: Path, port: int) -> tuple[int, int]:
    """How many utterances were not recognized, and how many of these were after one review."""
    unclear = again = 0
    async with AsyncTcpClient("127.0.0.1", port) as client:
        for text in UNTAUGHT:
            if not NotRecognized.is_type((await _answer(client, text)).type):
                continue
            unclear += 1
            with Agent.open(home) as agent:  # as `fedstill-agent review` does
                kept = next(one for one in agent.unclear().utterances if one.text == text)
                intent = agent.unclear().names[unclear % 5]
                agent.review(kept.id, intent=intent)
            answer = await _answer(client, f"{text.capitalize()}!")
            again += Intent.is_type(answer.type) and Intent.from_event(answer).name == intent
    return unclear, again


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", type=Path, help="of an assistant; it learns what is taught here")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        homes = Homes(Path(scratch), kept=Path(scratch) / "homes")
        home = asked.home or homes.assistant()
        port = free_port()
        where = ("--uri", f"tcp://127.0.0.1:{port}", "--home", home)
        service = RunningCommand(Path(scratch) / "wyoming.log", "fedstill-agent", "wyoming", *where)
        service.start()
        try:
            wait_until(lambda: "answering" in service.log.read_text(), seconds=60, what="to listen")
            milliseconds = 1e3 * np.array(asyncio.run(_seconds(port)))
            unclear, again = asyncio.run(_taught_once(home, port))
        finally:
            service.end()
    middle, slow = np.percentile(milliseconds, (50, 99))
    print(f"{TIMES} round trips: median {middle:.1f} ms, p99 {slow:.1f} ms")
    print(f"not recognized {unclear} of {len(UNTAUGHT)}; recognized after one review {again} of these")
    bars = [
        Bar.most("ms of a round trip, median", float(middle), 20.0),
        Bar.least("share understood once taught", again / max(unclear, 1), 1.0),
    ]
    for bar in bars:
        print(f"{'MET' if bar.met else 'MISSED':6} {bar.name} {bar.promised:g}: {bar.measured:.4g}")
    return 0 if all(bar.met for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
