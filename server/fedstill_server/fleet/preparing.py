"""Writes what a fleet's run is to do, and trains its teacher and its starting students.

What the operator's files come to, and what the teacher and the first students learn, is the task's affair.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from fedstill_proto.messages import Optimizer, TrainingPlan
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.system.files import SHARED, replace_file

from fedstill_server.config.fleet import (
    CohortRule,
    FleetConfig,
    TeacherConfig,
)
from fedstill_server.data.forms import Labels
from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.methods import METHODS, build_method, completed, distils, noised_methods
from fedstill_server.methods.checks import checked_fleet
from fedstill_server.privacy.accountant import noise_for_epsilon
from fedstill_server.privacy.rule import PrivacyRule
from fedstill_server.rounds.preparation import prepare
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.run_folder import CONFIG_FILE
from fedstill_server.state import FleetState
from fedstill_server.tasks import TASKS, Task, choice_of, task_for, training_of
from fedstill_server.tasks.interface import FleetFiles, LocalWork, Material, Progress, untold
from fedstill_server.training.networks import one_deterministic_thread


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
        usual = METHODS.load(method).default_clip
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

    Where None stands, it is what suits the method, or the task.
    """

    public: Path  # .npz: x [n, *shape], and y [n] if it is labelled; or what the task reads
    test: Path | None = None
    families: tuple[str, ...] = ("mlp-small",)
    own_families: dict[str, str] = field(default_factory=dict)  # "module:attribute" of those of one's own
    task: Task | None = None  # what the fleet learns; None: what the families are of
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
    teacher: TeacherConfig | None = None
    privacy: PrivacyPlan | None = None
    seed: int = 0

    def work(self, task: Task, *, labelled: bool) -> LocalWork:
        """The local work of a round, with what is not decided filled in. labelled: the public set."""
        usual = task.default_work(labelled=labelled)
        given = {each.name: getattr(self, each.name) for each in fields(usual)}
        return replace(usual, **{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class Prepared:
    """How good teacher and students are on the test set; empty without one."""

    config: FleetConfig
    accuracy: dict[str, float]


def prepare_fleet(fleet: FleetFolder, plan: Plan, *, on_progress: Progress = untold) -> Prepared:
    """Write config.json, copy the data, and commit round 0. Raises FleetError for a fleet that has rounds."""
    store = RunStore(fleet.folder)
    try:
        if store.latest() is not None:
            raise FleetError(
                f"{fleet.folder}: prepared already, and {store.last_round()} rounds done; make another "
                "fleet in a new folder, or let this one go on: fedstill-server up"
            )
        task = plan.task or TASKS.load(task_for(plan.families))()
        made = task.read(
            FleetFiles(
                public=plan.public,
                test=plan.test,
                families=plan.families,
                classes=plan.classes,
                teacher=plan.teacher,
                folder=fleet.folder,
                seed=plan.seed,
                on_progress=on_progress,
            )
        )
        config = _configuration(fleet, plan, made)
        for name, content in made.files.items():
            replace_file(fleet.folder / name, content, mode=SHARED)
        document = json.dumps({"fleet": config.to_json()}, indent=1) + "\n"
        replace_file(fleet.folder / CONFIG_FILE, document.encode(), mode=SHARED)
        with one_deterministic_thread():
            method = build_method(config, made.public)
            if made.start is not None:
                first = made.start()
                state = method.start(FleetState(teacher=first.teacher, students=dict(first.students)))
            else:
                state = prepare(config, made.public, method, teaching=made.teaching)
            accuracy = {}
            if made.test is not None and made.test.y is not None:
                training = training_of(config)
                models = {"teacher": training.teacher(state.teacher)}
                models |= {name: training.student(name, one) for name, one in state.students.items()}
                accuracy = {name: training.accuracy(model, made.test) for name, model in models.items()}
        store.commit(0, state)
    finally:
        store.close()
    return Prepared(config, accuracy)


def _configuration(fleet: FleetFolder, plan: Plan, made: Material) -> FleetConfig:
    method, public, task = plan.method or made.task.default_method, made.public, made.task
    suited, labelled = METHODS.load(method).defaults, public.y is not None
    public_batch = suited.public_batch if plan.public_batch is None else plan.public_batch
    work = plan.work(task, labelled=labelled)
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
    uplink, rule = suited.uplink, None
    if plan.privacy is not None:
        rule = plan.privacy.rule(method, rounds=plan.rounds)
        uplink = replace(uplink, entropy=False, delta=False)  # a length tells of what was coded
    in_places = task.form.labels is Labels.EACH_PLACE
    config = FleetConfig(
        run=fleet.run,
        method=completed(method, {}, of_names=not task.form.amounts),
        rounds=plan.rounds,
        seed=plan.seed,
        families=plan.families,
        own_families=plan.own_families,
        task=choice_of(task),
        classes=made.classes,
        input_shape=public.x.shape[1:],
        public_set="public.npz",
        test_set=None if plan.test is None else "test.npz",
        training=training,
        use_public_labels=labelled,
        start="distilled" if labelled else "random",
        cohort=CohortRule(goal_count=plan.goal_count, deadline_s=plan.deadline_s),
        public_batch=min(public_batch, len(public)),
        uplink=uplink,
        downlink=suited.uplink if in_places else SoftLabelCodec(Encoding.UINT8),
        teacher=replace(plan.teacher or made.teacher, round_epochs=suited.passes(labelled=labelled)),
        privacy=rule,
    )
    return checked_fleet(config)
