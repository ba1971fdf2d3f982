"""What is asked of a run becomes its configuration: in one place, for the simulator and for real fleets.

What nobody decides is decided here, by what suits the method, the task and the data.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.errors import InvalidValue, unknown_name
from fedstill_proto.messages import Optimizer, TrainingPlan
from fedstill_proto.package.input_rule import InputRule
from fedstill_proto.package.target import SINGLE_LABEL, Target
from fedstill_proto.readers.classes import UNLABELLED
from fedstill_proto.readers.columns import TableColumns
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.codec_spec import parse_codec

from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import AsyncRule, CohortRule, FleetConfig, TeacherConfig
from fedstill_server.config.many_classes import usual_codec
from fedstill_server.config.options import options_of
from fedstill_server.config.run_options import RunOptions
from fedstill_server.config.secret_labels import secret_labels
from fedstill_server.data.forms import Labels
from fedstill_server.families import FAMILIES
from fedstill_server.methods import (
    METHODS,
    Method,
    completed,
    method_of,
    methods_that,
    noised_methods,
    with_first_students,
)
from fedstill_server.methods.checks import checked_fleet
from fedstill_server.privacy.accountant import noise_for_epsilon
from fedstill_server.privacy.rule import PrivacyRule
from fedstill_server.secure_sums.rule import SecureSumsRule
from fedstill_server.tasks import Task, choice_of
from fedstill_server.teachers.registry import ONNX_SUFFIX, black_box, require_network, weights_digest

USUAL_DELTA = 1e-5
# Of the classes that as many labels would name if all classes were as frequent.
_SPEAKS = 0.95
log = logging.getLogger("fedstill.resolve")


@dataclass(frozen=True, kw_only=True)
class FleetFacts:
    """What is known of a fleet beside what is asked of it.

    Attributes:
        run: Its name, 8 hex digits.
        task: What it learns, with its options.
        families: Of its students, those that devices really have.
        classes: How many there are.
        input_shape: Of one example.
        public_rows: Examples of the public set.
        labelled: Whether these have labels.
        public_set: The file of the public set, in the run's folder.
        test_set: The file to measure on, if there is one.
        teacher: How the teacher learns, where nobody decides more.
        rounds: Where nobody says how many.
        evaluate_every: Where nobody says.
        public_y: These labels, of which some may become secret ones.
        simulated: Whether devices are simulated: their noise can be drawn again, and they may count right
            answers for the server under any privacy.
        input_rule: How the public set was made of values as they are given.
        class_names: Of all classes, or none.
        columns: How examples were made of a table's rows, where they are such.
        continuous: Whether rounds go on for ever where nobody says how many, and no privacy is of so many.
        packaged: Whether devices hold packages with the students of before the first round.
        target: What students say of an example.
        spent_rho: What earlier generations of the fleet have cost a device, in zCDP.
    """

    run: str
    task: Task
    families: tuple[str, ...]
    classes: int
    input_shape: tuple[int, ...]
    public_rows: int
    labelled: bool
    public_set: str
    test_set: str | None
    teacher: TeacherConfig
    rounds: int = 20
    evaluate_every: int = 1
    simulated: bool = False
    public_y: npt.NDArray[Any] | None = None
    continuous: bool = False
    packaged: bool = True
    input_rule: InputRule = field(default_factory=InputRule)
    class_names: tuple[str, ...] = ()
    columns: TableColumns | None = None
    target: Target = SINGLE_LABEL
    spent_rho: float = 0.0


def resolve(asked: RunOptions, facts: FleetFacts) -> FleetConfig:
    """The complete, checked configuration of a fleet.

    Args:
        asked: What somebody wants; what is None there is decided here.
        facts: What is known of the fleet.

    Raises:
        FedstillError: For what does not exist, or does not fit together, by its name.
    """
    name = asked.method or facts.task.default_method
    suited = METHODS.load(name, where="--method").defaults
    check_public(name, facts.public_rows)
    of_names = not facts.task.form.amounts or _reads_tokens(facts)
    taught = _taught(asked, facts, name)
    work = facts.task.default_work(labelled=taught)
    usual = {"start_epochs": work.start_epochs}
    method = completed(name, asked.method_options, of_names=of_names, usual=usual, where=f"--set, {name}")
    if not facts.packaged:
        method = with_first_students(method)
    own = FAMILIES.named(asked.families, where="--families")
    rounds = _chosen(asked.rounds, facts.rounds)
    privacy = privacy_rule(asked, name, rounds=rounds, simulated=facts.simulated, spent_rho=facts.spent_rho)
    uplink, downlink = _codecs(asked, facts, method_of(method))
    if not facts.task.form.amounts and (asked.normalize, asked.channels) != ("auto", "auto"):
        raise ConfigError("--normalize and --channels are of amounts; what devices learn here are names")
    rows = method_of(method).rows_of(facts.public_rows)
    teacher = _network(asked, facts)
    config = FleetConfig(
        run=facts.run,
        method=method,
        rounds=rounds,
        seed=asked.seed,
        families=facts.families,
        own_families={each: place for each, place in own.items() if place and each in facts.families},
        task=choice_of(facts.task),
        classes=facts.classes,
        input_shape=facts.input_shape,
        public_set=facts.public_set,
        test_set=facts.test_set,
        training=_training(asked, facts, name, labelled=taught),
        use_public_labels=taught,
        secret_labels=_secret(asked, facts, taught=taught),
        start=_chosen(asked.start, "distilled" if facts.labelled or teacher.get("trained") else "random"),
        mode=asked.mode,
        cohort=_cohort(asked),
        asynchronous=_asynchronous(asked),
        public_batch=min(_chosen(asked.public_batch, suited.public_batch), rows),
        public_targets=_chosen(asked.public_targets, 0),
        uplink=uplink,
        downlink=downlink,
        teacher=replace(
            facts.teacher,
            **teacher,
            device=asked.device,
            round_epochs=_chosen(asked.round_epochs, suited.passes(labelled=taught)),
        ),
        evaluate_every=_chosen(asked.evaluate_every, facts.evaluate_every),
        privacy=privacy,
        continuous=facts.continuous and asked.rounds is None and privacy is None,
        secure_sums=sums_rule(asked, name),
        input_rule=facts.input_rule,
        class_names=facts.class_names,
        columns=facts.columns,
        target=facts.target,
    )
    if notice := facts.input_rule.notice():
        knows = asked.teacher_trained or asked.teacher_frozen or asked.teacher.endswith(ONNX_SUFFIX)
        log.warning("%s%s", notice, "; so does the teacher, which knows its task already" if knows else "")
    return checked_fleet(config)


def _reads_tokens(facts: FleetFacts) -> bool:
    """Whether students look up what they read, so that means of examples, or scaled ones, mean nothing."""
    own = [family for family in facts.families if FAMILIES.is_own(family)]
    if not own:
        return False
    from fedstill_server.families.tokens import tokens_known  # torch takes a second to import

    reading = [family for family in own if tokens_known(family, facts.input_shape, facts.classes)]
    if reading and not facts.input_rule.keeps_scale:
        raise ConfigError(
            f"families: {reading[0]} looks up the numbers that it reads, and examples were scaled; leave "
            "them as they are (--normalize none, or normalize='none' of Fleet.from_arrays)"
        )
    return bool(reading)


def _taught(asked: RunOptions, facts: FleetFacts, method: str) -> bool:
    """Whether the public set's labels are learned.

    Where each round starts from soft labels of public rows, labels that leave classes out teach that these do
    not occur. Unless somebody wants them, rows count as unlabelled if their labels name fewer classes than as
    many labels, drawn of all classes alike, would.
    """
    if not facts.labelled or asked.use_public_labels is not None:
        return facts.labelled and asked.use_public_labels is not False
    of_classes = facts.task.form.amounts and facts.target.is_single
    if facts.public_y is None or not METHODS.load(method).makes_starts or not of_classes:
        return True
    labels = facts.public_y[facts.public_y != UNLABELLED]
    known = len(np.unique(labels))
    usual = facts.classes * (1 - (1 - 1 / facts.classes) ** len(labels))
    if known >= _SPEAKS * usual:
        return True
    log.warning(
        "the public set's labels speak of %d of %d classes and are left out; --use-public-labels learns them",
        known,
        facts.classes,
    )
    return False


def _secret(asked: RunOptions, facts: FleetFacts, *, taught: bool) -> dict[str, int]:
    if asked.secret_labels is None:
        return {}
    if taught:
        raise ConfigError("--secret-labels belongs to --no-public-labels: here everybody learns the labels")
    return secret_labels(
        asked.secret_labels,
        public_y=facts.public_y,
        rows=facts.public_rows,
        classes=facts.classes,
        seed=asked.seed,
    )


def check_public(method: str, rows: int, *, where: str = "--method") -> None:
    """Refuse a method that needs a public set where there is none.

    Args:
        method: The method's name.
        rows: How many public examples there are.
        where: Begins an error's text.

    Raises:
        ConfigError: Naming methods that need none.
    """
    if rows or not METHODS.load(method, where=where).reads_public():
        return
    without = ", ".join(methods_that(lambda kind: not kind.reads_public()))
    raise ConfigError(
        f"{where}: {method!r} needs a public set, and the data have none; bring one, make one of a share of "
        f"the examples (--public-share 0.2), or choose a method without: {without}"
    )


def check_names(asked: RunOptions, methods: Sequence[str]) -> None:
    """Refuse families, methods, and options of methods that are not there, before anything is read.

    Args:
        asked: What somebody wants.
        methods: The methods that it is wanted of; an option has to be one of theirs.

    Raises:
        FedstillError: Naming what is not there, or the value and its limit, with what may be meant.
    """
    FAMILIES.named(asked.families, where="--families")
    if asked.teacher:
        require_network(asked.teacher, where="--teacher")
    kinds = {name: METHODS.load(name, where="--method") for name in methods}
    known = {name: {one.name for one in options_of(kind)} for name, kind in kinds.items()}
    for option in asked.method_options:
        if not any(option in mine for mine in known.values()):
            every = dict.fromkeys(one.name for kind in kinds.values() for one in options_of(kind))
            raise unknown_name(f"--set: option of {', '.join(kinds)}", option, every)
    for name, mine in known.items():
        given = {option: value for option, value in asked.method_options.items() if option in mine}
        completed(name, given, where=f"--set, {name}")


def privacy_rule(
    asked: RunOptions, method: str, *, rounds: int, simulated: bool, spent_rho: float = 0.0
) -> PrivacyRule | None:
    """With the noise that an epsilon needs, if a device is asked in each round.

    A method whose devices send nothing needs none. What earlier rounds have spent is a part of the epsilon.
    """
    if asked.privacy is None:
        return None
    found = METHODS.load(method)
    if found.default_clip is None:
        if not found.exchanges:
            return None
        raise ConfigError(
            f"--method: {method!r} has no differential privacy; those that have it are "
            f"{', '.join(noised_methods())}"
        )
    delta = _chosen(asked.delta, USUAL_DELTA)
    try:
        noise = asked.noise_multiplier
        if asked.epsilon is not None:
            noise = noise_for_epsilon(asked.epsilon, rounds, delta, spent_rho=spent_rho)
        assert noise is not None  # one of the two is there
        return PrivacyRule(
            mode=asked.privacy,
            noise_multiplier=noise,
            clip=_chosen(asked.clip, found.default_clip),
            delta=delta,
            noise_seed=asked.seed if simulated else None,
            measured=simulated,
        )
    except InvalidValue as error:
        raise ConfigError(f"--{error.field.replace('_', '-')}: {error.problem}") from None


def sums_rule(asked: RunOptions, method: str) -> SecureSumsRule | None:
    """How answers are summed; None where the server may see each, or devices send none."""
    if not asked.sums_securely or METHODS.load(method).default_clip is None:
        return None
    usual = SecureSumsRule()
    try:
        return SecureSumsRule(
            group_size=_chosen(asked.sum_group, usual.group_size),
            dropouts=_chosen(asked.sum_dropouts, usual.dropouts),
            fold=_chosen(asked.sum_fold, usual.fold),
        )
    except InvalidValue as error:
        raise ConfigError(f"--sum-{error.field.replace('_size', '')}: {error.problem}") from None


def _training(asked: RunOptions, facts: FleetFacts, method: str, *, labelled: bool) -> TrainingPlan:
    suited = METHODS.load(method).defaults
    work = facts.task.plain_work if suited.plain_steps else facts.task.default_work
    usual = work(labelled=labelled)
    return TrainingPlan(
        epochs=_chosen(asked.epochs, usual.epochs),
        batch_size=_chosen(asked.batch_size, usual.batch_size),
        learning_rate=_chosen(asked.learning_rate, usual.learning_rate * facts.target.pace),
        optimizer=Optimizer(_chosen(asked.optimizer, usual.optimizer.value)),
        temperature=_chosen(asked.temperature, 1.0 if facts.target.is_regression else suited.temperature),
        soft_weight=_chosen(asked.soft_weight, _chosen(usual.soft_weight, suited.soft_weight)),
        seed=asked.seed,
    )


def _codecs(asked: RunOptions, facts: FleetFacts, method: Method) -> tuple[SoftLabelCodec, SoftLabelCodec]:
    """The codecs of the answers and of what a task carries."""
    both = SoftLabelCodec(Encoding(_chosen(asked.encoding, Encoding.UINT8.value)), asked.top_k or 0)
    of_words = facts.task.form.labels is Labels.EACH_PLACE
    suited = facts.task.usual_codec or method.defaults.uplink
    down = method.usual_downlink or both
    if not of_words:
        suited, down = (usual_codec(codec, facts.classes, facts.target) for codec in (suited, down))
    uplink = both if asked.encoding is not None else suited
    if asked.privacy is not None and uplink.entropy:  # a length tells of what was coded
        uplink = replace(uplink, entropy=False, delta=False)
    if asked.uplink is not None:
        uplink = parse_codec(asked.uplink)
    if asked.downlink is not None:
        return uplink, parse_codec(asked.downlink)
    if of_words:
        return uplink, suited
    return uplink, both if asked.encoding is not None else down


def _network(asked: RunOptions, facts: FleetFacts) -> dict[str, Any]:
    """The teacher that is asked for by name, if any is."""
    if not asked.teacher:
        return {}
    require_network(asked.teacher, where="--teacher")
    unlearning = black_box(asked.teacher, facts.input_shape, facts.classes)
    frozen = asked.teacher_frozen or unlearning is not None
    name = str(Path(asked.teacher).absolute()) if asked.teacher.endswith(ONNX_SUFFIX) else asked.teacher
    digest = weights_digest(asked.teacher) if unlearning is None else unlearning.digest
    return {"network": name, "digest": digest, "trained": asked.teacher_trained or frozen, "frozen": frozen}


def _cohort(asked: RunOptions) -> CohortRule:
    rule = CohortRule(
        goal_count=asked.goal_count,
        fraction=_chosen(asked.participation, 0.0),
        over_selection=asked.over_selection,
        select=asked.select,
    )
    return rule if asked.deadline is None else replace(rule, deadline_s=asked.deadline)


def _asynchronous(asked: RunOptions) -> AsyncRule:
    rule = AsyncRule()
    return AsyncRule(
        buffer=_chosen(asked.buffer, rule.buffer),
        max_age=_chosen(asked.max_age, rule.max_age),
        exponent=_chosen(asked.age_exponent, rule.exponent),
    )


def _chosen(value: Any, default: Any) -> Any:
    return default if value is None else value
