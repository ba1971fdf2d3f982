"""What a fleet may learn: one room for each task, behind one interface.

Nothing of torch is imported here, nor by looking at a task's options.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from fedstill_server.config.fleet import ConfigError, FleetConfig, TextConfig
from fedstill_server.data.examples import Examples, load_examples
from fedstill_server.families import FAMILIES
from fedstill_server.plugins import PluginError, Registry
from fedstill_server.tasks.interface import Task

if TYPE_CHECKING:
    from fedstill_server.tasks.training import ServerTraining


def _task_class(found: object) -> type[Task]:
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise PluginError("it is no subclass of fedstill_server.tasks.Task")
    if inspect.isabstract(found):
        raise PluginError(f"a task that lacks {', '.join(sorted(found.__abstractmethods__))}")
    return found


TASKS: Registry[type[Task]] = Registry(
    "task",
    group="fedstill.tasks",
    built_in={
        "arrays": "fedstill_server.tasks.arrays:ArrayTask",
        "text": "fedstill_server.tasks.text.task:TextTask",
        "utterances": "fedstill_server.tasks.utterances.task:UtteranceTask",
    },
    check=_task_class,
)


def task_of(config: FleetConfig) -> Task:
    """What a fleet learns, with its options."""
    if config.text is not None:
        given = asdict(config.text)
        given.pop("teaching_set")
        width = given["teacher_state_width"] or given["teacher_width"]
        return TASKS.load("text")(**{**given, "teacher_state_width": width})
    return TASKS.load(task_for(config.families))()


def text_config(task: Task) -> TextConfig | None:
    """How a configuration says what a fleet learns."""
    known = {one.name for one in fields(task)}
    if not {one.name for one in fields(TextConfig)} - {"teaching_set"} <= known:
        return None
    return TextConfig(
        **{one.name: getattr(task, one.name) for one in fields(TextConfig) if one.name in known}
    )


def task_for(families: Sequence[str]) -> str:
    """The name of the task that all of these families are of.

    Raises:
        UnknownName: For a name that is no family's.
        ConfigError: For families of several tasks.
    """
    FAMILIES.require(families, where="families")
    tasks = {family: FAMILIES.task_of(family) for family in families}
    if len(set(tasks.values())) != 1:
        told = ", ".join(f"{family} ({task})" for family, task in tasks.items())
        raise ConfigError(f"families: {told} are of several tasks; a fleet learns one")
    return tasks[families[0]]


def chosen_task(families: Sequence[str], given: Mapping[str, object]) -> Task:
    """The task of these families, with those options that are given and not None.

    Raises:
        ConfigError: For an option that the task has not.
    """
    name = task_for(families)
    kind = TASKS.load(name)
    known, options = {one.name for one in fields(kind)}, {}
    for option, value in given.items():
        if value is None:
            continue
        if option not in known:
            raise ConfigError(f"{option}: a fleet of {name} has no such option; leave it out")
        options[option] = value
    return kind(**options)


def training_of(config: FleetConfig) -> ServerTraining:
    """How teacher and students of a fleet learn on the server."""
    return task_of(config).training(config)


def load_public(folder: Path, config: FleetConfig) -> Examples:
    """The public set of the run in `folder`."""
    return _examples(folder / config.public_set, config)


def load_test(folder: Path, config: FleetConfig) -> Examples | None:
    """The test set of the run in `folder`, if it has one."""
    if config.test_set is None:
        return None
    return _examples(folder / config.test_set, config, labels_needed=True)


def _examples(path: Path, config: FleetConfig, *, labels_needed: bool = False) -> Examples:
    return load_examples(
        path,
        input_shape=config.input_shape,
        classes=config.classes,
        labels_needed=labels_needed,
        form=task_of(config).form,
    )


__all__ = [
    "TASKS",
    "Task",
    "chosen_task",
    "load_public",
    "load_test",
    "task_for",
    "task_of",
    "text_config",
    "training_of",
]
