"""Tasks and summaries to bytes and back.

A message is its protobuf serialization, whose last field is the CRC-32 of all bytes before it (see the contract).
Decoding checks in this order: size, checksum, protobuf, unknown fields, version, then every field; it raises WireError
with the field's name and nothing else. What is proved of bytes that are not what was encoded: any change within 32
neighbouring bits is refused (a property of CRC-32), any other accident passes once in 2**32, and a sender who computes a
fitting checksum gets as far as the checks of the values.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError

from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.messages import (
    MAX_RANK,
    PROTOCOL_VERSION,
    ClassSoftLabels,
    Optimizer,
    Parameters,
    ParameterSpec,
    PrivateStatistics,
    PublicSoftLabels,
    RoundTask,
    SoftLabelSummary,
    SoftTargets,
    SummaryKind,
    SummaryRequest,
    TrainingPlan,
    check_name,
)
from fedstill_proto.soft_labels import (
    FROM_WIRE,
    TO_WIRE,
    Encoding,
    FloatArray,
    IntArray,
    SoftLabelCodec,
    decode_soft_labels,
)
from fedstill_proto.v1 import fedstill_pb2 as pb

TASK_LIMIT_BYTES = 256 << 20

_CHECKSUM_TAG = b"\x7d"  # field 15, four bytes
_CHECKSUM_BYTES = 5

_KINDS: dict[SummaryKind, pb.SummaryKind] = {
    SummaryKind.NONE: pb.SUMMARY_KIND_NONE,
    SummaryKind.PUBLIC_SET: pb.SUMMARY_KIND_PUBLIC_SET,
    SummaryKind.CLASS_MEANS: pb.SUMMARY_KIND_CLASS_MEANS,
    SummaryKind.PARAMETERS: pb.SUMMARY_KIND_PARAMETERS,
}
_KINDS_FROM_WIRE: dict[int, SummaryKind] = {int(number): kind for kind, number in _KINDS.items()}
OPTIMIZERS: dict[Optimizer, pb.Optimizer] = {
    Optimizer.SGD: pb.OPTIMIZER_SGD,
    Optimizer.MOMENTUM: pb.OPTIMIZER_MOMENTUM,
    Optimizer.ADAMW: pb.OPTIMIZER_ADAMW,
}
OPTIMIZERS_FROM_WIRE: dict[int, Optimizer] = {
    int(number): optimizer for optimizer, number in OPTIMIZERS.items()
}


@dataclass(frozen=True)
class Expected:
    """What a device's summary must be: the gate's view of the task that asked for it."""

    run: str
    round: int
    family: str
    kind: SummaryKind
    classes: int
    codec: SoftLabelCodec | None = None
    rows: int = 0  # PUBLIC_SET only
    parameters: tuple[ParameterSpec, ...] = ()  # PARAMETERS only

    @classmethod
    def of(
        cls,
        task: RoundTask,
        classes: int,
        parameter_specs: Iterable[ParameterSpec] | Mapping[str, FloatArray] = (),
    ) -> Expected:
        """What `task` asks of a student with these classes and parameters."""
        if isinstance(parameter_specs, Mapping):
            parameter_specs = (ParameterSpec(name, array.shape) for name, array in parameter_specs.items())
        asks_parameters = task.request.kind is SummaryKind.PARAMETERS
        return cls(
            run=task.run,
            round=task.round,
            family=task.family,
            kind=task.request.kind,
            classes=classes,
            codec=task.request.codec,
            rows=len(task.request.public_rows),
            parameters=tuple(parameter_specs) if asks_parameters else (),
        )

    @property
    def size_limit_bytes(self) -> int:
        """More than any good summary takes: each label at float32 width, each count as a full varint."""
        rows = self.classes if self.kind is SummaryKind.CLASS_MEANS else self.rows
        labels = rows * (self.classes * 4 if self.codec is not None else 0) + rows * 5 * 2 + rows * 8
        parameters = sum(4 * spec.size + len(spec.name) + 8 * MAX_RANK + 32 for spec in self.parameters)
        return 1024 + labels + parameters


def encode_task(task: RoundTask, *, codec: SoftLabelCodec) -> bytes:
    """`codec` is how the soft targets travel; what the device answers with is in the task's request."""
    message = pb.RoundTask(
        protocol_version=PROTOCOL_VERSION,
        run=task.run,
        round=task.round,
        family=task.family,
        training=pb.TrainingPlan(
            epochs=task.training.epochs,
            batch_size=task.training.batch_size,
            learning_rate=task.training.learning_rate,
            optimizer=OPTIMIZERS[task.training.optimizer],
            temperature=task.training.temperature,
            soft_weight=task.training.soft_weight,
            seed=task.training.seed,
        ),
        parameters=_tensors(task.parameters),
        replace_student=task.replace_student,
        request=_request(task.request),
    )
    targets = task.soft_targets
    if isinstance(targets, PublicSoftLabels):
        message.soft_targets.public_set.public_rows.extend(targets.public_rows.tolist())
        message.soft_targets.public_set.soft_labels.CopyFrom(codec.encode(targets.soft_labels))
    elif isinstance(targets, ClassSoftLabels):
        message.soft_targets.class_means.present_classes.extend(targets.present_classes.tolist())
        message.soft_targets.class_means.soft_labels.CopyFrom(codec.encode(targets.soft_labels))
    return _seal(message)


def decode_task(blob: bytes, *, size_limit_bytes: int = TASK_LIMIT_BYTES) -> RoundTask:
    """Raises WireError, naming the field, unless `blob` is a task that this version understands."""
    message = _open(blob, pb.RoundTask(), size_limit_bytes=size_limit_bytes)
    try:
        return RoundTask(
            run=message.run,
            round=message.round,
            family=message.family,
            training=_decode_training(message.training),
            parameters=_decode_tensors(message.parameters, "parameters"),
            replace_student=message.replace_student,
            soft_targets=_decode_targets(message.soft_targets) if message.HasField("soft_targets") else None,
            request=_decode_request(message.request),
        )
    except InvalidValue as error:
        raise WireError(error.field, error.problem) from None


def encode_summary(summary: SoftLabelSummary, *, codec: SoftLabelCodec | None) -> bytes:
    """`codec` is the one of the task's request; None where the summary holds no soft labels."""
    statistics = summary.statistics
    message = pb.SoftLabelSummary(
        protocol_version=PROTOCOL_VERSION,
        run=summary.run,
        round=summary.round,
        family=summary.family,
        kind=_KINDS[summary.kind],
        statistics=pb.PrivateStatistics(
            soft_labels=_labels(summary, codec),
            present_classes=statistics.present_classes.tolist(),
            class_examples=statistics.class_examples.tolist(),
            parameters=_tensors(statistics.parameters),
            examples=statistics.examples,
        ),
    )
    return _seal(message)


def decode_summary(blob: bytes, *, expected: Expected) -> SoftLabelSummary:
    """Raises WireError, naming the field, unless `blob` is the summary that was asked for."""
    message = _open(blob, pb.SoftLabelSummary(), size_limit_bytes=expected.size_limit_bytes)
    if message.run != expected.run:
        raise WireError("run", f"{message.run[:64]!r}, expected {expected.run!r}")
    if message.round != expected.round:
        raise WireError("round", f"{message.round}, expected {expected.round}")
    if message.family != expected.family:
        raise WireError("family", f"{message.family[:64]!r}, expected {expected.family!r}")
    kind = _KINDS_FROM_WIRE.get(message.kind)
    if kind is not expected.kind:
        raise WireError("kind", f"{kind.value if kind else message.kind}, expected {expected.kind.value}")
    try:
        statistics = _decode_statistics(message.statistics, expected)
        return SoftLabelSummary(message.run, message.round, message.family, kind, statistics)
    except InvalidValue as error:
        raise WireError(error.field, error.problem) from None


def _decode_statistics(message: pb.PrivateStatistics, expected: Expected) -> PrivateStatistics:
    labels = None
    if message.HasField("soft_labels") and expected.codec is not None:
        place = "statistics.soft_labels"
        _check_codec(message.soft_labels, expected)
        rows = expected.rows if expected.kind is SummaryKind.PUBLIC_SET else len(message.present_classes)
        labels = decode_soft_labels(message.soft_labels, field=place, rows=rows, classes=expected.classes)
    elif message.HasField("soft_labels"):
        raise WireError("statistics.soft_labels", f"present in a summary of kind {expected.kind.value!r}")
    parameters = _decode_tensors(message.parameters, "statistics.parameters")
    got = tuple(ParameterSpec(name, array.shape) for name, array in parameters.items())
    if got != expected.parameters:
        raise WireError("statistics.parameters", _difference(got, expected.parameters))
    try:
        return PrivateStatistics(
            soft_labels=labels,
            present_classes=_integers(message.present_classes),
            class_examples=_integers(message.class_examples),
            parameters=parameters,
            examples=message.examples,
        )
    except InvalidValue as error:
        raise WireError(f"statistics.{error.field}", error.problem) from None


def _check_codec(labels: pb.SoftLabels, expected: Expected) -> None:
    codec = expected.codec
    if codec is None:
        return
    if labels.encoding != TO_WIRE[codec.encoding]:
        problem = f"{labels.encoding}, expected {TO_WIRE[codec.encoding]} ({codec.encoding.value})"
        raise WireError("statistics.soft_labels.encoding", problem)
    if codec.encoding is Encoding.TOP_K and labels.k != min(codec.k, expected.classes):
        raise WireError("statistics.soft_labels.k", f"{labels.k}, expected {min(codec.k, expected.classes)}")


def _difference(got: tuple[ParameterSpec, ...], expected: tuple[ParameterSpec, ...]) -> str:
    for index, (one, other) in enumerate(zip(got, expected, strict=False)):
        if one != other:
            return f"number {index} is {one.name} {one.shape}, expected {other.name} {other.shape}"
    return f"{len(got)} arrays, expected {len(expected)}"


def _labels(summary: SoftLabelSummary, codec: SoftLabelCodec | None) -> pb.SoftLabels | None:
    labels = summary.statistics.soft_labels
    if labels is None:
        return None
    if codec is None:
        raise InvalidValue(
            "codec", f"a summary of kind {summary.kind.value!r} needs a codec for its soft labels"
        )
    return codec.encode(labels)


def _request(request: SummaryRequest) -> pb.SummaryRequest:
    message = pb.SummaryRequest(kind=_KINDS[request.kind], public_rows=request.public_rows.tolist())
    if request.codec is not None:
        message.encoding = TO_WIRE[request.codec.encoding]
        message.k = request.codec.k
    return message


def _decode_request(message: pb.SummaryRequest) -> SummaryRequest:
    kind = _KINDS_FROM_WIRE.get(message.kind)
    if kind is None:
        raise WireError("request.kind", f"unknown value {message.kind}")
    try:
        codec = None
        if message.encoding or message.k:
            encoding = FROM_WIRE.get(message.encoding)
            if encoding is None:
                raise WireError("request.encoding", f"unknown value {message.encoding}")
            codec = SoftLabelCodec(encoding, message.k)
        return SummaryRequest(kind, codec, _integers(message.public_rows))
    except InvalidValue as error:
        raise WireError(f"request.{error.field}", error.problem) from None


def _decode_training(message: pb.TrainingPlan) -> TrainingPlan:
    optimizer = OPTIMIZERS_FROM_WIRE.get(message.optimizer)
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
        )
    except InvalidValue as error:
        raise WireError(f"training.{error.field}", error.problem) from None


def _decode_targets(message: pb.SoftTargets) -> SoftTargets:
    source = message.WhichOneof("source")
    if source is None:
        raise WireError("soft_targets", "neither public_set nor class_means")
    place = f"soft_targets.{source}"
    try:
        if source == "public_set":
            labels = decode_soft_labels(message.public_set.soft_labels, field=f"{place}.soft_labels")
            return PublicSoftLabels(_integers(message.public_set.public_rows), labels)
        labels = decode_soft_labels(message.class_means.soft_labels, field=f"{place}.soft_labels")
        return ClassSoftLabels(_integers(message.class_means.present_classes), labels)
    except InvalidValue as error:
        raise WireError(f"{place}.{error.field}", error.problem) from None


def _tensors(parameters: Parameters) -> list[pb.Tensor]:
    return [
        pb.Tensor(name=name, shape=array.shape, data=array.astype("<f4", copy=False).tobytes())
        for name, array in parameters.items()
    ]


def _decode_tensors(tensors: Iterable[pb.Tensor], field: str) -> Parameters:
    parameters: Parameters = {}
    for index, tensor in enumerate(tensors):
        place = f"{field}[{index}]"
        try:
            check_name("name", tensor.name)
            if tensor.name in parameters:
                raise InvalidValue("name", f"{tensor.name!r} appears twice")
            spec = ParameterSpec(tensor.name, tuple(tensor.shape))
        except InvalidValue as error:
            raise WireError(f"{place}.{error.field}", error.problem) from None
        if len(tensor.data) != 4 * spec.size:
            raise WireError(
                f"{place}.data", f"{len(tensor.data)} bytes, expected {4 * spec.size} for {spec.shape}"
            )
        # A copy: the array outlives the message, is aligned, and may be written to.
        array = np.frombuffer(tensor.data, "<f4").astype(np.float32).reshape(spec.shape)
        if not np.isfinite(array).all():
            raise WireError(f"{place}.data", f"{tensor.name} holds a value that is not finite")
        parameters[tensor.name] = array
    return parameters


def _integers(values: Iterable[int]) -> IntArray:
    return np.array(values, np.int64)


Message = TypeVar("Message", pb.RoundTask, pb.SoftLabelSummary)


def _seal(message: pb.RoundTask | pb.SoftLabelSummary) -> bytes:
    body = message.SerializeToString()
    return body + _CHECKSUM_TAG + zlib.crc32(body).to_bytes(4, "little")


def _open(blob: bytes, message: Message, *, size_limit_bytes: int) -> Message:
    name = message.DESCRIPTOR.name
    if len(blob) > size_limit_bytes:
        raise WireError(name, f"{len(blob)} bytes, more than the limit of {size_limit_bytes}")
    body = blob[:-_CHECKSUM_BYTES]
    if not body or blob[-_CHECKSUM_BYTES:] != _CHECKSUM_TAG + zlib.crc32(body).to_bytes(4, "little"):
        raise WireError("checksum", "the bytes are not those that were sent")
    try:
        message.ParseFromString(body)
    except DecodeError:
        raise WireError(name, "not a protobuf message of this kind") from None
    message.DiscardUnknownFields()  # type: ignore[attr-defined]
    if message.ByteSize() != len(body):
        raise WireError(name, "fields that this version does not know, or fields sent twice")
    if message.protocol_version != PROTOCOL_VERSION:
        raise WireError(
            "protocol_version", f"{message.protocol_version}, this side speaks {PROTOCOL_VERSION}"
        )
    return message
