"""The methods, by the name that a configuration gives them.

Nothing of torch is imported here, nor by looking at a method's options: names and options are checked within
a fraction of a second.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from fedstill_server.config.choice import Choice
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.config.options import option_named, options_of, values_of
from fedstill_server.data.examples import Examples
from fedstill_server.data.forms import Labels
from fedstill_server.methods.interface import TASK, Method, MethodDefaults, SoftLabelUse
from fedstill_server.plugins import PluginError, Registry


def _method_class(found: object) -> type[Method]:
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise PluginError("it is no subclass of fedstill_server.methods.Method")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise PluginError(f"a method that lacks {missing}")
    try:
        options_of(found)
    except ConfigError as error:
        raise PluginError(str(error)) from None
    return found


# All that anything else knows of a method by its name is in here: its class says the rest.
METHODS: Registry[type[Method]] = Registry(
    "method",
    group="fedstill.methods",
    built_in={
        "fedstill": "fedstill_server.methods.fedstill:Fedstill",
        "auto": "fedstill_server.methods.auto:Auto",
        "local": "fedstill_server.methods.local:Local",
        "public-only": "fedstill_server.methods.public_only:PublicOnly",
        "fedavg": "fedstill_server.methods.fedavg:FedAvg",
        "fedavg-ft": "fedstill_server.methods.fedavg_ft:FedAvgFineTuned",
        "fedadam": "fedstill_server.methods.fedadam:FedAdam",
        "fedprox": "fedstill_server.methods.fedprox:FedProx",
        "scaffold": "fedstill_server.methods.scaffold:Scaffold",
        "fedper": "fedstill_server.methods.fedper:FedPer",
        "fedrep": "fedstill_server.methods.fedrep:FedRep",
        "fedbn": "fedstill_server.methods.fedbn:FedBn",
        "ditto": "fedstill_server.methods.ditto:Ditto",
        "class-logits": "fedstill_server.methods.class_logits:ClassLogits",
        "public-logits": "fedstill_server.methods.public_logits:PublicLogits",
        "fedmd": "fedstill_server.methods.fedmd:FedMD",
        "dsfl": "fedstill_server.methods.dsfl:DsFl",
        "scarlet": "fedstill_server.methods.scarlet:Scarlet",
        "cfd": "fedstill_server.methods.cfd:Cfd",
        "selective": "fedstill_server.methods.selective:Selective",
        "fedproto": "fedstill_server.methods.fedproto:FedProto",
        "fedtgp": "fedstill_server.methods.fedtgp:FedTgp",
        "fedhkd": "fedstill_server.methods.fedhkd:FedHkd",
        "feddf": "fedstill_server.methods.feddf:FedDf",
        "fedgkt": "fedstill_server.methods.fedgkt:FedGkt",
        "next-words": "fedstill_server.methods.next_words:NextWords",
    },
    check=_method_class,
)


def methods_that(hold: Callable[[type[Method]], bool]) -> tuple[str, ...]:
    """The names of the methods of which `hold` is true; an installed one that cannot be imported has none."""
    found = []
    for name in METHODS:
        try:
            if hold(METHODS.load(name)):
                found.append(name)
        except PluginError:
            continue
    return tuple(found)


def methods_for(labels: Labels) -> tuple[str, ...]:
    """The methods of fleets whose examples have their labels there."""
    return methods_that(lambda method: labels in method.label_places)


def noised_methods() -> tuple[str, ...]:
    """The methods that differential privacy is there for."""
    return methods_that(lambda method: method.default_clip is not None)


def distils(name: str) -> bool:
    """Whether devices learn from soft labels under this method."""
    return METHODS.load(name).soft_labels is not SoftLabelUse.NONE


def method_of(choice: Choice, *, where: str = "method") -> Method:
    """The method that a configuration names, with its options, before it knows a fleet.

    Args:
        choice: Its name, and those of its options that are not as by default.
        where: What an error names: an option of a command, or a field.

    Raises:
        UnknownName: For a name that stands for no method, or an option that it has not.
        ConfigError: For a value that an option cannot have.
        PluginError: For a method of one's own that cannot be imported, or is none.
    """
    found = METHODS.load(choice.name, where=where)
    for name in choice.options:
        option_named(found, name, where=f"{where} {choice.name}")
    try:
        return found(**choice.options)
    except ConfigError as error:
        raise ConfigError(f"{where} {choice.name}: {error}") from None


def choice_of(method: Method) -> Choice:
    """How a configuration names a method: with all its options, and its registered name if it has one."""
    kind = type(method)
    name = METHODS.name_of(kind) or f"{kind.__module__}:{kind.__qualname__}"
    return Choice(name=name, options=values_of(method))


def completed(
    name: str,
    given: Mapping[str, Any],
    *,
    of_names: bool = False,
    usual: Mapping[str, Any] | None = None,
    where: str = "method",
) -> Choice:
    """A method with all its options: those that are given, and of the others what suits the fleet.

    Args:
        name: Of the method.
        given: Values of some options, each of which may be a text as on a command line.
        of_names: Whether an example's numbers are names, which have no distance and bear no noise.
        usual: Values that suit the fleet's task, of options that the method may have; None is none.
        where: What begins an error's text.

    Raises:
        FedstillError: As for `method_of`.
    """
    kind = METHODS.load(name)
    values: dict[str, Any] = {one.name: 0 for one in options_of(kind) if of_names and one.of_amounts}
    suited = {key: value for key, value in (usual or {}).items() if value is not None}
    values |= {one.name: suited[one.name] for one in options_of(kind) if one.name in suited}
    try:
        for key, value in given.items():
            values[key] = option_named(kind, key, where=where).read(value)
        return Choice(name=name, options=values_of(kind(**values)))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def with_first_students(method: Choice) -> Choice:
    """The same, for devices without packages: where they go on with their own, a task brings the first.

    Where each round makes a start from soft labels, it matters little what that is made from.
    """
    kind = METHODS.load(method.name)
    if kind.makes_starts:
        return method
    return completed(method.name, {**method.options, "start_from": TASK})


def shared_options(name: str, other: Choice) -> dict[str, Any]:
    """The options of another method which the method `name` declares in the same way."""
    theirs = options_of(METHODS.load(other.name))
    shared = {one.name for one in options_of(METHODS.load(name)) if one in theirs}
    return {key: value for key, value in other.options.items() if key in shared}


def build_method(config: FleetConfig, public: Examples) -> Method:
    """The method of a fleet, bound to it and its public set."""
    return method_of(config.method).bind(config, public)


__all__ = [
    "METHODS",
    "Method",
    "MethodDefaults",
    "SoftLabelUse",
    "build_method",
    "choice_of",
    "completed",
    "distils",
    "method_of",
    "methods_for",
    "methods_that",
    "noised_methods",
    "shared_options",
    "with_first_students",
]
