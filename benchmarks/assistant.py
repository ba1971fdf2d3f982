"""What an assistant is worth: a sentence model's knowledge in a student of a quarter of a million numbers.

    python benchmarks/assistant.py

Home Assistant's sentences in five languages. The teacher is MiniLM with a head, trained on the labelled
utterances; students learn the labels alone, or what the teacher and that student say of utterances that
nobody labelled.
Confidence is fitted to a part that none of them learned. All figures are of utterances that are said nowhere
else: in everyone's homes, and on devices, whose owners have names of their own for things. Devices are agents
that observe their owner's utterances and personalize their student.

Training the teacher takes minutes; it and its answers are kept in --cache. Ends with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from fedstill_client.agent.agent import Agent
from fedstill_client.agent_types import PersonalizeOptions
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.package.artifact import (
    FORWARD_FILE,
    INFERENCE_FILE,
    INT8_FILE,
    INTENTS_FILE,
    PARAMETERS_FILE,
    PUBLIC_FILE,
    TRAINING_FILE,
    StudentPackage,
)
from fedstill_server.calibration import calibration
from fedstill_server.publish.package import package_of
from fedstill_server.tasks.interface import PackageFiles
from fedstill_server.tasks.utterances.confidence import PRECISION, Confidence, abstaining, fitted_confidence
from fedstill_server.tasks.utterances.students import (
    BY_LABELS,
    PUBLIC_ROWS,
    IntentPlan,
    IntentStudent,
    distilled,
    mean_answers,
    trained_on_labels,
)
from fedstill_server.tasks.utterances.tables import Unasked, unasked_for
from fedstill_server.tasks.utterances.teacher import TeacherPlan, TrainedTeacher
from fedstill_sim.folder import cache_folder
from fedstill_sim.tasks.text.measures import Change, changed
from fedstill_sim.tasks.utterances.data import Amounts, AssistantData, Speaker, Utterance, load_assistant
from fedstill_sim.tasks.utterances.sentences import NOTHING

RETENTION, FEWER_PARAMETERS, MOST_ECE = 0.97, 40.0, 0.03
HELD_OUT = 100  # utterances of a device: of 20, one more or less is five points
CURVE = [0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95]
HEARD_INTENT = "HassTurnOn"
HEARD = [  # 100
    f"turn on the {thing}{where}{how}"
    for how in ("", " please")
    for where in ("", " in the kitchen", " in the hall", " in the attic", " in the office")
    for thing in ("light", "fan", "lamp", "tv", "heater", "radio", "kettle", "oven", "printer", "pump")
]


@dataclass(frozen=True)
class Parts:
    """Texts and intents of the parts that are measured."""

    languages: tuple[str, ...]  # of each text of `everyone`
    everyone: tuple[Utterance, ...]
    own: tuple[Utterance, ...]  # what devices hold out
    own_languages: tuple[str, ...]

    @classmethod
    def of(cls, data: AssistantData, speaking: Sequence[str]) -> Parts:
        each = len(data.test) // len(speaking)
        own = [(said, speaker.language) for speaker in data.speakers for said in speaker.test]
        return cls(
            tuple(language for language in speaking for _ in range(each)),
            data.test[: each * len(speaking)],
            tuple(said for said, _ in own),
            tuple(language for _, language in own),
        )


def texts(said: Sequence[Utterance]) -> list[str]:
    return [each.text for each in said]


def intents(said: Sequence[Utterance]) -> IntArray:
    return np.array([each.intent for each in said], np.int64)


def accuracy(logits: FloatArray, said: Sequence[Utterance]) -> float:
    return float((logits.argmax(-1) == intents(said)).mean())


def by_language(logits: FloatArray, said: Sequence[Utterance], languages: Sequence[str]) -> dict[str, float]:
    right, spoken = logits.argmax(-1) == intents(said), np.array(languages)
    return {language: float(right[spoken == language].mean()) for language in dict.fromkeys(languages)}


def build(data: AssistantData, student: IntentStudent, confidence: Confidence) -> StudentPackage:
    """Build the student's package as a fleet would publish it."""
    public = np.asarray(student.hashing.encode_all(data.public[:: max(1, len(data.public) // PUBLIC_ROWS)]))
    return package_of(
        student.artifact_options(),
        student.parameters,
        package_version=1,
        public_x=public[:PUBLIC_ROWS].astype(np.float32),
        files=PackageFiles(intents=student.schema(data.intents, confidence).to_json()),
        cache=cache_folder(),
    )


def home_of(folder: Path, package: StudentPackage, name: str) -> AgentHome:
    home = AgentHome(folder)
    home.create()
    home.description.write_text(json.dumps({"name": name, "family": package.manifest.family}))
    with PrivateStore.create(home) as store:
        install(home, store, package)
    return home


@dataclass(frozen=True, eq=False)
class Device:
    """A device, and the confidences [n, intents] of its agent on the utterances that it holds out."""

    name: str
    language: str
    labels: IntArray  # [n]
    published: FloatArray  # by the package's student
    prior: FloatArray  # with what the device knows of how often its owner means what
    personal: FloatArray  # by the student that it personalized, with the prior on top

    def right(self, kind: str) -> float:
        chances: FloatArray = getattr(self, kind)
        return float((chances.argmax(-1) == self.labels).mean())


KINDS = ("published", "prior", "personal")


def live(speaker: Speaker, package: StudentPackage, names: Sequence[str], folder: Path) -> Device:
    """Let a device's agent observe what its owner says, and personalize."""
    with Agent.open(home_of(folder, package, speaker.name).folder) as agent:
        published = chances(agent, speaker.test, names)
        agent.observe_intents([(each.text, names[each.intent]) for each in speaker.train])
        prior = chances(agent, speaker.test, names)
        agent.personalize(PersonalizeOptions(epochs=20))
        personal = chances(agent, speaker.test, names)
    return Device(speaker.name, speaker.language, intents(speaker.test), published, prior, personal)


def chances(agent: Agent, said: Sequence[Utterance], names: Sequence[str]) -> FloatArray:
    """Return an agent's confidences [n, intents] in each intent of utterances."""
    found = np.zeros((len(said), len(names)), np.float32)
    for row, each in enumerate(said):
        for intent in agent.predict_text(each.text, len(names)).intents:
            found[row, names.index(intent.name)] = intent.confidence
    return found


def calibration_error(devices: Sequence[Device], kind: str) -> float:
    """Compute the expected calibration error of all agents' answers."""
    said = np.concatenate([getattr(each, kind) for each in devices])
    labels = np.concatenate([each.labels for each in devices])
    return calibration(np.log(np.maximum(said, 1e-30)), labels).ece


def latencies(package: StudentPackage, said: Sequence[str], folder: Path) -> dict[str, float]:
    """Measure one answer in process, int8, one thread: elapsed and processor time in milliseconds.

    Other programs on the machine do not lengthen the processor time.
    """
    with Agent.open(home_of(folder, package, "clock").folder, precision="int8") as agent:
        agent.predict_text(said[0])  # warm
        took = []
        for text in said:
            began, worked = time.perf_counter(), time.process_time()
            agent.predict_text(text)
            took.append((1e3 * (time.perf_counter() - began), 1e3 * (time.process_time() - worked)))
    elapsed, processor = np.array(took).T
    return {
        f"{kind}_ms_p{percentile}": float(np.percentile(times, percentile))
        for kind, times in (("elapsed", elapsed), ("processor", processor))
        for percentile in (50, 99)
    }


def share(value: float) -> str:
    return f"{value:7.1%}"


def say_change(what: str, change: Change) -> None:
    print(
        f"{what}: {change.mean:+.1%} (95 % interval {change.low:+.1%} to {change.high:+.1%}); "
        f"better by over a point on {change.better:.0%} of devices, worse on {change.worse:.0%}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    speaking = tuple(options.languages.split(","))
    amounts = Amounts(labelled=options.labelled, public=options.public, held_out=options.held_out)
    data = load_assistant(devices=options.devices, seed=options.seed, speaking=speaking, amounts=amounts)
    parts = Parts.of(data, speaking)
    print(f"{data.description}; {len(data.intents)} intents")
    print(
        f"{len(data.labelled)} labelled utterances, {len(data.public)} unlabelled; {len(data.calibration)} "
        f"to fit confidence to; {len(parts.everyone)} and {len(parts.own)} (devices' own) to measure on\n"
    )
    teacher, students = train_students(data, options)
    figures: dict[str, Any] = {}
    student = students["distilled"]
    figures["students"] = compare_accuracy({"teacher": teacher, **students}, parts, speaking)
    right = {name: row["accuracy"] for name, row in figures["students"].items()}
    figures["retention"] = right["distilled"] / right["teacher"]
    figures["times_fewer_parameters"] = teacher.parameter_count / student.parameter_count
    print(
        f"\nthe distilled student keeps {figures['retention']:.1%} of the teacher's accuracy with "
        f"{figures['times_fewer_parameters']:.1f}x fewer parameters"
    )
    confidence = fitted_confidence(
        student.logits(texts(data.calibration)),
        intents(data.calibration),
        nothing=len(data.intents),
        unasked=student.logits(unasked(data, options.seed).held_out),
    )
    figures["confidence"] = measure_confidence(student, confidence, parts)
    with tempfile.TemporaryDirectory(prefix="fs") as place:
        package = build(data, student, confidence)
        figures["package"] = measure_package(package, texts(parts.everyone), Path(place) / "clock")
        figures["devices"] = measure_devices(data, package, Path(place))
        figures["abstention"] = measure_abstention(parts, data.intents, package, Path(place))
    bars = {
        f"the student keeps at least {RETENTION:.0%} of the teacher's accuracy": figures["retention"]
        >= RETENTION,
        f"at least {FEWER_PARAMETERS:g}x fewer parameters": figures["times_fewer_parameters"]
        >= FEWER_PARAMETERS,
        f"calibration error at most {MOST_ECE:.0%} after scaling": figures["confidence"]["ece_after"]
        <= MOST_ECE,
        "as sure of nothing as before whatever is observed (by 1 of 25)": all(
            row["sure_of_nothing"] <= figures["abstention"][0]["sure_of_nothing"] + 1
            for row in figures["abstention"]
        ),
        f"of the sure answers {PRECISION:.0%} are right then": all(
            row["right"] >= PRECISION for row in figures["abstention"]
        ),
    }
    print()
    for bar, holds in bars.items():
        print(f"{'MET' if holds else 'MISSED'}: {bar}")
    if options.json is not None:
        options.json.write_text(json.dumps({**figures, "bars": bars}, indent=1) + "\n")
    return 0 if all(bars.values()) else 1


def unasked(data: AssistantData, seed: int) -> Unasked:
    """What a fleet's server makes for the labelled utterances."""
    said, tested = (
        [(each.text, data.intents[each.intent]) for each in part]
        for part in (data.labelled, data.calibration)
    )
    return unasked_for(said, seed=seed, tested=tested)


def train_students(
    data: AssistantData, options: argparse.Namespace
) -> tuple[TrainedTeacher, dict[str, IntentStudent]]:
    """Train the teacher, and students on its answers and on the labels alone."""
    more = unasked(data, options.seed)
    known = [*texts(data.labelled), *(text for text, _ in more.polite), *more.learned]
    polite = [data.intents.index(name) for _, name in more.polite]
    labels = np.array(
        [*intents(data.labelled).tolist(), *polite, *[len(data.intents)] * len(more.learned)], np.int64
    )
    teacher = TrainedTeacher(
        known,
        labels.tolist(),
        classes=len(data.intents) + 1,
        plan=TeacherPlan(epochs=options.epochs, trained_layers=options.trained_layers, seed=options.seed),
        cache=options.cache,
        on_epoch=lambda epoch, loss: print(f"teacher: epoch {epoch}, loss {loss:.3f}", file=sys.stderr),
    )
    asked, plan = [*known, *data.public], IntentPlan(seed=options.seed)
    by_labels = trained_on_labels(
        "ngrams", known, labels, classes=len(data.intents) + 1, plan=replace(BY_LABELS, seed=options.seed)
    )
    answers = mean_answers(teacher.logits(asked), by_labels.logits(asked))
    return teacher, {
        "labels alone": by_labels,
        "distilled": distilled("ngrams", asked, answers, plan=plan),
        "distilled, small": distilled("ngrams-small", asked, answers, plan=plan),
    }


def compare_accuracy(
    models: Mapping[str, TrainedTeacher | IntentStudent], parts: Parts, speaking: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Measure accuracy in everyone's homes, by language, and on devices."""
    print(f"{'':16}  parameters  everyone   devices   " + "  ".join(f"{each:>5}" for each in speaking))
    rows = {}
    for name, model in models.items():
        logits = model.logits(texts(parts.everyone))
        row = {
            "parameters": model.parameter_count,
            "accuracy": accuracy(logits, parts.everyone),
            "own_accuracy": accuracy(model.logits(texts(parts.own)), parts.own),
            "by_language": by_language(logits, parts.everyone, parts.languages),
        }
        spoken = "  ".join(f"{each:5.1%}" for each in row["by_language"].values())
        right = f"{share(row['accuracy'])}   {share(row['own_accuracy'])}"
        print(f"{name:16}  {row['parameters']:10,}   {right}   {spoken}")
        rows[name] = row
    return rows


def measure_confidence(student: IntentStudent, confidence: Confidence, parts: Parts) -> dict[str, Any]:
    """Measure calibration before and after fitting, and what abstaining is worth."""
    logits, labels = student.logits(texts(parts.everyone)), intents(parts.everyone)
    own_logits, own_labels = student.logits(texts(parts.own)), intents(parts.own)
    scale = confidence.temperature
    before, after = (calibration(logits, labels, temperature=t).ece for t in (1.0, scale))
    own = calibration(own_logits, own_labels, temperature=scale).ece
    print(
        f"\nexpected calibration error {before:.1%} before scaling, {after:.1%} after (temperature "
        f"{scale:.2f}); on devices' own utterances {own:.1%}"
    )
    print(f"sure from {confidence.threshold:.2f} on, where {PRECISION:.0%} are right of what it is fitted to")
    thresholds, nothing = [*CURVE, confidence.threshold], student.classes - 1
    curve = abstaining(logits, labels, temperature=scale, thresholds=thresholds, nothing=nothing)
    own_curve = abstaining(own_logits, own_labels, temperature=scale, thresholds=thresholds, nothing=nothing)
    print("confidence   everyone: answered    right   devices: answered    right")
    for one, other in zip(curve, own_curve, strict=True):
        chosen = "  <- the package's" if one is curve[-1] else ""
        print(
            f"   >= {one.threshold:.2f}             {share(one.coverage)}  {share(one.precision)}"
            f"             {share(other.coverage)}  {share(other.precision)}{chosen}"
        )
    return {
        **vars(confidence),
        "ece_before": before,
        "ece_after": after,
        "own_ece_after": own,
        "abstaining": [vars(point) for point in curve],
        "own_abstaining": [vars(point) for point in own_curve],
    }


def measure_package(package: StudentPackage, said: Sequence[str], place: Path) -> dict[str, Any]:
    """Measure the package's sizes, and how long an answer takes."""
    files = {name: len(content) for name, content in package.contents().items()}
    answering = files[INT8_FILE] + files[INTENTS_FILE]
    training = files[TRAINING_FILE] + files[FORWARD_FILE] + files[PARAMETERS_FILE]
    print(
        f"\npackage: {sum(files.values()) / 1e6:.2f} MB; answering in 8 bits {answering / 1e3:.0f} kB, in "
        f"float32 {files[INFERENCE_FILE] / 1e3:.0f} kB, training {training / 1e3:.0f} kB, public set "
        f"{files[PUBLIC_FILE] / 1e3:.0f} kB"
    )
    took = latencies(package, said, place)
    print(
        f"one answer, 8 bits, one thread, in process, {len(said):,} utterances: elapsed median "
        f"{took['elapsed_ms_p50']:.2f} ms, p99 {took['elapsed_ms_p99']:.2f} ms; of processor time "
        f"{took['processor_ms_p50']:.2f} ms and {took['processor_ms_p99']:.2f} ms"
    )
    return {"bytes": files, "latency": took}


def measure_abstention(
    parts: Parts, names: Sequence[str], package: StudentPackage, place: Path
) -> list[dict[str, float]]:
    """Measure what an agent is sure of that observes ever more of one intent."""
    rows = []
    print(
        f"\nan agent that hears {HEARD[0]!r} and the like     sure of nothing   everyone: answered    right"
    )
    with Agent.open(home_of(place, package, "heard").folder) as agent:
        for observed, learns in ((0, False), (5, False), (5, True), (100, False), (100, True)):
            known = agent.status().training_examples + agent.status().held_out_examples
            agent.observe_intents([(text, HEARD_INTENT) for text in HEARD[known:observed]])
            if learns:
                agent.personalize(PersonalizeOptions(epochs=20))
            answers = [(agent.predict_text(each.text).intent, names[each.intent]) for each in parts.everyone]
            right = [intent == meant for intent, meant in answers if intent is not None]
            row = {
                "observed": observed,
                "personalized": learns,
                "sure_of_nothing": sum(agent.predict_text(text).sure for text in NOTHING),
                "answered": len(right) / len(answers),
                "right": float(np.mean(right)) if right else 1.0,
            }
            how = f"{observed:3} observed{', and personalized' if learns else ''}"
            print(
                f"{how:50} {row['sure_of_nothing']:6} of {len(NOTHING)}            "
                f"{share(row['answered'])}  {share(row['right'])}"
            )
            rows.append(row)
    return rows


def measure_devices(data: AssistantData, package: StudentPackage, place: Path) -> dict[str, Any]:
    """Measure what devices gain by personalizing."""
    devices = [live(speaker, package, data.intents, place / speaker.name) for speaker in data.speakers]
    print("\ndevice      language  published    prior  personal")
    rows = [
        {"name": each.name, "language": each.language, **{kind: each.right(kind) for kind in KINDS}}
        for each in devices
    ]
    for row in rows:
        columns = f"{share(row['published'])}  {share(row['prior'])}   {share(row['personal'])}"
        print(f"{row['name']:12}{row['language']:8}  {columns}")
    published, prior, personal = ([row[kind] for row in rows] for kind in KINDS)
    gained = {
        "prior": changed(published, prior),
        "personal": changed(published, personal),
        "personal_over_prior": changed(prior, personal),
    }
    say_change("\nof the label prior alone", gained["prior"])
    say_change("of personalization and the label prior", gained["personal"])
    say_change("of personalization over the label prior", gained["personal_over_prior"])
    off = {kind: calibration_error(devices, kind) for kind in KINDS}
    print(
        f"calibration error of what agents say: {off['published']:.1%} by the package's student, "
        f"{off['prior']:.1%} with the label prior, {off['personal']:.1%} with both"
    )
    return {"devices": rows, "gained": {name: vars(each) for name, each in gained.items()}, "ece": off}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    usual, plan = Amounts(), TeacherPlan()
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--languages", default="en,de,fr,es,nl")
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--labelled", type=int, default=usual.labelled, help="utterances of each language")
    parser.add_argument("--public", type=int, default=usual.public, help="utterances of each language")
    parser.add_argument("--held-out", type=int, default=HELD_OUT, help="utterances of each device")
    parser.add_argument("--epochs", type=int, default=plan.epochs, help="of the teacher")
    parser.add_argument("--trained-layers", type=int, default=plan.trained_layers, help="of MiniLM's 6")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=cache_folder() / "assistants")
    parser.add_argument("--json", type=Path, help="write the figures there")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
