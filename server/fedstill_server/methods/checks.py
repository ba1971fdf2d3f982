"""Whether a fleet's configuration names what there is, and whether that fits together."""

from __future__ import annotations

from typing import Any

from fedstill_proto.errors import FedstillError

from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import FleetConfig, TextConfig
from fedstill_server.config.options import options_of
from fedstill_server.families import (
    ARRAYS,
    FAMILIES,
    TEXT,
    UTTERANCES,
    classifies,
    hears_utterances,
    reads_text,
)
from fedstill_server.methods import array_methods, method_of, noised_methods, text_methods
from fedstill_server.methods.interface import Method, SoftLabelUse
from fedstill_server.privacy.rule import PrivacyRule


def checked_fleet(config: FleetConfig, *, where: str = "") -> FleetConfig:
    """The configuration, if a fleet can be run by it; every reader and maker of one calls this.

    Args:
        config: What is to be checked: the values of a FleetConfig are in themselves.
        where: Begins an error's text, such as "config.json: fleet".

    Raises:
        FedstillError: Naming the setting, its value and what would do.
    """
    try:
        _check(config)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}" if where else str(error)) from None
    except FedstillError as error:
        raise type(error)(f"{where}.{error}") if where else error from None
    return config


def _check(config: FleetConfig) -> None:
    method = method_of(config.method)
    if config.text is not None:
        _check_text(config, config.text, method)
    else:
        _check_arrays(config, method)
    if config.privacy is not None:
        _check_private(config, config.privacy, method)


def _check_arrays(config: FleetConfig, method: Method) -> None:
    known = ", ".join((*FAMILIES.of_task(ARRAYS), *FAMILIES.of_task(UTTERANCES)))
    for family in config.families:
        needed = f"one of {known}, or a size such as mlp-32"
        _require(classifies(family), "families", family, needed)
    needed = f"one of classifiers of arrays: {', '.join(array_methods())}"
    _require(method.reads_arrays, "method", config.method.name, needed)
    if any(map(hears_utterances, config.families)):
        needed = f"of utterances all ({', '.join(FAMILIES.of_task(UTTERANCES))}), or none"
        _require(config.hears_utterances, "families", config.families, needed)
        _check_names(config, method)


def _check_names(config: FleetConfig, method: Method) -> None:
    """The numbers of n-grams are names: no noise on them, and no distance between them."""
    values = {
        f"method.{one.name}": getattr(method, one.name) for one in options_of(type(method)) if one.of_amounts
    }
    for name, value in {"teacher.input_noise": config.teacher.input_noise, **values}.items():
        _require(value == 0, name, value, "0, as a fleet of utterances needs it")


def _check_text(config: FleetConfig, text: TextConfig, method: Method) -> None:
    _require(method.reads_text, "method", config.method.name, f"one of text: {', '.join(text_methods())}")
    for family in config.families:
        needed = f"one of text: {', '.join(FAMILIES.of_task(TEXT))}, or a size such as gru-80-224"
        _require(reads_text(family), "families", family, needed)
    for name in ("uplink", "downlink") if method.soft_labels is not SoftLabelUse.NONE else ():
        codec = getattr(config, name)
        needed = "top-k, or levels with a k, of fewer words than there are, and without a delta"
        _require(codec.kept(config.classes) > 0 and not codec.delta, name, codec, needed)


def _check_private(config: FleetConfig, rule: PrivacyRule, method: Method) -> None:
    """What would go out beside the noised sum is refused, and what nothing accounts for."""
    needed = f"one that differential privacy is there for: {', '.join(noised_methods())}"
    _require(method.default_clip is not None, "method", config.method.name, needed)
    _require(config.mode == "rounds", "mode", config.mode, "rounds, the one that privacy is accounted for")
    if rule.mode == "central" and method.soft_labels is not SoftLabelUse.NONE:
        needed = "one without entropy coding: the length of an answer would tell of its data"
        _require(not config.uplink.entropy, "uplink", config.uplink.encoding.value, needed)


def _require(holds: bool, name: str, value: Any, needed: str) -> None:
    if not holds:
        raise ConfigError(f"{name}: {value!r} is not {needed}")
