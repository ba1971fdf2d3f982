"""What a fleet may learn: one room for each task, behind one interface.

Nothing of torch is imported here, nor by looking at a task's options.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedstill_server.config.choice import Choice, choice_in, chosen
from fedstill_server.config.fleet import ConfigError, FleetConfig
from fedstill_server.config.options import options_of
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
    try:
        options_of(found)
    except ConfigError as error:
        raise PluginError(str(error)) from None
    return found


TASKS: Registry[type[Task]] = Registry(
    "task",
    group="fedstill.tasks",
    built_in={
        "arrays": "fedstill_server.tasks.arrays:ArrayTask",
        "text": "fedstill_server.tasks.text.task:TextTask",
        "utterances": "fedstill_server.tasks.utterances.task:UtteranceTask",
        "subwords": "fedstill_server.tasks.subwords.task:TextClassTask",
        "next-subwords": "fedstill_server.tasks.subwords.next_task:NextTokenTask",
    },
    check=_task_class,
)


def task_of(config: FleetConfig) -> Task:
    """What a fleet learns, with its options."""
    return chosen(TASKS, config.task, where="task")


def choice_of(task: Task) -> Choice:
    """How a configuration names a task, with all its options."""
    return choice_in(TASKS, task)


def label_shape(config: FleetConfig) -> tuple[int, ...]:
    """The shape of one example's labels: () is one class."""
    return config.target.label_shape or task_of(config).form.label_shape(config.input_shape)


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


def chosen_task(name: str, given: Mapping[str, Any]) -> Task:
    """The task of a name, with those options that are given and not None.

    Raises:
        UnknownName: For a name that stands for no task, or an option that it has not.
        ConfigError: For a value that an option cannot have.
    """
    options = {name: value for name, value in given.items() if value is not None}
    return chosen(TASKS, Choice(name=name, options=options), where="task")


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
        target=config.target,
    )


__all__ = [
    "TASKS",
    "Task",
    "choice_of",
    "chosen_task",
    "label_shape",
    "load_public",
    "load_test",
    "task_for",
    "task_of",
    "training_of",
]
