"""Whether a fleet's configuration names what there is, and whether that fits together."""

from __future__ import annotations

from typing import Any

from fedstill_proto.errors import FedstillError
from fedstill_proto.package.target import TargetKind
from fedstill_proto.soft_labels.codec import Encoding
from fedstill_proto.soft_labels.codec_spec import format_codec

from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.config.options import options_of
from fedstill_server.data.forms import Labels
from fedstill_server.methods import METHODS, method_of, methods_for, methods_that, noised_methods
from fedstill_server.methods.interface import Method, SoftLabelUse
from fedstill_server.privacy.rule import PrivacyRule
from fedstill_server.tasks import Task, task_of


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
    method, task = method_of(config.method), task_of(config)
    task.check(config)
    _check_labels(config, task, method)
    if not config.target.is_single:
        _check_target(config, task, method)
    method.check(config)
    if not task.form.amounts:
        for one in options_of(type(method)):
            if one.of_amounts:
                value, needed = getattr(method, one.name), f"0, as a fleet of {config.task.name} needs it"
                _require(value == 0, f"method.{one.name}", value, needed)
    if config.privacy is not None:
        _check_private(config, config.privacy, method)


def _check_labels(config: FleetConfig, task: Task, method: Method) -> None:
    labels = task.form.labels
    needed = f"one of a fleet of {config.task.name}: {', '.join(methods_for(labels))}"
    _require(labels in method.label_places, "method", config.method.name, needed)
    if labels is Labels.EACH_PLACE and method.soft_labels is not SoftLabelUse.NONE:
        for name in ("uplink", "downlink"):
            codec = getattr(config, name)
            needed = "top-k, or levels with a k, of fewer words than there are, and without a delta"
            _require(codec.kept(config.classes) > 0 and not codec.delta, name, codec, needed)


def check_learns(method: str, kind: TargetKind, *, where: str = "method") -> None:
    """Raise ConfigError, beginning with `where`, for a method whose students cannot say this."""
    if kind not in METHODS.load(method).target_kinds:
        able = methods_that(lambda found: kind in found.target_kinds)
        needed = f"one that learns targets that are {kind.value}; those are {', '.join(able)}"
        raise ConfigError(f"{where}: {method!r} is not {needed}")


def _check_target(config: FleetConfig, task: Task, method: Method) -> None:
    """Refuse what is one of classes alone."""
    kind = config.target.kind
    check_learns(config.method.name, kind)
    plain = task.form.labels is Labels.ONE and task.form.amounts
    _require(
        plain, "target", kind.value, f"one of a fleet of {config.task.name}, whose examples have one class"
    )
    _require(not config.secret_labels, "secret_labels", "labels", f"there for target {kind.value}")
    frozen = config.teacher.frozen
    _require(
        not frozen, "teacher.network", config.teacher.network, "one that learns, as other targets need it"
    )
    if method.soft_labels is SoftLabelUse.NONE:
        return
    for name in ("uplink", "downlink"):
        codec = getattr(config, name)
        gaussian = codec.encoding is Encoding.GAUSSIAN
        if config.target.is_regression:
            _require(gaussian, name, format_codec(codec), "gaussian, as soft labels of numbers travel")
        else:
            needed = "one of all classes without a delta: each label's chance is coded in its own right"
            _require(not (gaussian or codec.k or codec.delta), name, format_codec(codec), needed)
    if config.target.is_regression:
        temperature = config.training.temperature
        _require(temperature == 1, "temperature", temperature, "1: nothing softens a Gaussian")


def _check_private(config: FleetConfig, rule: PrivacyRule, method: Method) -> None:
    """What would go out beside the noised sum is refused, and what nothing accounts for."""
    needed = f"one that differential privacy is there for: {', '.join(noised_methods())}"
    _require(method.default_clip is not None, "method", config.method.name, needed)
    _require(config.mode == "rounds", "mode", config.mode, "rounds, the one that privacy is accounted for")
    if rule.mode == "central" and config.secure_sums is None and method.soft_labels is not SoftLabelUse.NONE:
        needed = "one without entropy coding: the length of an answer would tell of its data"
        _require(not config.uplink.entropy, "uplink", config.uplink.encoding.value, needed)


def _require(holds: bool, name: str, value: Any, needed: str) -> None:
    if not holds:
        raise ConfigError(f"{name}: {value!r} is not {needed}")
