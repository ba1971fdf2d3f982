"""How well a device's memory finds what is asked for in other words, and what a question takes.

60 notes that a person may keep (paraphrases.json) lie among sentences that are said to a home. Each note is
asked for once, by a question in other words. Prints the share of notes that are the first found (recall@1),
and among the first five (recall@5), with 95 % Wilson intervals: by the student of embeddings in ONNX Runtime,
in float32 and in 8 bits, and by the words alone that question and note share (the cosine of their counts,
each word weighed by how rare it is). Then the milliseconds of a question, and the bytes of a passage.

    python benchmarks/memory.py
    python benchmarks/memory.py --student "hf:minilm?num_hidden_layers=3&answer=embedding" --others 200
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from fedstill_client.agent.agent import Agent
from fedstill_client.agent_types import Precision
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_proto.package.artifact import MANIFEST_FILE, StudentPackage, load_student
from fedstill_proto.text.vocabulary import split
from fedstill_server.export.int8 import quantize_student
from fedstill_server.export.student import export_student
from fedstill_server.families import FAMILIES, initial_parameters
from fedstill_server.hugging_face.opening import open_model
from fedstill_server.publish.weights_apart import with_weights_apart
from fedstill_sim.tasks.utterances.homes import everyones_home
from fedstill_sim.tasks.utterances.sentences import Templates

PAIRS = Path(__file__).with_name("paraphrases.json")
PLACES, FOUND = 32, 5


def package_of_embeddings(student: str) -> StudentPackage:
    """A package that answers with a model's vectors, also in 8 bits; or the one that lies in a folder."""
    if (Path(student) / MANIFEST_FILE).is_file():
        return load_student(Path(student))
    opened = open_model(student)
    assert opened.tokenizer is not None
    name = FAMILIES.named_one(student)
    weights = initial_parameters(name, (PLACES,), opened.classes, 0)
    manifest, graph = export_student(
        family=name, input_shape=(PLACES,), classes=opened.classes, parameters=weights
    )
    tokenizer, subwords = opened.tokenizer.packaged(
        places=PLACES, size=opened.config.vocab_size, answer=opened.kind
    )
    eight_bit = quantize_student(graph, weights)
    assert eight_bit is not None
    manifest = replace(manifest, package_version=1, subwords=subwords, quantized=eight_bit.quantized)
    package = StudentPackage(manifest, graph, weights, int8_graph=eight_bit.graph, tokenizer=tokenizer)
    return with_weights_apart(package)


def sentences(many: int, random: np.random.Generator) -> list[str]:
    """Different sentences that are said to a home."""
    templates, home = Templates.load("en"), everyones_home("en")
    intents = sorted(templates.intents)
    found: dict[str, None] = {}
    while len(found) < many:
        found[templates.say(intents[int(random.integers(len(intents)))], home, random)] = None
    return list(found)


def by_words(texts: Sequence[str], questions: Sequence[str]) -> npt.NDArray[np.float64]:
    """The cosines [questions, texts] of counts of words, each weighed by log(texts / texts that have it)."""
    counted = [Counter(map(str.casefold, split(text))) for text in texts]
    rare = Counter(word for counts in counted for word in counts)
    places = {word: place for place, word in enumerate(rare)}
    weight = np.array([math.log(len(texts) / many) for many in rare.values()])

    def vectors(counts: Sequence[Counter[str]]) -> npt.NDArray[np.float64]:
        found = np.zeros((len(counts), len(places)))
        for row, each in enumerate(counts):
            for word, many in each.items():
                if word in places:
                    found[row, places[word]] = many
        found *= weight
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)

    asked = [Counter(map(str.casefold, split(question))) for question in questions]
    return vectors(asked) @ vectors(counted).T


def report(name: str, ranks: Sequence[int]) -> None:
    """Print recall@1 and recall@5 of the ranks of what was asked for, from 0; FOUND is none of the first."""
    shown = []
    for k in (1, FOUND):
        found = sum(rank < k for rank in ranks)
        low, high = wilson(found, len(ranks))
        shown.append(f"recall@{k} {found / len(ranks):.1%} ({low:.1%} to {high:.1%})")
    print(f"{name:28s} {'   '.join(shown)}", flush=True)


def wilson(found: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    share = found / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return middle - half, middle + half


def by_memory(
    folder: Path, precision: Precision, notes: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> None:
    """Ask the memory of a home for each note, and print what it found and how long it took."""
    with Agent.open(folder, precision=precision) as agent:
        if not agent.memory.facts().memories:
            agent.memory.add(notes)
        agent.memory.ask("warm")  # with another precision, all vectors are made anew
        ranks, milliseconds = [], []
        for note, question in pairs:
            begin = time.perf_counter()
            answer = agent.memory.ask(question, FOUND)
            milliseconds.append((time.perf_counter() - begin) * 1e3)
            texts = [one.memory.text for one in answer.found]
            ranks.append(texts.index(note) if note in texts else FOUND)
        facts = agent.memory.facts()
    report(f"student, {precision}", ranks)
    print(
        f"{'':28s} {statistics.median(milliseconds):.1f} ms a question over {facts.memories} passages, "
        f"{facts.bytes / facts.memories:,.0f} bytes a passage",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--student", default="hf:minilm?answer=embedding", help="a model of Hugging Face, or a package"
    )
    parser.add_argument("--others", type=int, default=1000, help="sentences that lie beside the notes")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    pairs = [(pair["note"], pair["question"]) for pair in json.loads(PAIRS.read_text())["pairs"]]
    random = np.random.default_rng(asked.seed)
    notes = [note for note, _ in pairs] + sentences(asked.others, random)
    print(f"{len(pairs)} questions, {len(notes)} passages, {asked.student}", flush=True)
    cosines = by_words(notes, [question for _, question in pairs])
    order = np.argsort(-cosines, axis=1, kind="stable")
    report("shared words", [int(np.flatnonzero(order[row] == row)[0]) for row in range(len(pairs))])
    with tempfile.TemporaryDirectory() as made:
        home = AgentHome(Path(made) / "home")
        home.create()
        package = package_of_embeddings(asked.student)
        home.description.write_text(json.dumps({"name": "desk", "family": package.manifest.family}))
        with PrivateStore.create(home) as store:
            install(home, store, package)
        for precision in ("float32", "int8"):
            by_memory(home.folder, precision, notes, pairs)


if __name__ == "__main__":
    main()
