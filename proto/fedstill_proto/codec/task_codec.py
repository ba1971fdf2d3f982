"""Tasks to bytes and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedstill_proto.codec.enum_map import (
    KIND_NUMBERS,
    KINDS,
    OPTIMIZER_NUMBERS,
    OPTIMIZERS,
    START_NUMBERS,
    STARTS,
    SUM_NOISE_NUMBERS,
    SUM_NOISES,
)
from fedstill_proto.codec.envelope import open_sealed, seal
from fedstill_proto.codec.public_rows import decode_rows, encode_rows
from fedstill_proto.codec.task_base import base_of_targets
from fedstill_proto.codec.tensors import decode_student, decode_tensors, encode_tensors
from fedstill_proto.codec.told_labels import (
    ToldTables,
    code_against,
    levels_told,
    make_whole,
    table_told,
)
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.generation import FIRST_GENERATION, generation_number
from fedstill_proto.message_pieces import TASK_LIMIT_BYTES
from fedstill_proto.messages import (
    PROTOCOL_VERSION,
    WEIGHT_BITS,
    ClassSoftLabels,
    PersonalPlan,
    PublicSoftLabels,
    RoundTask,
    RowSelection,
    SoftTargets,
    StartPlan,
    SummaryRequest,
    TrainingPlan,
)
from fedstill_proto.privacy.noising import Noising
from fedstill_proto.secure_sums.terms import Summing
from fedstill_proto.soft_labels.base_table import BaseTable
from fedstill_proto.soft_labels.codec import (
    FROM_WIRE,
    GRID_NUMBERS,
    GRIDS,
    TO_WIRE,
    Encoding,
    SoftLabelCodec,
    decode_soft_labels,
    levels_of_message,
    message_of_levels,
)
from fedstill_proto.v1 import fedstill_pb2 as pb


def encode_task(
    task: RoundTask, *, codec: SoftLabelCodec, base_round: int = 0, told: BaseTable | None = None
) -> bytes:
    """Encode a task.

    Args:
        task: The task.
        codec: How its soft targets travel; how the device's answer travels is in the task's request.
        base_round: With a delta in `codec`: a round of which the device knows what it was told.
        told: What that was.
    """
    message = pb.RoundTask(
        protocol_version=PROTOCOL_VERSION,
        run=task.run,
        round=task.round,
        family=task.family,
        training=pb.TrainingPlan(
            epochs=task.training.epochs,
            batch_size=task.training.batch_size,
            learning_rate=task.training.learning_rate,
            optimizer=OPTIMIZER_NUMBERS[task.training.optimizer],
            temperature=task.training.temperature,
            soft_weight=task.training.soft_weight,
            seed=task.training.seed,
            held_out=task.training.held_out,
            proximal=task.training.proximal,
            local_parameters=task.training.local_parameters,
            local_epochs=task.training.local_epochs,
        ),
        parameters=encode_tensors(task.parameters, bits=task.weight_bits),
        replace_student=task.replace_student,
        weight_bits=task.weight_bits,
        control_variates=encode_tensors(task.control_variates, bits=task.weight_bits),
        mixed_rows=task.mixed_rows,
        generation=generation_number(task.generation),
        request=_request(task.request),
    )
    if task.start is not None:
        message.start.source = START_NUMBERS[task.start.source]
        message.start.epochs = task.start.epochs
        message.start.learning_rate = task.start.learning_rate
        message.start.input_noise = task.start.input_noise
    if task.personal is not None:
        message.personal.epochs = task.personal.epochs
        message.personal.soft_weight = task.personal.soft_weight
        message.personal.learning_rate = task.personal.learning_rate
        message.personal.proximal = task.personal.proximal
        message.personal.own = task.personal.own
    targets = task.soft_targets
    if isinstance(targets, PublicSoftLabels):
        _encode_public(targets, codec, message.soft_targets.public_set)
    elif isinstance(targets, ClassSoftLabels):
        message.soft_targets.class_means.present_classes.extend(targets.present_classes.tolist())
        message.soft_targets.class_means.soft_labels.CopyFrom(codec.encode(targets.soft_labels))
    if task.request.codec is not None and task.request.codec.delta and message.HasField("soft_targets"):
        base = base_of_targets(task.request, _decode_targets(message.soft_targets))
        message.request.base = b"" if base is None else base.name()
    if told is not None and codec.delta and isinstance(targets, PublicSoftLabels):
        against = code_against(told, base_round, targets, levels_told(targets, codec))
        if against is not None:
            message.soft_targets.public_set.CopyFrom(against)
    return seal(message)


def decode_task(
    blob: bytes, *, size_limit_bytes: int = TASK_LIMIT_BYTES, told: ToldTables | None = None
) -> RoundTask:
    """Decode a task.

    Args:
        blob: What was received.
        size_limit_bytes: The most bytes that are read at all.
        told: What this side holds of the soft labels of earlier rounds.

    Raises:
        MissingBase: Its soft labels are coded against others than this side holds.
        WireError: This version does not understand it; the error names the field.
    """
    message = open_sealed(blob, pb.RoundTask(), size_limit_bytes=size_limit_bytes)
    make_whole(message, told)
    if message.weight_bits not in WEIGHT_BITS:
        raise WireError("weight_bits", f"{message.weight_bits}, expected one of {WEIGHT_BITS}")
    try:
        return RoundTask(
            run=message.run,
            round=message.round,
            family=message.family,
            training=_decode_training(message.training),
            parameters=decode_student(message.parameters, "parameters", bits=message.weight_bits),
            replace_student=message.replace_student,
            soft_targets=_decode_targets(message.soft_targets) if message.HasField("soft_targets") else None,
            request=_decode_request(message.request),
            start=_decode_start(message.start) if message.HasField("start") else None,
            weight_bits=message.weight_bits,
            control_variates=decode_tensors(
                message.control_variates, "control_variates", bits=message.weight_bits
            ),
            personal=_decode_personal(message.personal) if message.HasField("personal") else None,
            mixed_rows=message.mixed_rows,
            generation=message.generation or FIRST_GENERATION,
        )
    except InvalidValue as error:
        raise WireError(error.field, error.problem) from None


@dataclass(frozen=True, eq=False)
class WholeTask:
    """A task as anybody can decode it, and what it tells of later bases; the rest of it is not decoded."""

    blob: bytes
    run: str
    round: int
    table: BaseTable | None

    @classmethod
    def of(cls, blob: bytes, *, told: ToldTables) -> WholeTask:
        """The task with its soft labels whole; raises as `decode_task` does."""
        message = open_sealed(blob, pb.RoundTask(), size_limit_bytes=TASK_LIMIT_BYTES)
        public = message.soft_targets.public_set
        coded = public.base_round > 0
        make_whole(message, told)
        levels = public.soft_labels.encoding == pb.SOFT_LABEL_ENCODING_LEVELS
        return cls(
            blob=seal(message) if coded else blob,
            run=message.run,
            round=message.round,
            table=table_told(_decode_targets(message.soft_targets)) if levels else None,
        )


def _encode_public(targets: PublicSoftLabels, codec: SoftLabelCodec, into: pb.PublicSoftLabels) -> None:
    encode_rows(targets.public_rows, into)
    if codec.encoding is Encoding.LEVELS:
        labels = message_of_levels(levels_told(targets, codec), entropy=codec.entropy)
    else:
        labels = codec.encode(targets.soft_labels)
    into.soft_labels.CopyFrom(labels)


def _request(request: SummaryRequest) -> pb.SummaryRequest:
    message = pb.SummaryRequest(
        kind=KIND_NUMBERS[request.kind],
        class_counts=request.class_counts,
        anchor_rows=request.anchor_rows.tolist(),
        relative=request.relative,
    )
    encode_rows(request.public_rows, message)
    if request.selection is not None:
        message.selection.least_density_ratio = request.selection.least_density_ratio
        message.selection.most_ambiguity = request.selection.most_ambiguity
    if request.codec is not None:
        message.encoding = TO_WIRE[request.codec.encoding]
        message.k, message.drawn = request.codec.k, request.codec.drawn
    if request.noising is not None:
        message.noising.clip = request.noising.clip
        message.noising.noise_multiplier = request.noising.noise_multiplier
    if request.summing is not None:
        message.summing.noise = SUM_NOISE_NUMBERS[request.summing.noise]
        message.summing.dropouts = request.summing.dropouts
        message.summing.colluders = request.summing.colluders
    message.base_round = request.base_round
    if request.codec is not None and request.codec.encoding is Encoding.DRAWN:
        message.bits = request.codec.bits
    if request.codec is not None and request.codec.encoding is Encoding.LEVELS:
        message.bits = request.codec.bits
        message.grid = GRID_NUMBERS[request.codec.grid]
        message.entropy, message.delta = request.codec.entropy, request.codec.delta
    return message


def _decode_request(message: pb.SummaryRequest) -> SummaryRequest:
    kind = KINDS.get(message.kind)
    if kind is None:
        raise WireError("request.kind", f"unknown value {message.kind}")
    try:
        codec = None
        if message.encoding or message.k:
            encoding = FROM_WIRE.get(message.encoding)
            if encoding is None:
                raise WireError("request.encoding", f"unknown value {message.encoding}")
            codec = _decode_codec(encoding, message)
        elif message.bits or message.grid or message.entropy or message.delta or message.drawn:
            raise WireError("request.bits", "a grid, but no encoding that has one")
        selection = None
        if message.HasField("selection"):
            asked = message.selection
            selection = RowSelection(asked.least_density_ratio, asked.most_ambiguity)
        rows = decode_rows(message, place="request")
        anchors, base_round = np.array(message.anchor_rows, np.int64), message.base_round
        return SummaryRequest(
            kind,
            codec,
            rows,
            message.class_counts,
            selection,
            message.base,
            anchors,
            base_round,
            message.relative,
            _decode_noising(message.noising) if message.HasField("noising") else None,
            _decode_summing(message.summing) if message.HasField("summing") else None,
        )
    except InvalidValue as error:
        raise WireError(f"request.{error.field}", error.problem) from None


def _decode_noising(message: pb.Noising) -> Noising:
    try:
        return Noising(message.clip, message.noise_multiplier)
    except InvalidValue as error:
        raise InvalidValue(f"noising.{error.field}", error.problem) from None


def _decode_summing(message: pb.Summing) -> Summing:
    noise = SUM_NOISES.get(message.noise)
    if noise is None:
        raise InvalidValue("summing.noise", f"unknown value {message.noise}")
    try:
        return Summing(noise=noise, dropouts=message.dropouts, colluders=message.colluders)
    except InvalidValue as error:
        raise InvalidValue(f"summing.{error.field}", error.problem) from None


def _decode_codec(encoding: Encoding, message: pb.SummaryRequest) -> SoftLabelCodec:
    if encoding is Encoding.DRAWN and not (message.grid or message.entropy or message.delta):
        return SoftLabelCodec(encoding, message.k, message.bits, drawn=message.drawn)
    if message.drawn:
        raise WireError("request.drawn", f"{message.drawn}, but {encoding.value} draws none")
    if encoding is not Encoding.LEVELS:
        if message.bits or message.grid or message.entropy or message.delta:
            raise WireError("request.bits", f"a grid for {encoding.value}, which has none")
        return SoftLabelCodec(encoding, message.k)
    grid = GRIDS.get(message.grid)
    if grid is None:
        raise WireError("request.grid", f"unknown value {message.grid}")
    return SoftLabelCodec(encoding, message.k, message.bits, grid, message.entropy, message.delta)


def _decode_training(message: pb.TrainingPlan) -> TrainingPlan:
    optimizer = OPTIMIZERS.get(message.optimizer)
    if optimizer is None:
        raise WireError("training.optimizer", f"unknown value {message.optimizer}")
    try:
        return TrainingPlan(
            epochs=message.epochs,
            batch_size=message.batch_size,
            learning_rate=message.learning_rate,
            optimizer=optimizer,
            temperature=message.temperature,
            soft_weight=message.soft_weight,
            seed=message.seed,
            held_out=message.held_out,
            proximal=message.proximal,
            local_parameters=tuple(message.local_parameters),
            local_epochs=message.local_epochs,
        )
    except InvalidValue as error:
        raise WireError(f"training.{error.field}", error.problem) from None


def _decode_start(message: pb.StartPlan) -> StartPlan:
    source = STARTS.get(message.source)
    if source is None:
        raise WireError("start.source", f"unknown value {message.source}")
    try:
        return StartPlan(
            source=source,
            epochs=message.epochs,
            learning_rate=message.learning_rate,
            input_noise=message.input_noise,
        )
    except InvalidValue as error:
        raise WireError(f"start.{error.field}", error.problem) from None


def _decode_personal(message: pb.PersonalPlan) -> PersonalPlan:
    try:
        return PersonalPlan(
            epochs=message.epochs,
            learning_rate=message.learning_rate,
            soft_weight=message.soft_weight,
            proximal=message.proximal,
            own=message.own,
        )
    except InvalidValue as error:
        raise WireError(f"personal.{error.field}", error.problem) from None


def _decode_targets(message: pb.SoftTargets) -> SoftTargets:
    source = message.WhichOneof("source")
    if source is None:
        raise WireError("soft_targets", "neither public_set nor class_means")
    place = f"soft_targets.{source}"
    try:
        if source == "public_set":
            coded, field = message.public_set.soft_labels, f"{place}.soft_labels"
            rows = decode_rows(message.public_set, place=place)
            if coded.encoding != pb.SOFT_LABEL_ENCODING_LEVELS:
                return PublicSoftLabels(rows, decode_soft_labels(coded, field=field))
            levels = levels_of_message(coded, field=field)
            return PublicSoftLabels(rows, levels.soft_labels(), levels)
        labels = decode_soft_labels(message.class_means.soft_labels, field=f"{place}.soft_labels")
        return ClassSoftLabels(np.array(message.class_means.present_classes, np.int64), labels)
    except InvalidValue as error:
        raise WireError(f"{place}.{error.field}", error.problem) from None
