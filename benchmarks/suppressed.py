"""Is a suppressed word ever suggested, after 1,000 personal texts that hold it?

    python benchmarks/suppressed.py                    # a small GRU of the plays, some minutes
    python benchmarks/suppressed.py --texts 200 --epochs 1

A student of next words is made of the public plays, with a lexicon of theirs, and packed twice: with a list
of constraints, and without. The list has frequent words of the student's own, words of the lexicon alone,
words that neither has (the owner's own), phrases, a sequence of letters and a topic. 1,000 texts of one
speaker after another get one of them each, in capitals, with accents or hyphens in some. Each package's agent
keeps the texts, imports the own words as a personal dictionary, and learns; then it is asked, in float32 and
in 8 bits: behind each planted text up to the planted word, with its letters one by one, with typing errors in
them, and without a space before a phrase's last word. `PlainReader` counts what it suggests, 20 words each
time; what is suggested without the list says what the texts would bring. The cost of the list is the share of
other words, held out, that are among three suggestions, and the time of a suggestion.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedstill_client.agent.agent import Agent
from fedstill_client.agent_types import PRECISIONS, OwnWord, PersonalizeOptions, Precision
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_client.store.texts import add_text
from fedstill_proto.package.artifact import StudentPackage, load_student
from fedstill_proto.package.constraints.constraints import Constraints, SuppressedTopic
from fedstill_proto.package.constraints.plainly import PlainReader
from fedstill_proto.text.vocabulary import WordList, is_word, split
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.distill.request import DistillRequest
from fedstill_server.distill.run import distil
from fedstill_server.tasks.text.lexicon import LexiconPlan, build_lexicon
from fedstill_sim.tasks.text.data import load_keyboard

LISTED, IN_LEXICON, PHRASES, SUGGESTIONS = 20, 15, 10, 20
OWN = ("quillfeather", "barrowdown", "zanzibarley", "mooncalfling", "grimbletoft")
SEQUENCE, WITH_SEQUENCE = "xylo", ("xylophonist", "metaxylose")


@dataclass(frozen=True)
class Planted:
    """A text that holds something suppressed: what stands before it, and it as it is typed."""

    before: str
    typed: str
    text: str


def packed(folder: Path, public: list[str], *, epochs: int, words: int) -> StudentPackage:
    """A trainable student of the public plays, with a lexicon that knows more words than it."""
    file = folder / "plays.txt"
    file.write_text("\n".join(text.replace("\n", " ") for text in public))
    request = DistillRequest(
        task=str(file),
        family="gru-32-64",
        technique=(),
        words=words,
        places=16,
        trainable=True,
        plan=DistillPlan(epochs=epochs, batch_size=64, learning_rate=5e-3, seed=0),
    )
    distil(request, folder / "small")
    package = load_student(folder / "small" / "student")
    listed = WordList.from_json(package.vocabulary or b"")
    lexicon = build_lexicon(public, listed, LexiconPlan(dictionary=6000))
    return replace(package, lexicon=lexicon.to_bytes())


def chosen_list(package: StudentPackage, texts: list[str], lexicon: list[str], *, seed: int) -> Constraints:
    """Words that the speakers use, and others."""
    rng = random.Random(seed)
    listed = WordList.from_json(package.vocabulary or b"")
    known = {word for _, word in listed.words}
    counts = Counter(token for text in texts for token in split(text) if is_word(token) and len(token) > 3)
    frequent = [word for word, _ in counts.most_common(400) if word in known]
    pairs = Counter(
        pair
        for text in texts
        for pair in zip(split(text)[:-1], split(text)[1:], strict=True)
        if all(is_word(word) and word.isalpha() and len(word) > 1 for word in pair)
    )
    words = rng.sample(frequent, LISTED)
    phrases = [" ".join(pair) for pair, _ in pairs.most_common(PHRASES)]
    topic = SuppressedTopic(name="lexicon", words=tuple(rng.sample(lexicon, IN_LEXICON)))
    return Constraints(words=(*words, *OWN, *phrases), sequences=(SEQUENCE,), topics=(topic,))


def planted_texts(constraints: Constraints, texts: list[str], *, count: int, seed: int) -> list[Planted]:
    """Texts of the speakers, each with one entry of the list at some place."""
    rng = random.Random(seed)
    entries = [*constraints.all_words, *WITH_SEQUENCE]
    planted = []
    for number in range(count):
        words = [token for token in split(texts[number % len(texts)]) if is_word(token)][:12] or ["and"]
        entry, place = entries[number % len(entries)], rng.randint(0, len(words))
        typed = rng.choice(
            (entry, entry, entry.capitalize(), entry.upper(), accented(entry), hyphened(entry))
        )
        before = " ".join(words[:place])
        planted.append(Planted(before, typed, " ".join([*words[:place], typed, *words[place:]])))
    return planted


def accented(entry: str) -> str:
    return entry.replace("a", "á", 1).replace("o", "ö", 1)


def hyphened(entry: str) -> str:
    return entry if " " in entry else f"{entry[:2]}-{entry[2:]}"


def home_with(folder: Path, package: StudentPackage, planted: list[Planted]) -> AgentHome:
    home = AgentHome(folder)
    home.create()
    home.description.write_text(json.dumps({"name": "phone", "family": package.manifest.family}))
    with PrivateStore.create(home) as store:
        install(home, store, package)
        with store.transaction():
            for each in planted:
                add_text(store._database, each.text, observed_at=time.time())
    return home


def questions(planted: Planted, constraints: Constraints, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Contexts and letters that call for what was planted."""
    entry = planted.typed.lower()
    *first, last = entry.split()
    context = " ".join([planted.before, *first]).strip()
    yield context, ""
    for end in (1, 2, len(last) // 2, len(last) - 1, len(last)):
        yield context, last[: max(1, end)]
    place = rng.randrange(max(1, len(last) - 1))
    yield context, last[:place] + last[place + 1 : place + 2] + last[place : place + 1] + last[place + 2 :]
    yield context, last[:place] + last[place + 1 :]
    if first:
        yield planted.before, "".join([*first, last])


def asked(agent: Agent, planted: list[Planted], constraints: Constraints, *, seed: int) -> dict[str, Any]:
    """How many suggestions hold something suppressed, and which entries they are of."""
    rng, plain = random.Random(seed), PlainReader(constraints)
    count, found, milliseconds = 0, Counter[str](), []
    suggestions = 0
    for each in planted:
        for context, letters in questions(each, constraints, rng):
            started = time.perf_counter()
            shown = agent.suggest(context, letters, SUGGESTIONS)
            milliseconds.append(1000 * (time.perf_counter() - started))
            count += 1
            suggestions += len(shown)
            held = plain.holds(context)
            for one in shown:
                entry = plain.holds(one.word)
                entry = entry or ("" if held else plain.holds(f"{context} {one.word}"))
                if entry:
                    found[entry] += 1
    return {
        "questions": count,
        "suggestions": suggestions,
        "suppressed_suggested": found.total(),
        "entries_suggested": len(found),
        "p50_ms": statistics.median(milliseconds),
    }


def among_three(agent: Agent, texts: list[str], constraints: Constraints) -> float:
    """The share of words, not suppressed ones, that are among three suggestions before a letter is typed."""
    right, count, plain = 0, 0, PlainReader(constraints)
    for text in texts:
        words = [token for token in split(text) if is_word(token)]
        for place, word in enumerate(words):
            context = " ".join(words[:place])
            if not plain.holds(f"{context} {word}"):
                count += 1
                right += word in [one.word.lower() for one in agent.suggest(context, "", 3)]
    return right / max(count, 1)


def measured(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    data = load_keyboard()
    public = list(data.public[: arguments.public])
    package = packed(folder, public, epochs=arguments.epochs, words=arguments.words)
    train = [text.replace("\n", " ") for typist in data.typists for text in typist.train]
    held_out = [text.replace("\n", " ") for typist in data.typists[:8] for text in typist.test[:2]]
    listed = WordList.from_json(package.vocabulary or b"")
    inside = {word for _, word in listed.words}
    known = sorted({token for text in public for token in split(text)} - inside)
    lexicon = [word for word in known if word.isalpha() and len(word) > 4]
    constraints = chosen_list(package, train[: arguments.texts], lexicon, seed=arguments.seed)
    planted = planted_texts(constraints, train, count=arguments.texts, seed=arguments.seed)
    probes = random.Random(arguments.seed).sample(planted, min(arguments.probes, len(planted)))
    report: dict[str, Any] = {
        "texts": len(planted),
        "entries": len(constraints.all_words) + len(constraints.all_sequences),
        "parameters": package.manifest.parameter_count,
    }
    for name, carried in (("with the list", constraints), ("without", None)):
        made = replace(package, constraints=None if carried is None else carried.to_json())
        home = home_with(folder / name.replace(" ", "-"), made, planted)
        with Agent.open(home.folder) as agent:
            agent.words("import", [OwnWord(word) for word in (*OWN, *WITH_SEQUENCE, "harbourmaster")])
            options = PersonalizeOptions(
                epochs=1, batch_size=4, learning_rate=1e-3, max_steps=arguments.steps
            )
            learned = agent.personalize(options)
        report[name] = {"learned": learned.result, "steps": learned.steps}
        for precision in precisions_of(made):
            with Agent.open(home.folder, precision=precision) as agent:
                report[name][precision] = asked(agent, probes, constraints, seed=arguments.seed)
                report[name][precision]["among_three"] = among_three(agent, held_out, constraints)
    return report


def precisions_of(package: StudentPackage) -> tuple[Precision, ...]:
    return PRECISIONS if package.int8_graph is not None else PRECISIONS[:1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--texts", type=int, default=1000, help="personal texts that hold suppressed words")
    parser.add_argument("--probes", type=int, default=120, help="planted texts that are asked about")
    parser.add_argument("--public", type=int, default=2000, help="public texts")
    parser.add_argument("--words", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = measured(arguments, Path(folder))
    if arguments.json:
        print(json.dumps(report, indent=1))
        return
    print(f"{report['texts']} personal texts that hold one of {report['entries']} entries each")
    for name in ("with the list", "without"):
        part = report[name]
        print(f"{name}: a learning of {part['steps']} steps: {part['learned']}")
        for precision in PRECISIONS:
            if precision in part:
                each = part[precision]
                print(
                    f"  {precision:8s} {each['suppressed_suggested']:6,d} of {each['suggestions']:,d} "
                    f"suggestions suppressed ({each['entries_suggested']} entries), "
                    f"{each['questions']:,d} questions, p50 {each['p50_ms']:.1f} ms; "
                    f"other words among three {each['among_three']:.1%}"
                )
    leaked = sum(report["with the list"][one]["suppressed_suggested"] for one in precisions_in(report))
    print("the bar: never suggested:", "met" if not leaked else "NOT met")


def precisions_in(report: dict[str, Any]) -> list[Precision]:
    return [each for each in PRECISIONS if each in report["with the list"]]


if __name__ == "__main__":
    main()
