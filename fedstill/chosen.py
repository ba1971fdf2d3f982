"""What a program chooses as objects and names, as a configuration names it: students, teacher and method."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fedstill_server.config.choice import Choice
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.options import options_of, values_of
from fedstill_server.families import FAMILIES
from fedstill_server.families.family import family_of, partly_trained
from fedstill_server.families.train_rule import ALL, SEPARATOR, TrainRule
from fedstill_server.methods import METHODS, Method, choice_of, method_of
from fedstill_server.teachers.registry import TEACHERS

from fedstill.models import Student, Teacher

if TYPE_CHECKING:
    from torch import nn

    from fedstill.models import Network

    AnyTeacher = Teacher | Network | nn.Module

AnyMethod = str | Method | type[Method]


def as_students(given: Student | Network | Sequence[Student | Network]) -> tuple[Student, ...]:
    """Students, each named by its object or by the network itself; one need not be in a list."""
    each = given if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
    return tuple(one if isinstance(one, Student) else Student(one) for one in each)


def chosen_method(given: AnyMethod, *, where: str) -> Choice:
    """A method as a configuration names it: with those of its options that differ from their defaults.

    A class that no other process could import is known by its name in this process alone.
    """
    if isinstance(given, str):
        method_of(Choice(name=given), where=where)
        return Choice(name=given)
    kind = given if isinstance(given, type) else type(given)
    if not issubclass(kind, Method):
        raise ConfigError(f"{where}: {given!r} is no method; give a name, or an object of fedstill.methods")
    if METHODS.name_of(kind) is None and importable_place(kind) is None:
        METHODS.register(kind.__name__, kind)
    chosen = choice_of(kind() if isinstance(given, type) else given)
    usual = {option.name: option.default for option in options_of(kind)}
    changed = {name: value for name, value in chosen.options.items() if value != usual[name]}
    return Choice(name=chosen.name, options=changed)


def chosen_teacher(given: AnyTeacher | None) -> dict[str, Any]:
    """The options that name a teacher. One that no other process could import is known in this one alone."""
    if given is None:
        return {}
    teacher = given if isinstance(given, Teacher) else Teacher(given)
    network = teacher.network
    name = network if isinstance(network, str) else importable_place(network)
    if name is None:
        name = f"{teacher.name}-teacher"  # a student family may have the name of the same class
        TEACHERS.register(name, network)
    return {"teacher": name, "teacher_trained": teacher.trained, "teacher_frozen": teacher.frozen}


def chosen_attack(given: object) -> dict[str, Any]:
    """The options that name an attack. One that no other process could import is known in this one alone."""
    if given is None or isinstance(given, str):
        return {}
    from fedstill_sim.attacks.interface import Attack
    from fedstill_sim.attacks.registry import ATTACKS

    kind = given if isinstance(given, type) else type(given)
    if not issubclass(kind, Attack):
        raise ConfigError(f"attack: {given!r} is no attack; give a name, or an object of a class of Attack")
    name = ATTACKS.name_of(kind) or importable_place(kind)
    if name is None:
        name = kind.__name__
        ATTACKS.register(name, kind)
    made = kind() if isinstance(given, type) else given
    usual = {option.name: option.default for option in options_of(kind)}
    changed = {name: value for name, value in values_of(made).items() if value != usual[name]}
    return {"attack": name, "attack_options": tuple(f"{key}={value}" for key, value in changed.items())}


def importable_place(found: object) -> str | None:
    """Return "module:name" if another process finds a class or function there, and None otherwise."""
    module, name = getattr(found, "__module__", ""), getattr(found, "__qualname__", "")
    part: Any = sys.modules.get(module)
    if module == "__main__" or part is None:
        return None
    for step in name.split("."):
        part = getattr(part, step, None)
    return f"{module}:{name}" if part is found else None


def family_of_student(student: Student) -> tuple[str, str]:
    """The family's name, and where one's own lies, unless this process alone knows it."""
    network, train = student.network, str(student.train)
    suffix = "" if train == ALL else f"{SEPARATOR}{train}"
    if isinstance(network, str) and (":" in network or not suffix):
        own = student.name != network.rpartition(":")[2]
        words = f"{student.name}={network}" if own else network
        ((name, place),) = FAMILIES.named([words + suffix], where="students").items()
        return name, place
    lies_at = None if isinstance(network, str) else importable_place(network)
    if lies_at is None:
        found = FAMILIES.load(network, where="students") if isinstance(network, str) else network
        if suffix:
            found = partly_trained(student.name, family_of(found), TrainRule.of(train, where="students"))
        FAMILIES.register(student.name, found)
        return student.name, ""
    FAMILIES.know(student.name, lies_at + suffix, where="students")
    return student.name, lies_at + suffix
