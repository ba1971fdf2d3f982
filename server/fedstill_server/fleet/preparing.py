"""Writes what a fleet's run is to do, and trains its teacher and its starting students.

What the operator's files come to, and what the teacher and the first students learn, is the task's affair.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fedstill_proto.package.target_labels import target_kind
from fedstill_proto.system.files import SHARED
from fedstill_proto.system.sealed import write_sealed_json

from fedstill_server.config.asked_options import AskedOptions
from fedstill_server.config.fleet import FleetConfig, TeacherConfig
from fedstill_server.config.reading import ReadOptions
from fedstill_server.config.run_options import RunOptions
from fedstill_server.families import FAMILIES
from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.methods import build_method
from fedstill_server.resolve import FleetFacts, resolve
from fedstill_server.rounds.preparation import prepare
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.run_folder import CONFIG_FILE
from fedstill_server.state import FleetState
from fedstill_server.tasks import TASKS, Task, task_for, training_of
from fedstill_server.tasks.interface import FleetFiles, Material, Progress, untold
from fedstill_server.training.networks import one_deterministic_thread

DEFAULT_FAMILIES = ("mlp-small",)


@dataclass(frozen=True, kw_only=True)
class PublicData:
    """What an operator makes a fleet of.

    Attributes:
        public: The public set: .npz with x [n, *shape], and y [n] if it is labelled; or what the task reads.
        test: The same, to measure on only.
        task: What the fleet learns; None is what the families are of.
        classes: How many there are, where the public set does not say.
        teacher: How the teacher learns; None is what suits the task.
        reading: How tables and pictures are read.
    """

    public: Path
    test: Path | None = None
    task: Task | None = None
    classes: int | None = None
    teacher: TeacherConfig | None = None
    reading: ReadOptions = field(default_factory=ReadOptions)


@dataclass(frozen=True)
class Prepared:
    """How good teacher and students are on the test set, empty without one; what an operator should know."""

    config: FleetConfig
    accuracy: dict[str, float]
    notices: tuple[str, ...]


def prepare_fleet(
    fleet: FleetFolder, asked: RunOptions, given: PublicData, *, on_progress: Progress = untold
) -> Prepared:
    """Write config.json, copy the data, and commit round 0.

    Args:
        fleet: The fleet's folder.
        asked: What its rounds are to do.
        given: What its teacher and first students are made of.
        on_progress: Told of what takes long.

    Raises:
        FleetError: For a fleet that is prepared already.
    """
    families = tuple(FAMILIES.named(asked.families or DEFAULT_FAMILIES, where="--families"))
    store = RunStore(fleet.folder)
    try:
        if store.latest() is not None:
            raise FleetError(
                f"{fleet.folder}: prepared already, and {store.last_round()} rounds done; what changes it is "
                "its next generation"
            )
        task = given.task or TASKS.load(task_for(families))()
        made = task.read(
            FleetFiles(
                public=given.public,
                test=given.test,
                families=families,
                classes=given.classes,
                teacher=given.teacher,
                folder=fleet.folder,
                seed=asked.seed,
                normalize=asked.scaling,
                channels=asked.channels,
                reading=given.reading,
                target=target_kind(asked.target, where="--target"),
                on_progress=on_progress,
            )
        )
        config = resolve(asked, facts_of(fleet.run, families, made, given.teacher))
        for name, content in made.files.items():
            fleet.digests.write(fleet.folder / name, content, mode=SHARED)
        document = {
            "fleet": config.to_json(),
            "asked": AskedOptions(options=asked, reading=given.reading).kept(),
            "files": sorted(made.files),
        }
        write_sealed_json(fleet.folder / CONFIG_FILE, document)
        with one_deterministic_thread():
            method = build_method(config, made.public)
            if made.start is not None:
                first = made.start()
                for name, content in first.files.items():
                    fleet.digests.write(fleet.folder / name, content, mode=SHARED)
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
    notices = (*made.notices, method.notice(state, round_number=1))
    return Prepared(config, accuracy, tuple(filter(None, notices)))


def facts_of(
    run: str, families: tuple[str, ...], made: Material, teacher: TeacherConfig | None = None
) -> FleetFacts:
    """What is known of a fleet whose task has read what the operator gave."""
    return FleetFacts(
        run=run,
        task=made.task,
        families=families,
        classes=made.classes,
        input_shape=made.public.x.shape[1:],
        public_rows=len(made.public),
        labelled=made.public.y is not None,
        public_y=made.public.y,
        public_set="public.npz",
        test_set=None if made.test is None else "test.npz",
        continuous=True,
        teacher=teacher or made.teacher,
        input_rule=made.input_rule,
        class_names=made.class_names,
        columns=made.columns,
        target=made.target,
    )
