"""Publishes the newest students of a fleet's run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedstill_proto.arrays import Parameters
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.task_bounds import TaskBounds

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.config.schedule import Schedule
from fedstill_server.data.examples import Examples
from fedstill_server.methods import build_method
from fedstill_server.publish.constraints import folder_constraints
from fedstill_server.publish.errors import PublishError
from fedstill_server.publish.package import build_package
from fedstill_server.publish.repository import PublishedStudent, Repository
from fedstill_server.publish.statement import statement_of
from fedstill_server.rounds.run_store import RunStore, RunStoreError
from fedstill_server.run_folder import read_fleet_config
from fedstill_server.state import FleetState
from fedstill_server.tasks import load_public, load_test, task_of, training_of


@dataclass(frozen=True, kw_only=True)
class BuiltStudents:
    """Packages of one new version, which nobody is offered yet.

    Attributes:
        packages: One for each family.
        asks: What devices of each family will be asked.
        config: Of the fleet's generation that they belong to.
    """

    packages: tuple[StudentPackage, ...]
    asks: Mapping[str, TaskBounds]
    config: FleetConfig


def publish_students(
    fleet: Path, families: Sequence[str] = (), *, source: Path | None = None
) -> list[PublishedStudent]:
    """Build, sign and offer packages of a fleet's newest students, in one release under one new version.

    Args:
        fleet: The fleet's folder.
        families: Whose packages; none are all of the fleet's.
        source: The folder whose configuration, data and newest state they are of, where that is not the
            fleet's own: that of a staged generation.

    Raises:
        PublishError: The fleet has no such family, or a package cannot be published.
        RunStoreError: The fleet is not prepared.
    """
    built, repository = build_students(fleet, families, source=source), Repository.open(fleet)
    repository.publish(built.packages, asks=built.asks)
    published = repository.published()
    return [published[package.manifest.family] for package in built.packages]


def build_students(
    fleet: Path,
    families: Sequence[str] = (),
    *,
    source: Path | None = None,
    instead: Mapping[str, Parameters] | None = None,
) -> BuiltStudents:
    """Build packages of a fleet's newest students; arguments and errors are those of `publish_students`.

    Args:
        fleet: The fleet's folder.
        families: Whose packages; none are all of the fleet's.
        source: That of a staged generation.
        instead: Weights to take in place of the newest, by family.
    """
    source = source or fleet
    config, repository = read_fleet_config(source), Repository.open(fleet)
    chosen = _chosen(config, families)
    state = newest_state(source)
    students = {**state.students, **(instead or {})}
    public, test, task = load_public(source, config), load_test(source, config), task_of(config)
    method = build_method(config, public)
    most = Schedule.read(fleet, continuous=config.continuous).most_rounds_a_day
    version = repository.next_version()
    held = folder_constraints(fleet).with_named_classes(config.class_names)
    constraints = None if held.is_empty else held.to_json()
    return BuiltStudents(
        packages=tuple(
            build_package(
                config,
                family,
                students[family],
                package_version=version,
                public_x=public.x,
                quality=_quality(config, family, students[family], test),
                files=replace(
                    task.package_files(source, config, family, students[family], test),
                    constraints=constraints,
                ),
                cache=fleet / "server" / "artifacts",
            )
            for family in chosen
        ),
        asks={
            family: statement_of(config, method, state, family, most_rounds_a_day=most) for family in chosen
        },
        config=config,
    )


def newest_state(fleet: Path) -> FleetState:
    """The state after the last committed round; raises RunStoreError before the fleet is prepared."""
    if not RunStore.is_at(fleet):
        raise RunStoreError(f"{fleet}: no students yet; run: fedstill-server prepare {fleet}")
    store = RunStore(fleet)
    try:
        checkpoint = store.latest()
    finally:
        store.close()
    if checkpoint is None:
        raise RunStoreError(f"{fleet}: no students yet; run: fedstill-server prepare {fleet}")
    return checkpoint.state


def _chosen(config: FleetConfig, families: Sequence[str]) -> list[str]:
    for family in families:
        if family not in config.families:
            raise PublishError(
                f"--families: {family!r} is not of this fleet; it has {', '.join(config.families)}."
            )
    return list(dict.fromkeys(families)) or list(config.families)


def _quality(
    config: FleetConfig, family: str, parameters: Parameters, test: Examples | None
) -> dict[str, float]:
    """The accuracy on the test set, which the student never saw."""
    if test is None or test.y is None:
        return {}
    training = training_of(config)
    student = training.student(family, parameters)
    return {"accuracy": training.accuracy(student, test), "test_examples": len(test)}
