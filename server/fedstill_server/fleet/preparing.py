"""Writes what a fleet's run is to do, and trains its teacher and its starting students."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fedstill_proto.messages import Optimizer, TrainingPlan

from fedstill_server.app import CONFIG_FILE
from fedstill_server.checkpoint import RunStore, write_whole
from fedstill_server.config import CohortRule, FleetConfig, TeacherConfig
from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.methods import METHODS, build_method, distils
from fedstill_server.networks import accuracy_of, one_deterministic_thread
from fedstill_server.preparation import prepare
from fedstill_server.public_set import DataError, Examples, load_examples
from fedstill_server.teacher import build_family, build_teacher


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an operator decides; the rest are FleetConfig's defaults."""

    public: Path  # .npz: x [n, *shape], and y [n] if it is labelled
    test: Path | None = None
    families: tuple[str, ...] = ("mlp-small",)
    method: str = "fedstill"
    rounds: int = 20
    classes: int | None = None  # None: as the public labels say
    goal_count: int = 0
    deadline_s: float = 600.0
    epochs: int = 5
    batch_size: int = 16
    learning_rate: float = 0.02
    optimizer: Optimizer = Optimizer.MOMENTUM
    soft_weight: float = 0.35
    temperature: float | None = None  # None: what suits the method, as of the next
    public_batch: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Prepared:
    """How good teacher and students are on the test set; empty without one."""

    config: FleetConfig
    accuracy: dict[str, float]


def prepare_fleet(fleet: FleetFolder, plan: Plan) -> Prepared:
    """Write config.json, copy the data, and commit round 0. Raises FleetError for a fleet that has rounds."""
    store = RunStore(fleet.folder)
    try:
        if store.latest() is not None:
            raise FleetError(
                f"{fleet.folder}: prepared already, and {store.last_round()} rounds done; make another "
                "fleet in a new folder, or let this one go on: fedstill-server up"
            )
        public, config = _configuration(fleet, plan)
        test = _test_set(plan, config)
        for source, name in ((plan.public, config.public_set), (plan.test, config.test_set)):
            if source is not None and name is not None:
                shutil.copyfile(source, fleet.folder / name)
        document = json.dumps({"fleet": config.to_json()}, indent=1) + "\n"
        write_whole(fleet.folder / CONFIG_FILE, document.encode())
        with one_deterministic_thread():
            state = prepare(config, public, build_method(config, public))
            accuracy = {}
            if test is not None and test.y is not None:
                models = {"teacher": build_teacher(config, state.teacher)}
                models |= {name: build_family(config, name, one) for name, one in state.students.items()}
                accuracy = {name: accuracy_of(model, test.x, test.y) for name, model in models.items()}
        store.commit(0, state)
    finally:
        store.close()
    return Prepared(config, accuracy)


def _configuration(fleet: FleetFolder, plan: Plan) -> tuple[Examples, FleetConfig]:
    shape, labels = _shape_and_labels(plan.public)
    classes = plan.classes or (None if labels is None else int(labels.max()) + 1)
    if classes is None:
        raise FleetError(f"{plan.public}: it holds no labels y; say how many classes there are (--classes).")
    public = load_examples(plan.public, input_shape=shape, classes=classes)
    suited = METHODS[plan.method].defaults
    public_batch = suited.public_batch if plan.public_batch is None else plan.public_batch
    training = TrainingPlan(
        epochs=plan.epochs,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        optimizer=plan.optimizer,
        temperature=suited.temperature if plan.temperature is None else plan.temperature,
        soft_weight=plan.soft_weight if distils(plan.method) else 0.0,
        seed=plan.seed,
    )
    config = FleetConfig(
        run=fleet.run,
        method=plan.method,
        rounds=plan.rounds,
        seed=plan.seed,
        families=plan.families,
        classes=classes,
        input_shape=shape,
        public_set="public.npz",
        test_set=None if plan.test is None else "test.npz",
        training=training,
        use_public_labels=public.y is not None,
        start="random" if public.y is None else "distilled",
        cohort=CohortRule(goal_count=plan.goal_count, deadline_s=plan.deadline_s),
        public_batch=min(public_batch, len(public)),
        uplink=suited.uplink,
        teacher=TeacherConfig(round_epochs=suited.round_epochs),
    )
    return public, config


def _test_set(plan: Plan, config: FleetConfig) -> Examples | None:
    if plan.test is None:
        return None
    shape, classes = config.input_shape, config.classes
    return load_examples(plan.test, input_shape=shape, classes=classes, labels_needed=True)


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
