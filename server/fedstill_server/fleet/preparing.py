"""Writes what a fleet's run is to do, and trains its teacher and its starting students.

Of text, the public set that devices get is a part of the rows of the public texts; the teacher and the first
students learn all of them: as a whole keyboard is made (tasks/text/keyboard.py), or one small network each.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
from fedstill_proto.errors import InvalidValue
from fedstill_proto.messages import Optimizer, TrainingPlan
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.system.files import SHARED, replace_file
from fedstill_proto.text.vocabulary import build_word_list

from fedstill_server.config.device_defaults import LocalWork, usual_work
from fedstill_server.config.fleet import (
    CohortRule,
    FleetConfig,
    TeacherConfig,
    TextConfig,
)
from fedstill_server.data.examples import DataError, Examples, load_examples
from fedstill_server.families import hears_utterances, reads_text
from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.methods import METHODS, build_method, completed, distils, noised_methods
from fedstill_server.methods.checks import checked_fleet
from fedstill_server.privacy.accountant import noise_for_epsilon
from fedstill_server.privacy.rule import PrivacyRule
from fedstill_server.rounds.preparation import prepare
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.rounds.teacher import (
    KEYBOARD_TEACHER,
    build_family,
    build_teacher,
    share_right,
    utterance_teacher,
)
from fedstill_server.run_folder import CONFIG_FILE
from fedstill_server.state import FleetState
from fedstill_server.tasks.text.keyboard import KeyboardPlan, Progress, make_keyboard
from fedstill_server.tasks.text.vocabulary import chosen_rows, read_texts, text_examples
from fedstill_server.tasks.utterances.fleet_start import INTENTS_FILE, TEACHER_FOLDER, read_fleet_utterances
from fedstill_server.tasks.utterances.pipeline import AssistantPlan
from fedstill_server.tasks.utterances.students import IntentPlan
from fedstill_server.tasks.utterances.teacher import TeacherPlan
from fedstill_server.training.networks import one_deterministic_thread, parameters_of


@dataclass(frozen=True, kw_only=True)
class PrivacyPlan:
    """What a fleet promises its devices: an epsilon for all rounds, or the noise of each. None: as usual."""

    mode: str
    epsilon: float | None = None
    noise_multiplier: float | None = None
    clip: float | None = None
    delta: float = 1e-5

    def rule(self, method: str, *, rounds: int) -> PrivacyRule:
        """With the operating system's noise, and no counts of right answers."""
        usual = METHODS.load(method).usual_clip
        if usual is None:
            raise FleetError(
                f"method: {method!r} has no differential privacy; those that have it are "
                f"{', '.join(noised_methods())}"
            )
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise FleetError("privacy: say how private, by one of epsilon and noise_multiplier")
        noise = self.noise_multiplier
        if self.epsilon is not None:
            noise = noise_for_epsilon(self.epsilon, rounds, self.delta)
        assert noise is not None  # one of the two is there
        clip = usual if self.clip is None else self.clip
        return PrivacyRule(mode=self.mode, noise_multiplier=noise, clip=clip, delta=self.delta)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an operator decides; the rest are FleetConfig's defaults.

    Where None stands, it is what suits the method, or students of text.
    """

    public: Path  # .npz: x [n, *shape], and y [n] if it is labelled; of text, a file or a folder of texts
    test: Path | None = None
    families: tuple[str, ...] = ("mlp-small",)
    own_families: dict[str, str] = field(default_factory=dict)  # "module:attribute" of those of one's own
    method: str | None = None
    rounds: int = 20
    classes: int | None = None  # None: as the public labels say
    goal_count: int = 0
    deadline_s: float = 600.0
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    optimizer: Optimizer | None = None
    soft_weight: float | None = None
    temperature: float | None = None
    public_batch: int | None = None
    words: int = 10_000  # of text: entries of the word list, at most
    places: int = 16  # of text: words that a student sees
    public_rows: int = 512  # of text: rows of the public texts that devices get
    step_vocabulary: int = 600  # of text: words that a device's step of training sees
    keyboard: KeyboardPlan | None = None  # of text: how teacher and students are made; None: small and quick
    teacher: TeacherConfig | None = None
    privacy: PrivacyPlan | None = None
    seed: int = 0

    @property
    def is_text(self) -> bool:
        return any(reads_text(family) for family in self.families)

    @property
    def is_assistant(self) -> bool:
        return any(hears_utterances(family) for family in self.families)

    def work(self, *, labelled: bool) -> LocalWork:
        """The local work of a round, with what is not decided filled in. labelled: the public set."""
        usual = usual_work(text=self.is_text, utterances=self.is_assistant, labelled=labelled)
        given = {each.name: getattr(self, each.name) for each in fields(usual)}
        return replace(usual, **{name: value for name, value in given.items() if value is not None})


_TEXT_TEACHER = TeacherConfig(
    epochs=4,
    student_epochs=4,
    learning_rate=2e-3,
    student_learning_rate=2e-3,
    temperature=1.0,
    weight_decay=1e-3,
)


@dataclass(frozen=True)
class Prepared:
    """How good teacher and students are on the test set; empty without one."""

    config: FleetConfig
    accuracy: dict[str, float]


def prepare_fleet(
    fleet: FleetFolder, plan: Plan, *, on_progress: Progress = lambda what, done, total: None
) -> Prepared:
    """Write config.json, copy the data, and commit round 0. Raises FleetError for a fleet that has rounds."""
    store = RunStore(fleet.folder)
    try:
        if store.latest() is not None:
            raise FleetError(
                f"{fleet.folder}: prepared already, and {store.last_round()} rounds done; make another "
                "fleet in a new folder, or let this one go on: fedstill-server up"
            )
        if plan.is_assistant:
            made = _utterances(fleet, plan, on_progress)
        else:
            made = (_text if plan.is_text else _arrays)(fleet, plan)
        config, public, test = made.config, made.public, made.test
        for name, content in made.files.items():
            replace_file(fleet.folder / name, content, mode=SHARED)
        document = json.dumps({"fleet": config.to_json()}, indent=1) + "\n"
        replace_file(fleet.folder / CONFIG_FILE, document.encode(), mode=SHARED)
        with one_deterministic_thread():
            method = build_method(config, public)
            if made.texts and plan.keyboard is not None:
                state = method.start(_keyboard(fleet, plan.keyboard, made.texts, on_progress))
            elif made.start is not None:
                state = method.start(made.start)
            else:
                state = prepare(config, public, method, teaching=made.teaching)
            accuracy = {}
            if test is not None and test.y is not None:
                models = {"teacher": build_teacher(config, state.teacher)}
                models |= {name: build_family(config, name, one) for name, one in state.students.items()}
                accuracy = {name: share_right(config, model, test) for name, model in models.items()}
        store.commit(0, state)
    finally:
        store.close()
    return Prepared(config, accuracy)


@dataclass(frozen=True, kw_only=True)
class _Made:
    """What a plan comes to: the configuration, its data, and the files of the run's folder by name."""

    config: FleetConfig
    public: Examples
    files: dict[str, bytes]
    test: Examples | None = None
    teaching: Examples | None = None
    texts: Sequence[str] = ()
    start: FleetState | None = None  # teacher and students, where they are not to be made of the teaching set


def _keyboard(
    fleet: FleetFolder, plan: KeyboardPlan, texts: Sequence[str], on_progress: Progress
) -> FleetState:
    """Students of the whole teacher; in the rounds its first network stands for it, and goes on learning."""
    made = make_keyboard(texts, plan, fleet.folder / "server" / "keyboard", on_progress=on_progress)
    return FleetState(teacher=parameters_of(made.teacher.networks[0]), students=made.students)


def _arrays(fleet: FleetFolder, plan: Plan) -> _Made:
    """Of a fleet that classifies arrays."""
    shape, labels = _shape_and_labels(plan.public)
    classes = plan.classes or (None if labels is None else int(labels.max()) + 1)
    if classes is None:
        raise FleetError(f"{plan.public}: it holds no labels y; say how many classes there are (--classes).")
    public = load_examples(plan.public, input_shape=shape, classes=classes)
    test = None
    if plan.test is not None:
        test = load_examples(plan.test, input_shape=shape, classes=classes, labels_needed=True)
    config = _configuration(fleet, plan, public, plan.method or "fedstill", classes=classes)
    files = {"public.npz": plan.public.read_bytes()}
    if plan.test is not None:
        files["test.npz"] = plan.test.read_bytes()
    return _Made(config=config, public=public, files=files, test=test)


def _text(fleet: FleetFolder, plan: Plan) -> _Made:
    """Of a fleet of text: a word list of the public texts, and rows of its words."""
    texts = read_texts(plan.public)
    try:
        words = build_word_list(texts, size=plan.words)
    except InvalidValue as error:
        raise FleetError(f"{plan.public}: {error}") from None
    teaching = text_examples(texts, words, places=plan.places)
    if len(teaching) == 0:
        raise FleetError(
            f"{plan.public}: fewer words than a row of {plan.places} and the next; give more text."
        )
    public = chosen_rows(teaching, plan.public_rows, seed=plan.seed)
    files = {
        "vocabulary.json": words.to_json(),
        "public.npz": _npz(public),
        "teaching.npz": _npz(teaching),
    }
    test = None
    if plan.test is not None:
        test = text_examples(read_texts(plan.test), words, places=plan.places)
        if len(test) == 0:
            raise FleetError(f"{plan.test}: fewer words than a row of {plan.places} and the next.")
        files["test.npz"] = _npz(test)
    config = _configuration(fleet, plan, public, plan.method or "next-words", classes=len(words))
    return _Made(config=config, public=public, files=files, test=test, teaching=teaching, texts=texts)


def _utterances(fleet: FleetFolder, plan: Plan, on_progress: Progress) -> _Made:
    """Of an assistant's fleet: what people say, and what they mean."""
    read = read_fleet_utterances(
        plan.public,
        plan.test,
        cache=fleet.folder / "server" / TEACHER_FOLDER,
        plan=AssistantPlan(
            families=plan.families,
            teacher=TeacherPlan(seed=plan.seed),
            distilling=IntentPlan(seed=plan.seed),
            hidden=max((plan.teacher or TeacherConfig()).hidden, default=1),
        ),
        on_progress=on_progress,
    )
    public = chosen_rows(read.teaching, plan.public_rows, seed=plan.seed)
    files = {INTENTS_FILE: read.schema.to_json(), "public.npz": _npz(public)}
    if read.test is not None:
        files["test.npz"] = _npz(read.test)
    classes = len(read.schema.names)
    if plan.teacher is None:
        learned = utterance_teacher(len(read.teaching), made=read.made is not None)
        plan = replace(plan, teacher=learned)
    config = _configuration(fleet, plan, public, plan.method or "fedstill", classes=classes)
    start = None
    if read.made is not None:
        start = FleetState(teacher=read.made.teacher, students=read.made.students)
    return _Made(
        config=config, public=public, files=files, test=read.test, teaching=read.teaching, start=start
    )


def _configuration(
    fleet: FleetFolder, plan: Plan, public: Examples, method: str, *, classes: int
) -> FleetConfig:
    suited, labelled = METHODS.load(method).defaults, public.y is not None
    public_batch = suited.public_batch if plan.public_batch is None else plan.public_batch
    work = plan.work(labelled=labelled)
    soft_weight = suited.soft_weight if work.soft_weight is None else work.soft_weight
    training = TrainingPlan(
        epochs=work.epochs,
        batch_size=work.batch_size,
        learning_rate=work.learning_rate,
        optimizer=work.optimizer,
        temperature=suited.temperature if plan.temperature is None else plan.temperature,
        soft_weight=soft_weight if distils(method) else 0.0,
        seed=plan.seed,
    )
    text = None
    if plan.is_text:
        step = min(plan.step_vocabulary, classes)
        text = TextConfig(teaching_set="teaching.npz", step_vocabulary=step)
        if (made := plan.keyboard) is not None:
            text = replace(text, teacher_width=made.width, teacher_state_width=made.state_width)
    of_text = _TEXT_TEACHER if plan.keyboard is None else KEYBOARD_TEACHER
    uplink, rule = suited.uplink, None
    if plan.privacy is not None:
        rule = plan.privacy.rule(method, rounds=plan.rounds)
        uplink = replace(uplink, entropy=False, delta=False)  # a length tells of what was coded
    teacher = plan.teacher or (TeacherConfig() if text is None else of_text)
    config = FleetConfig(
        run=fleet.run,
        method=completed(method, {}, of_names=plan.is_assistant),
        rounds=plan.rounds,
        seed=plan.seed,
        families=plan.families,
        own_families=plan.own_families,
        classes=classes,
        input_shape=public.x.shape[1:],
        public_set="public.npz",
        test_set=None if plan.test is None else "test.npz",
        training=training,
        use_public_labels=labelled,
        start="distilled" if labelled else "random",
        cohort=CohortRule(goal_count=plan.goal_count, deadline_s=plan.deadline_s),
        public_batch=min(public_batch, len(public)),
        uplink=uplink,
        downlink=suited.uplink if text is not None else SoftLabelCodec(Encoding.UINT8),
        teacher=replace(teacher, round_epochs=suited.passes(labelled=labelled)),
        text=text,
        privacy=rule,
    )
    return checked_fleet(config)


def _npz(examples: Examples) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=examples.x, y=np.asarray(examples.y))
    return buffer.getvalue()


def _shape_and_labels(path: Path) -> tuple[tuple[int, ...], np.ndarray | None]:
    """The shape of one example, and the labels, before either is checked."""
    try:
        with np.load(path, allow_pickle=False) as file:
            x = file["x"]
            labels = np.asarray(file["y"]) if "y" in file.files else None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not an .npz file with an array x ({error})") from None
    if x.ndim < 2 or (labels is not None and not labels.size):
        raise DataError(f"{path}: x has shape {list(x.shape)}, expected [n, *shape of an example]")
    return x.shape[1:], labels
