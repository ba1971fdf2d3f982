"""Slots of utterances at homes that nobody learned of: how often all of a slot is right, and its value.

    python benchmarks/slots.py [--utterances 6000] [--asked 300] [--seed 1000] [--out slots.json]

A tagger learns marked sentences of Home Assistant's templates, drawn in five languages at homes of public
text. It is measured at other homes: no room, thing, person, item, query or message of theirs is said in what
it learned. F1 is that of exact spans with the right slot (as in CoNLL-2000). Values are those of numbers,
degrees and durations, which the sentences were drawn with; half of them are spelled in words.

    rules       the longest match of names that the home has declared, and the rules for quantities
    tagger      without declared names, and with them as on a device whose owner has declared them

Bar: F1 of at least .9 with declared names, in at most 0.5 M parameters together with the student of intents.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from fedstill_client.model.slots import SlotFinder
from fedstill_proto.text.quantities import QuantityKind
from fedstill_proto.text.slot_words import KnownNames, slot_words
from fedstill_proto.text.slots import HomeNames, SlotKind, SlotSchema, SlotSpan, SlotValue, slot_value
from fedstill_server.tasks.utterances.slots.export import tagger_graph
from fedstill_server.tasks.utterances.slots.invented import MarkedText
from fedstill_server.tasks.utterances.slots.training import SlotPlan, learned_tagger
from fedstill_sim.tasks.utterances.homes import Home, languages
from fedstill_sim.tasks.utterances.slots import SlottedUtterance, other_utterances, public_utterances

BAR = 0.9
INTENT_PARAMETERS = 415_291  # of the family ngrams with 42 intents
MOST_PARAMETERS = 500_000

Asked = list[tuple[SlottedUtterance, Home]]
Find = Callable[[str, HomeNames], Sequence[SlotValue]]


@dataclass
class Score:
    """Counts of slots, by slot and by language."""

    right: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    invented: Counter[str] = field(default_factory=Counter)
    values: int = 0
    right_values: int = 0
    milliseconds: list[float] = field(default_factory=list)

    def add(self, language: str, said: SlottedUtterance, found: Sequence[SlotValue]) -> None:
        wanted = {(span.name, span.begin, span.end) for span in said.spans}
        given = {(slot.name, slot.begin, slot.end) for slot in found}
        for counts, slots in (
            (self.right, wanted & given),
            (self.missed, wanted - given),
            (self.invented, given - wanted),
        ):
            for slot in slots:
                counts.update((slot[0], f"language {language}", "all"))
        for span, value in zip(said.spans, said.values, strict=True):
            if value is not None:
                self.values += 1
                fits = any(
                    (slot.begin, slot.end, slot.value) == (span.begin, span.end, value) for slot in found
                )
                self.right_values += fits

    def f1(self, of: str = "all") -> float:
        right = 2 * self.right[of]
        return right / max(1, right + self.missed[of] + self.invented[of])

    def facts(self) -> dict[str, float]:
        names = sorted({*self.right, *self.missed})
        times = np.percentile(self.milliseconds, [50, 99])
        return {
            **{name: round(self.f1(name), 4) for name in names},
            "values": round(self.right_values / max(1, self.values), 4),
            "median_ms": round(float(times[0]), 3),
            "p99_ms": round(float(times[1]), 3),
        }


def names_of(home: Home) -> HomeNames:
    """All that a home has names for."""
    things = tuple(dict.fromkeys(name for names in home.things.values() for name in names))
    return HomeNames(home.words["area"], things)


def by_rules(schema: SlotSchema, text: str, home: HomeNames) -> list[SlotValue]:
    """The baseline: what is declared, and what rules find."""
    words = slot_words(text, schema, known=KnownNames.of_home(home))
    spans: list[SlotSpan] = []
    for kind, inside in sorted(words.named, key=lambda each: (-len(each[1]), each[0] is SlotKind.NAME)):
        begin, end = words.places[inside.start][0], words.places[inside.stop - 1][1]
        if not any(span.begin < end and begin < span.end for span in spans):
            spans.append(SlotSpan(kind.value, begin, end))
    for quantity in words.quantities:
        name = {QuantityKind.DURATION: "duration", QuantityKind.TEMPERATURE: "temperature"}.get(quantity.kind)
        spans.append(SlotSpan(name or "number", quantity.begin, quantity.end))
    return [slot_value(text, span, home=home, quantities=words.quantities) for span in spans]


def scored(asked: dict[str, Asked], find: Find, *, declared: bool) -> Score:
    score = Score()
    for language, said in asked.items():
        for each, home in said:
            names = names_of(home) if declared else HomeNames()
            find(each.text, names)  # what is made once for a home is not measured
            started = time.perf_counter()
            found = find(each.text, names)
            score.milliseconds.append(1e3 * (time.perf_counter() - started))
            score.add(language, each, found)
    return score


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--utterances", type=int, default=6000, help="of each language, that are learned")
    parser.add_argument("--asked", type=int, default=300, help="of each language, that are measured on")
    parser.add_argument(
        "--seen", type=int, default=SlotPlan().seen, help="utterances that the tagger sees in all"
    )
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    table = [
        MarkedText(each.text, each.spans)
        for language in languages()
        for each in public_utterances(language, options.utterances, seed=options.seed)
    ]
    started = time.process_time()
    plan = SlotPlan(seen=options.seen, seed=options.seed)
    learned = learned_tagger(table, plan=plan)
    seconds = time.process_time() - started
    graph = tagger_graph(learned)
    asked = {each: other_utterances(each, options.asked, seed=options.seed + 1) for each in languages()}
    finders: dict[HomeNames, SlotFinder] = {}

    def tagged(text: str, names: HomeNames) -> Sequence[SlotValue]:
        if names not in finders:
            finders[names] = SlotFinder.of_graph(learned.schema, graph, names)
        return finders[names].slots(text)

    def ruled(text: str, names: HomeNames) -> Sequence[SlotValue]:
        return by_rules(learned.schema, text, names)

    scores = {
        "rules": scored(asked, ruled, declared=False),
        "tagger": scored(asked, tagged, declared=False),
        "rules, names declared": scored(asked, ruled, declared=True),
        "tagger, names declared": scored(asked, tagged, declared=True),
    }
    facts = {name: score.facts() for name, score in scores.items()}
    print(
        f"{len(table)} utterances, {learned.parameter_count:,} parameters, {len(graph) / 1000:.0f} kB; "
        f"learned in {seconds:.0f} s of processor time; {sum(map(len, asked.values()))} asked, "
        f"seed {options.seed}"
    )
    columns = list(facts)
    print(f"{'':14}" + "".join(f"{name:>24}" for name in columns))
    for row in facts["tagger"]:
        digits = 3 if row.endswith("_ms") else 1
        shown = (facts[name].get(row, 0.0) * (1 if digits == 3 else 100) for name in columns)
        unit = "" if digits == 3 else "%"
        print(f"{row:14}" + "".join(f"{value:>{24 - len(unit)}.{digits}f}{unit}" for value in shown))
    together = learned.parameter_count + INTENT_PARAMETERS
    reached = scores["tagger, names declared"].f1()
    verdicts = {
        f"F1 {reached:.3f} at homes that nobody learned of, names declared; bar {BAR}": reached >= BAR,
        f"{together:,} parameters with the intents' {INTENT_PARAMETERS:,}; bar {MOST_PARAMETERS:,}": (
            together <= MOST_PARAMETERS
        ),
    }
    for line, met in verdicts.items():
        print(f"{'MET' if met else 'MISSED'}: {line}")
    if options.out is not None:
        options.out.write_text(json.dumps({"seed": options.seed, "facts": facts}, indent=1) + "\n")


if __name__ == "__main__":
    main()
