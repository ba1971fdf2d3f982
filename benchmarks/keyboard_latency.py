"""How long a suggestion takes, and how large its package is: the agent in this process, one thread.

    python benchmarks/keyboard_latency.py                        # 1.4 million parameters, untrained
    python benchmarks/keyboard_latency.py --family transformer

The owner has typed 30,000 words, the texts of some speakers. A suggestion is asked for at each letter of
held-out texts, each of which is counted once it is typed: the first letter of a word takes a step of the
student, the others take none. Elapsed time, and the processor time of the same calls, which other programs on
the machine do not lengthen. The word list is that of the public plays, filled up with made-up words to
20,000; the lexicon's dictionary has 30,000 more, and its counts are of the plays. The package holds all that
a device installs, the training graph too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from fedstill_client.agent.agent import Agent
from fedstill_client.agent_types import PRECISIONS
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.text.vocabulary import WordList, build_word_list, is_word, join, split
from fedstill_server.export.build import ArtifactOptions
from fedstill_server.families import initial_parameters
from fedstill_server.publish.package import package_of
from fedstill_server.tasks.interface import PackageFiles
from fedstill_server.tasks.text.lexicon import LexiconPlan, build_lexicon
from fedstill_sim.tasks.text.data import load_keyboard

FAMILY, WORDS, PLACES, STEP_WORDS, PUBLIC_ROWS = "gru-64-160", 20_000, 16, 600, 512
DICTIONARY, TYPED = 30_000, 30_000
BAR_MS, BAR_BYTES = 5.0, 10_000_000
_LETTERS = 3


def untrained(family: str, public: tuple[str, ...]) -> StudentPackage:
    """Build a package of an untrained student, with the word list of the public texts."""
    made = list(_made_up(build_word_list(public, size=WORDS)))
    words, dictionary = _filled_up(build_word_list(public, size=WORDS), made), made[-DICTIONARY:]
    lexicon = build_lexicon([*public, *dictionary], words, LexiconPlan(dictionary=DICTIONARY))
    options = ArtifactOptions(
        family=family,
        input_shape=(PLACES,),
        classes=len(words),
        optimizer=Optimizer.ADAMW,
        soft_labels="top-k",
        k=16,
        stack_size=1,
        step_rows=16,
        step_vocabulary=STEP_WORDS,
    )
    return package_of(
        options,
        initial_parameters(family, (PLACES,), len(words), 0),
        package_version=1,
        public_x=np.random.default_rng(0).integers(0, len(words), (PUBLIC_ROWS, PLACES)),
        files=PackageFiles(vocabulary=words.to_json(), lexicon=lexicon.to_bytes()),
    )


def _made_up(words: WordList) -> Iterator[str]:
    """Yield words made of the first and last letters of two of a list's own, each once."""
    longer = [word for _, word in words.words if len(word) > _LETTERS]
    seen = set(words.entries)
    for step in range(1, len(longer)):
        for place, one in enumerate(longer):
            word = one[:_LETTERS] + longer[(place + step) % len(longer)][-_LETTERS:]
            if len(seen) == WORDS + DICTIONARY:
                return
            if word not in seen and split(word) == [word]:
                seen.add(word)
                yield word


def _filled_up(words: WordList, made: list[str]) -> WordList:
    """Fill a word list up with made-up words."""
    return WordList((*words.entries, *made[: WORDS - len(words)]))


def keystrokes(texts: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the context and the letters of the word so far, at each letter."""
    for text in texts:
        tokens = split(text)
        for place, token in enumerate(tokens):
            if is_word(token):
                context = join(tokens[:place])
                yield from ((context, token[:letters]) for letters in range(len(token)))


def suggestion_ms(agent: Agent, texts: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Measure the milliseconds of suggestions before a word and within one."""
    spent: dict[str, list[tuple[float, float]]] = {"new word": [], "letter": []}
    for text in texts:
        for context, prefix in keystrokes((text,)):
            started, worked = time.perf_counter(), time.process_time()
            agent.suggest(context, prefix)
            spent["letter" if prefix else "new word"].append(
                (1e3 * (time.perf_counter() - started), 1e3 * (time.process_time() - worked))
            )
        agent.observe_text(text)
    figures = {}
    for name, pairs in spent.items():
        elapsed, processor = np.array(pairs).T
        figures[name] = {"suggestions": float(len(pairs))}
        for kind, times in (("elapsed", elapsed), ("processor", processor)):
            for percentile in (50, 99):
                figures[name][f"{kind}_ms_p{percentile}"] = float(np.percentile(times, percentile))
    return figures


def measured(family: str, suggestions: int) -> dict[str, Any]:
    data = load_keyboard()
    package, typist = untrained(family, data.public), data.typists[0]
    sizes = {name: len(content) for name, content in package.contents().items()}
    found: dict[str, Any] = {
        "family": family,
        "words": package.manifest.classes,
        "parameters": package.manifest.parameter_count,
        "package_bytes": sum(sizes.values()),
        "parts_bytes": sizes,
    }
    texts, letters = [], 0
    for text in typist.test:
        if letters < suggestions:
            texts.append(text)
            letters += len(text)
    with tempfile.TemporaryDirectory() as folder:
        home = AgentHome(Path(folder) / "home")
        home.create()
        home.description.write_text(json.dumps({"name": "phone", "family": family}))
        with PrivateStore.create(home) as store:
            install(home, store, package)
            words = 0
            for text in (text for one in data.typists for text in one.train):
                words += len(split(text))
                if words > TYPED:
                    break
                store.observe_text(text)
        for precision in PRECISIONS:
            with Agent.open(home.folder, precision=precision) as agent:
                suggestion_ms(agent, tuple(texts[:1]))  # warm
                assert agent.status().precision == precision
                found[precision] = suggestion_ms(agent, tuple(texts))
    return found


def show(found: dict[str, Any]) -> None:
    print(
        f"{found['family']}: {found['words']} words, {found['parameters']} parameters, "
        f"{found['package_bytes']:,d} bytes of package, "
        f"{_verdict(found['package_bytes'] <= BAR_BYTES)} the bar of {BAR_BYTES:,d}"
    )
    print("  " + ", ".join(f"{name} {size:,d}" for name, size in found["parts_bytes"].items()))
    for precision in PRECISIONS:
        for name, times in found[precision].items():
            print(
                f"{precision:8} {name:9} {times['suggestions']:5.0f} suggestions   "
                f"elapsed p50 {times['elapsed_ms_p50']:6.2f} p99 {times['elapsed_ms_p99']:6.2f} ms   "
                f"processor p50 {times['processor_ms_p50']:6.2f} p99 {times['processor_ms_p99']:6.2f} ms"
            )
    worst = max(times["elapsed_ms_p99"] for times in found["int8"].values())
    print(f"int8: p99 {worst:.2f} ms, {_verdict(worst <= BAR_MS)} the bar of {BAR_MS:g} ms")


def _verdict(holds: bool) -> str:
    return "within" if holds else "MISSES"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--family", default=FAMILY)
    parser.add_argument("--suggestions", type=int, default=2000, help="about so many")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = measured(asked.family, asked.suggestions)
    if asked.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)


if __name__ == "__main__":
    main()
