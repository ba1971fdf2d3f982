"""Prepares the next generation of a fleet that is prepared: staged beside the one in force, which goes on.

Whatever nobody asks to be changed is taken over: what was asked before, the public set, and of the newest
state all that has a place in the new one.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fedstill_proto.arrays import Parameters, parameter_specs
from fedstill_proto.package.target_labels import target_kind
from fedstill_proto.system.files import SHARED
from fedstill_proto.system.sealed import read_sealed_json, write_sealed_json

from fedstill_server.config.asked_options import AskedOptions
from fedstill_server.config.codec import ConfigError, to_json
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.config.options import options_of
from fedstill_server.config.run_options import RunOptions
from fedstill_server.data.examples import Examples
from fedstill_server.families import FAMILIES
from fedstill_server.fleet.devices import DeviceRegister
from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.fleet.generation_list import changes_between
from fedstill_server.fleet.generations import (
    FACTS_FILE,
    GENERATIONS,
    Carried,
    GenerationFacts,
    StagedGeneration,
    archive,
    digest_of_file,
    families_of_devices,
    generation_folder,
    known_generations,
    settled,
    spent_rho,
    staged_generation,
)
from fedstill_server.fleet.preparing import facts_of
from fedstill_server.methods import Method, build_method
from fedstill_server.methods.checks import checked_fleet
from fedstill_server.resolve import resolve
from fedstill_server.rounds.run_store import Checkpoint, RunStore
from fedstill_server.run_folder import CONFIG_FILE, read_fleet_config
from fedstill_server.state import FleetState
from fedstill_server.tasks import load_public, load_test, task_of, training_of
from fedstill_server.tasks.interface import FirstStudents, FleetFiles, Material, Progress, Task, untold
from fedstill_server.training.networks import one_deterministic_thread, parameters_of

# What an option that is given takes the place of, beside itself.
_INSTEAD_OF = {
    "epsilon": ("noise_multiplier",),
    "noise_multiplier": ("epsilon",),
    "encoding": ("top_k",),
    "mode": ("buffer", "max_age", "age_exponent"),
    "teacher": ("teacher_trained", "teacher_frozen"),
}
# What only a public set that is read anew can follow.
_OF_PUBLIC = ("normalize", "channels", "target", "task")


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What is asked of the next generation; what is in none of these is taken over.

    Attributes:
        options: Fields of RunOptions by name, but for the method's own options.
        method_options: Those.
        task: Options of the task.
        reading: Fields of ReadOptions.
        public: A public set in place of the one in force.
        test: A test set in place of it; comes with `public`.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    method_options: Mapping[str, Any] = field(default_factory=dict)
    task: Mapping[str, Any] = field(default_factory=dict)
    reading: Mapping[str, Any] = field(default_factory=dict)
    public: Path | None = None
    test: Path | None = None

    def applied(self, before: AskedOptions) -> AskedOptions:
        """What is asked altogether."""
        gone = {name for given in self.options for name in _INSTEAD_OF.get(given, ())} - self.options.keys()
        usual = {one.name: one.default for one in options_of(RunOptions) if one.name in gone}
        same_method = self.options.get("method", before.options.method) == before.options.method
        kept = before.options.method_options if same_method else {}
        options = dataclasses.replace(
            before.options, **{**usual, **self.options}, method_options={**kept, **self.method_options}
        )
        return AskedOptions(options=options, reading=dataclasses.replace(before.reading, **self.reading))


@dataclass(frozen=True, kw_only=True)
class PreparedGeneration:
    """A generation that was staged.

    Attributes:
        staged: The generation.
        changes: What of its configuration is other than before, in words.
        accuracy: Of the teacher and of each student on the test set, empty without one.
        notices: What an operator should know.
    """

    staged: StagedGeneration
    changes: tuple[str, ...]
    accuracy: dict[str, float]
    notices: tuple[str, ...]


def prepare_next(
    fleet: FleetFolder, changes: Changes, *, on_progress: Progress = untold
) -> PreparedGeneration:
    """Stage the next generation; the one in force goes on until `switch_generation`.

    Args:
        fleet: The fleet's folder.
        changes: What is to be other than in the generation in force.
        on_progress: Told of what takes long.

    Raises:
        FleetError: One is staged already, or no device of the fleet could take it.
        ConfigError: Something that is asked cannot be.
    """
    folder = fleet.folder
    if (already := staged_generation(folder)) is not None:
        raise FleetError(
            f"{folder}: generation {already.number} is staged already; publish it (fedstill-server publish), "
            "or give it up: fedstill-server generations --discard"
        )
    with settled(folder):
        before, document = read_fleet_config(folder), read_sealed_json(folder / CONFIG_FILE)
        checkpoint = RunStore(folder).latest()
        public, test = load_public(folder, before), load_test(folder, before)
        spent = spent_rho(folder)
        files = {name: (folder / name).read_bytes() for name in _data_files(folder, before, document)}
        archive(folder, before, document)
    assert checkpoint is not None  # it is prepared
    asked = changes.applied(AskedOptions.of(document, where=str(folder / CONFIG_FILE)))
    made = _material(
        fleet,
        before,
        asked,
        changes,
        Material(
            task=_task(before, changes),
            public=public,
            classes=before.classes,
            teacher=dataclasses.replace(before.teacher, network="", digest="", trained=False, frozen=False),
            files=files,
            test=test,
            input_rule=before.input_rule,
            class_names=before.class_names,
            target=before.target,
            columns=before.columns,
        ),
        on_progress,
    )
    config = _config(fleet, before, asked, made, spent=spent, after_round=checkpoint.round)
    if changes.public is None and before.secret_labels and not config.use_public_labels:
        config = dataclasses.replace(config, secret_labels=before.secret_labels)
    notices = _refuse_strangers(fleet, before, config)
    number = max(before.generation, *known_generations(folder)) + 1
    config = checked_fleet(dataclasses.replace(config, generation=number))
    same_public = changes.public is None or _same_examples(public, made.public)
    with one_deterministic_thread():
        method = build_method(config, made.public)
        remembers = same_public and _same_place(before, config)
        carried, state, better = _state(before, config, made, method, checkpoint, remembers=remembers)
        made = dataclasses.replace(made, files={**made.files, **better})
        accuracy = {}
        if made.test is not None and made.test.y is not None:
            training = training_of(config)
            models = {"teacher": training.teacher(state.teacher)}
            models |= {name: training.student(name, one) for name, one in state.students.items()}
            accuracy = {name: training.accuracy(model, made.test) for name, model in models.items()}
    staged = _write(fleet, config, asked, made, carried, state, spent=spent)
    notice = method.notice(state, round_number=config.begins_after + 1)
    return PreparedGeneration(
        staged=staged,
        changes=changes_between(before, config, same_public=same_public),
        accuracy=accuracy,
        notices=(*notices, *made.notices, *filter(None, [notice])),
    )


def _data_files(folder: Path, config: FleetConfig, document: Mapping[str, Any]) -> Sequence[str]:
    """The names of a fleet's data; an earlier release did not write them down."""
    known = [config.public_set, config.test_set, "vocabulary.json", "intents.json"]
    return document.get("files") or [name for name in known if name and (folder / name).is_file()]


def _task(before: FleetConfig, changes: Changes) -> Task:
    task = task_of(before)
    return dataclasses.replace(task, **changes.task) if changes.task else task


def _material(
    fleet: FleetFolder,
    before: FleetConfig,
    asked: AskedOptions,
    changes: Changes,
    kept: Material,
    on_progress: Progress,
) -> Material:
    """What the generation is made of: what the fleet has, or what its task reads of another public set."""
    if changes.public is None:
        needing = [*changes.task, *changes.reading, *(one for one in changes.options if one in _OF_PUBLIC)]
        if changes.test is not None:
            needing.append("test")
        if needing:
            flag = needing[0].replace("_", "-")
            raise ConfigError(f"--{flag}: belongs to a public set that is read anew; give --public, too")
        return kept
    anew = {"normalize", "channels"} & changes.options.keys()
    made = kept.task.read(
        FleetFiles(
            public=changes.public,
            test=changes.test,
            families=tuple(FAMILIES.named(asked.options.families, where="--families")),
            classes=before.classes,
            folder=fleet.folder,
            seed=asked.options.seed,
            normalize=asked.options.scaling,
            channels=asked.options.channels,
            reading=asked.reading,
            target=target_kind(asked.options.target, where="--target"),
            on_progress=on_progress,
            input_rule=None if anew else before.input_rule,
            columns=before.columns,
        )
    )
    if changes.test is not None or before.test_set is None:
        return made
    if not made.input_rule.reads_as(before.input_rule):
        raise ConfigError("--normalize: the test set was read in another way; give --test, too")
    test_file = {before.test_set: kept.files[before.test_set]}
    return dataclasses.replace(made, test=kept.test, files={**made.files, **test_file})


def _config(
    fleet: FleetFolder,
    before: FleetConfig,
    asked: AskedOptions,
    made: Material,
    *,
    spent: float,
    after_round: int,
) -> FleetConfig:
    families = tuple(FAMILIES.named(asked.options.families, where="--families")) or before.families
    facts = dataclasses.replace(facts_of(fleet.run, families, made), spent_rho=spent)
    config = resolve(asked.options, facts)
    # `generation` follows once it is known that a device can take it.
    return dataclasses.replace(
        config,
        generation=before.generation + 1,
        begins_after=after_round,
        rounds=after_round + config.rounds,
    )


def _refuse_strangers(fleet: FleetFolder, before: FleetConfig, config: FleetConfig) -> list[str]:
    """Refuse what no device could take; gives what an operator should know of the others."""
    for what in ("input_shape", "classes", "class_names", "target"):
        was, now = getattr(before, what), getattr(config, what)
        if was != now:
            raise FleetError(
                f"{what}: {now!r:.200} is not {was!r:.200}, which the examples are of that devices keep; "
                "what learns of others is another fleet: fedstill-server init"
            )
    tables = [one.columns.columns if one.columns else () for one in (before, config)]
    names = [[column.name for column in table] for table in tables]
    if names[0] != names[1]:
        raise FleetError(
            f"columns: {', '.join(names[1])[:200]} are not those that devices keep examples of "
            f"({', '.join(names[0])[:200]}); what learns of others is another fleet: fedstill-server init"
        )
    known, registered = families_of_devices(fleet.folder), DeviceRegister(fleet.devices).all()
    having = {one.name: known[one.name] for one in registered if one.name in known}
    staying = sorted(name for name, family in having.items() if family not in config.families)
    if having and len(staying) == len(having):
        raise FleetError(
            f"families: {', '.join(config.families)}: no registered device has one of these; they have "
            f"{', '.join(sorted(set(having.values())))}"
        )
    if not staying:
        return []
    shown = ", ".join(staying[:5]) + (", ..." if len(staying) > 5 else "")
    return [
        f"{len(staying)} of {len(having)} devices have a family that is left out, and will only answer from "
        f"the package that they have: {shown}"
    ]


def _state(
    before: FleetConfig,
    config: FleetConfig,
    made: Material,
    method: Method,
    checkpoint: Checkpoint,
    *,
    remembers: bool,
) -> tuple[Carried, FleetState, Mapping[str, bytes]]:
    """What the generation begins with, as far as it is known now, and what of it goes on until it begins.

    Last, files of the first students.
    """
    newest, training, teaching = checkpoint.state, training_of(config), made.teaching or made.public
    begun = {family: parameters_of(training.student(family)) for family in config.families}
    students = tuple(family for family, one in begun.items() if _same(one, newest.students.get(family, {})))
    if made.start is not None and made.task.begins_anew(task_of(before)):
        students = ()
    teacher_goes_on = _teacher_of(before) == _teacher_of(config) and (
        not newest.teacher or _same(parameters_of(training.teacher()), newest.teacher)
    )
    first: FirstStudents | None = None
    if made.start is not None and not (teacher_goes_on and len(students) == len(begun)):
        first = made.start()
    if teacher_goes_on:
        teacher = newest.teacher
    else:
        teacher = training.taught_teacher(teaching) if first is None else first.teacher
    knows = config.start == "distilled" or (teacher_goes_on and checkpoint.round > 0)
    for family in begun:
        if family in students:
            begun[family] = newest.students[family]
        elif first is not None:
            begun[family] = first.students[family]
        elif knows:
            begun[family] = training.distilled_student(family, teaching, teacher)
    state = method.start(FleetState(teacher=teacher, students=begun))
    remembers = remembers and len(students) == len(begun)
    remembers = remembers and all(
        name in newest.arrays
        and (newest.arrays[name].shape, newest.arrays[name].dtype) == (array.shape, array.dtype)
        for name, array in state.arrays.items()
    )
    carried = Carried(teacher=teacher_goes_on, students=students, method=remembers)
    return carried, carried.of(newest, state), {} if first is None else first.files


def _same_place(one: FleetConfig, other: FleetConfig) -> bool:
    """Whether what a method remembers under one configuration has a meaning under the other."""
    places = [(each.method.name, each.families, each.use_public_labels) for each in (one, other)]
    return places[0] == places[1]


def _same_examples(one: Examples, other: Examples) -> bool:
    if (one.y is None) != (other.y is None) or not np.array_equal(one.x, other.x):
        return False
    return one.y is None or other.y is None or np.array_equal(one.y, other.y)


def _teacher_of(config: FleetConfig) -> tuple[Any, ...]:
    """What makes the teacher's network another."""
    teacher = config.teacher
    return (teacher.network, teacher.digest, teacher.hidden, teacher.trained, teacher.frozen, config.task)


def _same(one: Parameters, other: Parameters) -> bool:
    return parameter_specs(one) == parameter_specs(other)


def _write(
    fleet: FleetFolder,
    config: FleetConfig,
    asked: AskedOptions,
    made: Material,
    carried: Carried,
    state: FleetState,
    *,
    spent: float,
) -> StagedGeneration:
    """Stage the generation; it is one once its config.json is there."""
    folder = generation_folder(fleet.folder, config.generation)
    for left in (fleet.folder / GENERATIONS).iterdir():
        if left.is_dir() and not (left / CONFIG_FILE).exists():  # of one that was killed while it prepared
            shutil.rmtree(left)
    budget = None
    if config.privacy is not None:
        budget = spent + config.own_rounds * config.privacy.noising.rho
    for name, content in made.files.items():
        fleet.digests.write(folder / name, content, mode=SHARED)
    facts = GenerationFacts(
        prepared_at=time.time(),
        carried=carried,
        public_sha256=digest_of_file(folder / config.public_set),
        budget_rho=budget,
    )
    RunStore(folder).commit(0, state)
    write_sealed_json(folder / FACTS_FILE, to_json(facts))
    document = {"fleet": config.to_json(), "asked": asked.kept(), "files": sorted(made.files)}
    write_sealed_json(folder / CONFIG_FILE, document)
    return StagedGeneration(number=config.generation, folder=folder, config=config, facts=facts)
