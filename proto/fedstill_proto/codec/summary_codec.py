"""Summaries to bytes and back, against what was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from fedstill_proto.arrays import MAX_RANK, BoolArray, FloatArray, Parameters, ParameterSpec
from fedstill_proto.codec.enum_map import KIND_NUMBERS, KINDS
from fedstill_proto.codec.envelope import open_sealed, seal, sealed_bytes
from fedstill_proto.codec.sum_codec import decode_keys, encode_keys
from fedstill_proto.codec.task_base import delta_base_of
from fedstill_proto.codec.tensors import (
    Moves,
    blank_tensors,
    decode_student,
    decode_tensors,
    encode_tensors,
    received_student,
    rounded,
    weight_bytes,
)
from fedstill_proto.errors import FieldError, InvalidValue, WireError
from fedstill_proto.messages import (
    FLOAT_WEIGHTS,
    PROTOCOL_VERSION,
    PrivateStatistics,
    RoundTask,
    SoftLabelSummary,
    SummaryKind,
)
from fedstill_proto.privacy.noising import Noising
from fedstill_proto.soft_labels.base_table import BaseTable
from fedstill_proto.soft_labels.codec import TO_WIRE, Encoding, SoftLabelCodec, decode_soft_labels
from fedstill_proto.soft_labels.delta_base import (
    CodedAnswer,
    DeltaBase,
    MeasuredLabels,
    ReceivedLabels,
    decode_answers,
    encode_answers,
    measure_answers,
)
from fedstill_proto.soft_labels.label_arrays import SoftLabels
from fedstill_proto.v1 import fedstill_pb2 as pb

_COSINE_STEPS = 127  # an int8 has so many on each side of 0


@dataclass(frozen=True)
class Expected:
    """What a device's summary must be: the gate's view of the task that asked for it.

    Attributes:
        run: The run's name.
        round: The round of the task.
        family: The student's family.
        kind: What the summary holds.
        classes: How many classes the student tells apart.
        codec: How its soft labels are coded; None where it holds none.
        rows: How many soft labels the asked public rows have; for PUBLIC_SET only.
        delta_base: What the answer may be coded against.
        parameters: Name and shape of each array; for PARAMETERS only.
        class_counts: Whether examples are counted by class; for PUBLIC_SET only.
        selected: Whether the device answers a selection of the rows; for PUBLIC_SET only.
        anchors: How many cosines a relative feature has; 0 asks for none.
        noising: Given where the answer is noised, and holds nothing else.
        summing: Whether the device offers its keys for a sum instead.
        moves: How a student travels; None where it does as float32.
        control_variates: Whether those of the device come beside its parameters.
    """

    run: str
    round: int
    family: str
    kind: SummaryKind
    classes: int
    codec: SoftLabelCodec | None = None
    rows: int = 0
    delta_base: DeltaBase | None = None
    parameters: tuple[ParameterSpec, ...] = ()
    class_counts: bool = False
    selected: bool = False
    anchors: int = 0
    noising: Noising | None = None
    summing: bool = False
    moves: Moves | None = None
    control_variates: bool = False

    @classmethod
    def of(
        cls,
        task: RoundTask,
        classes: int,
        parameter_specs: Iterable[ParameterSpec] | Mapping[str, FloatArray] = (),
        *,
        places: int = 1,
    ) -> Expected:
        """What a task asks of a student with these classes and parameters.

        Args:
            task: The task, as a device decodes it.
            classes: How many classes the student tells apart.
            parameter_specs: The student's parameters, or their names and shapes.
            places: Soft labels of a public row: 1, or for text one at each of its places.
        """
        if isinstance(parameter_specs, Mapping):
            parameter_specs = (ParameterSpec(name, array.shape) for name, array in parameter_specs.items())
        asks_parameters = task.request.kind is SummaryKind.PARAMETERS
        local = task.training.local_parameters
        return cls(
            run=task.run,
            round=task.round,
            family=task.family,
            kind=task.request.kind,
            classes=classes,
            codec=task.request.codec,
            rows=len(task.request.public_rows) * places,
            delta_base=delta_base_of(task),
            parameters=tuple(s for s in parameter_specs if asks_parameters and s.name not in local),
            class_counts=task.request.class_counts,
            selected=task.request.selection is not None,
            anchors=len(task.request.anchor_rows),
            noising=task.request.noising,
            summing=task.request.summing is not None,
            moves=Moves.of(task),
            control_variates=bool(task.control_variates),
        )

    @property
    def noised_numbers(self) -> int:
        """How many numbers the vector of a noised answer has."""
        if self.kind is SummaryKind.PUBLIC_SET:
            return self.rows * self.classes
        if self.kind is SummaryKind.CLASS_MEANS:
            return self.classes * (self.classes + 1)
        return sum(spec.size for spec in self.parameters)

    @property
    def has_classes(self) -> bool:
        """Whether the summary may name classes that the device has."""
        return self.class_counts or self.kind in (SummaryKind.CLASS_MEANS, SummaryKind.CLASS_PROTOTYPES)

    @property
    def size_limit_bytes(self) -> int:
        """As much as a good summary can take: names at their longest, each count as a full varint."""
        if self.summing:
            return 2048
        if self.noising is not None:
            return 1024 + 5 * self.noised_numbers
        rows = self.rows if self.kind is SummaryKind.PUBLIC_SET else self.classes
        labels = rows * (10 + self.codec.row_bytes(self.classes)) if self.codec is not None else 0
        parameters = sum(
            sum(weight_bytes(spec, bits=_bits_of(self.moves))) + len(spec.name) + 8 * MAX_RANK + 40
            for spec in self.parameters
        )
        parameters *= 2 if self.control_variates else 1
        counts = 10 * self.classes if self.has_classes else 0
        answered = self.rows // 8 + 8 if self.selected else 0
        return 1024 + labels + parameters + counts + answered + rows * self.anchors

    def with_table(self, table: BaseTable | None) -> Expected:
        """The same for a device whose table of the round that the task names is held."""
        if self.delta_base is None or table is None:
            return self
        return replace(self, delta_base=replace(self.delta_base, table=table))


def encode_summary(
    summary: SoftLabelSummary,
    *,
    codec: SoftLabelCodec | None,
    delta_base: DeltaBase | None = None,
    moves: Moves | None = None,
) -> bytes:
    """Encode a summary.

    Args:
        summary: What the device answers.
        codec: The one of the task's request; None where the summary holds no soft labels.
        delta_base: What the soft labels may be coded against.
        moves: How a student travels; None sends it as float32.
    """
    return summary_and_table(summary, codec=codec, delta_base=delta_base, moves=moves)[0]


def summary_and_table(
    summary: SoftLabelSummary,
    *,
    codec: SoftLabelCodec | None,
    delta_base: DeltaBase | None = None,
    moves: Moves | None = None,
) -> tuple[bytes, BaseTable | None]:
    """Encode a summary; also returns what the device must keep so that its next answer can be a delta."""
    return summaries_and_tables([summary], codec=codec, delta_bases=[delta_base], moves=moves)[0]


def summaries_and_tables(
    summaries: Sequence[SoftLabelSummary],
    *,
    codec: SoftLabelCodec | None,
    delta_bases: Sequence[DeltaBase | None] | None = None,
    moves: Moves | None = None,
) -> list[tuple[bytes, BaseTable | None]]:
    """The same of the summaries of many devices, whose soft labels are coded together."""
    labels = [summary.statistics.soft_labels for summary in summaries]
    coded: dict[int, tuple[pb.SoftLabels, BaseTable | None]] = {}
    places = [place for place, own in enumerate(labels) if own is not None]
    said = [own for own in labels if own is not None]
    if said:
        codec = _codec_for(codec, summaries[places[0]])
    if said and codec is not None and codec.encoding is Encoding.LEVELS:
        answers = encode_answers(said, codec, _delta_bases(summaries, delta_bases, places))
        coded = dict(zip(places, answers, strict=True))
    elif codec is not None:
        coded = {place: (codec.encode(own), None) for place, own in zip(places, said, strict=True)}
    return [
        (seal(_message(summary, coded.get(place, (None, None))[0], moves)), coded.get(place, (None, None))[1])
        for place, summary in enumerate(summaries)
    ]


class MeasuredSummary(NamedTuple):
    """What becomes of a summary on its way.

    Attributes:
        statistics: As the server decodes them.
        bytes: How many bytes the summary takes.
        table: What the device must keep so that its next answer can be a delta.
    """

    statistics: PrivateStatistics
    bytes: int
    table: BaseTable | None = None


def measured_summaries(
    summaries: Sequence[SoftLabelSummary],
    *,
    codec: SoftLabelCodec | None,
    delta_bases: Sequence[DeltaBase | None] | None = None,
    moves: Moves | None = None,
) -> list[MeasuredSummary]:
    """What `decode_summary` makes of `summaries_and_tables`, and their bytes, without making them."""
    labels = [summary.statistics.soft_labels for summary in summaries]
    places = [place for place, own in enumerate(labels) if own is not None]
    said = [own for own in labels if own is not None]
    measured: dict[int, MeasuredLabels] = {}
    if said:
        codec = _codec_for(codec, summaries[places[0]])
    if said and codec is not None and codec.encoding is Encoding.LEVELS:
        answers = measure_answers(said, codec, _delta_bases(summaries, delta_bases, places))
        measured = dict(zip(places, answers, strict=True))
    elif codec is not None:
        for place, own, seen in zip(places, said, codec.received(said), strict=True):
            measured[place] = MeasuredLabels(seen, codec.blank(own))
    results = []
    for place, summary in enumerate(summaries):
        own_labels = measured.get(place)
        message = _message(summary, None if own_labels is None else own_labels.message, moves, measure=True)
        statistics = summary.statistics
        if summary.sum_keys is None:
            statistics = _received(statistics, own_labels, moves)
        table = None if own_labels is None else own_labels.table
        results.append(MeasuredSummary(statistics, sealed_bytes(message), table))
    return results


def _received(
    statistics: PrivateStatistics, labels: MeasuredLabels | None, moves: Moves | None
) -> PrivateStatistics:
    """Statistics as the server decodes them."""
    features = statistics.features
    anchors = 0 if features is None else features.shape[1]
    parameters, bits = statistics.parameters, _bits_of(moves)
    return replace(
        statistics,
        soft_labels=None if labels is None else labels.received,
        parameters=received_student(parameters) if moves is None else moves.received(parameters),
        features=None
        if features is None or anchors == 0
        else _decode_cosines(_cosine_bytes(features), len(features), anchors),
        control_variates=rounded(statistics.control_variates, bits=bits),
    )


def _codec_for(codec: SoftLabelCodec | None, summary: SoftLabelSummary) -> SoftLabelCodec:
    if codec is None:
        raise InvalidValue(
            "codec", f"missing, but a summary of kind {summary.kind.value!r} holds soft labels"
        )
    return codec


def _delta_bases(
    summaries: Sequence[SoftLabelSummary], bases: Sequence[DeltaBase | None] | None, places: Iterable[int]
) -> list[DeltaBase | None]:
    """The bases for the rows that these answer."""
    if bases is None:
        return [None for _ in places]
    return [
        None if (base := bases[place]) is None else base.of_answered(summaries[place].statistics.answered)
        for place in places
    ]


def _message(
    summary: SoftLabelSummary, labels: pb.SoftLabels | None, moves: Moves | None, *, measure: bool = False
) -> pb.SoftLabelSummary:
    """The message; measure: one as long, in which the parameters are zeros."""
    message = pb.SoftLabelSummary(
        protocol_version=PROTOCOL_VERSION,
        run=summary.run,
        round=summary.round,
        family=summary.family,
        kind=KIND_NUMBERS[summary.kind],
    )
    if summary.sum_keys is None:
        encoded = _encoded_statistics(summary.statistics, labels, moves, measure=measure)
        message.statistics.CopyFrom(encoded)
    else:
        message.sum_keys.CopyFrom(encode_keys(summary.sum_keys))
    return message


def _encoded_statistics(
    statistics: PrivateStatistics,
    soft_labels: pb.SoftLabels | None,
    moves: Moves | None,
    *,
    measure: bool,
) -> pb.PrivateStatistics:
    bits = _bits_of(moves)
    if measure:
        parameters = blank_tensors(statistics.parameters, bits=bits)
        control_variates = blank_tensors(statistics.control_variates, bits=bits)
    else:
        encode = encode_tensors if moves is None else moves.encode
        parameters = encode(statistics.parameters)
        control_variates = encode_tensors(statistics.control_variates, bits=bits)
    return pb.PrivateStatistics(
        soft_labels=soft_labels,
        present_classes=statistics.present_classes.tolist(),
        class_examples=statistics.class_examples.tolist(),
        parameters=parameters,
        examples=statistics.examples,
        answered=b"" if statistics.answered is None else _bits(statistics.answered),
        features=b"" if statistics.features is None else _cosine_bytes(statistics.features),
        noised=() if statistics.noised is None else statistics.noised.tolist(),
        control_variates=control_variates,
    )


def decode_summary(blob: bytes, *, expected: Expected) -> SoftLabelSummary:
    """Decode a summary.

    Args:
        blob: The bytes that a device sent.
        expected: What it was asked for.

    Raises:
        MissingBase: It is coded against a table that this side does not hold.
        WireError: It is not the summary that was asked for; the error names the field.
    """
    summary = decode_summaries([(blob, expected)])[0]
    if isinstance(summary, WireError):
        raise summary
    return summary


def decode_summaries(answers: Sequence[tuple[bytes, Expected]]) -> list[SoftLabelSummary | WireError]:
    """Decode the summaries of many devices, whose soft labels are decoded together.

    Args:
        answers: The bytes that each sent, and what it was asked for.

    Returns:
        Of each what `decode_summary` returns, or the error that it raises.
    """
    results: list[SoftLabelSummary | WireError | None] = [None] * len(answers)
    opened: dict[int, _Opened] = {}
    for place, (blob, expected) in enumerate(answers):
        try:
            opened[place] = _opened(blob, expected)
        except FieldError as error:
            results[place] = WireError.of(error)
    coded = {place: one.coded for place, one in opened.items() if one.coded is not None}
    labels = dict(zip(coded, decode_answers(list(coded.values())), strict=True))
    for place, one in opened.items():
        try:
            results[place] = _summary_of(one, labels.get(place))
        except FieldError as error:
            results[place] = WireError.of(error)
    return [result for result in results if result is not None]


@dataclass(frozen=True, eq=False)
class _Opened:
    """A summary's message, checked up to its soft labels."""

    message: pb.SoftLabelSummary
    expected: Expected
    answered: BoolArray | None = None
    rows: int = 0
    labels: ReceivedLabels | None = None
    coded: CodedAnswer | None = None  # those that are yet to be decoded


def _opened(blob: bytes, expected: Expected) -> _Opened:
    message = open_sealed(blob, pb.SoftLabelSummary(), size_limit_bytes=expected.size_limit_bytes)
    if message.run != expected.run:
        raise WireError("run", f"{message.run[:64]!r}, expected {expected.run!r}")
    if message.round != expected.round:
        raise WireError("round", f"{message.round}, expected {expected.round}")
    if message.family != expected.family:
        raise WireError("family", f"{message.family[:64]!r}, expected {expected.family!r}")
    kind = KINDS.get(message.kind)
    if kind is not expected.kind:
        raise WireError("kind", f"{kind.value if kind else message.kind}, expected {expected.kind.value}")
    if kind is SummaryKind.CLASS_PROTOTYPES and not message.HasField("statistics"):
        raise WireError("statistics.features", "missing")  # a device without examples sends empty ones
    if message.HasField("sum_keys") != expected.summing:
        raise WireError("sum_keys", "missing" if expected.summing else "present, but no sum was asked for")
    if expected.summing:
        if message.HasField("statistics"):
            raise WireError("statistics", "beside the keys of a sum")
        return _Opened(message, expected)
    statistics = message.statistics
    if expected.noising is not None:
        return _Opened(message, expected)
    if statistics.noised:
        raise WireError("statistics.noised", "present, but no noise was asked for")
    answered = _decode_answered(statistics.answered, expected)
    _check_classes(statistics, expected)
    rows = len(statistics.present_classes)
    if expected.kind is SummaryKind.PUBLIC_SET:
        rows = expected.rows if answered is None else int(answered.sum())
    opened = _Opened(message, expected, answered, rows)
    if not statistics.HasField("soft_labels"):
        return opened
    place, codec, labels = "statistics.soft_labels", expected.codec, statistics.soft_labels
    if codec is None:
        raise WireError(place, f"present in a summary of kind {expected.kind.value!r}")
    _check_codec(labels, codec, expected.classes)
    if codec.encoding is not Encoding.LEVELS:
        decoded = decode_soft_labels(labels, field=place, rows=rows, classes=expected.classes)
        return replace(opened, labels=(decoded, None))
    delta_base = None if expected.delta_base is None else expected.delta_base.of_answered(answered)
    return replace(opened, coded=CodedAnswer(labels, codec, delta_base, rows, expected.classes, place))


def _summary_of(opened: _Opened, labels: ReceivedLabels | WireError | None) -> SoftLabelSummary:
    """The summary, with the soft labels that were yet to be decoded."""
    if isinstance(labels, WireError):
        raise labels
    message, expected = opened.message, opened.expected
    header = message.run, message.round, message.family, expected.kind
    if expected.summing:
        return SoftLabelSummary(*header, PrivateStatistics(), sum_keys=decode_keys(message.sum_keys))
    if expected.noising is not None:
        return SoftLabelSummary(*header, _decode_noised(message.statistics, expected, expected.noising))
    said, table = (None, None) if (received := labels or opened.labels) is None else received
    return SoftLabelSummary(*header, _decode_statistics(message.statistics, opened, said), table)


def _decode_statistics(
    message: pb.PrivateStatistics, opened: _Opened, labels: SoftLabels | None
) -> PrivateStatistics:
    expected, bits = opened.expected, _bits_of(opened.expected.moves)
    decode = decode_student if expected.moves is None else expected.moves.decode
    place, specs = "statistics.parameters", expected.parameters
    parameters = _of_specs(decode(message.parameters, place), specs, place)
    place, specs = "statistics.control_variates", specs if expected.control_variates else ()
    control_variates = _of_specs(decode_tensors(message.control_variates, place, bits=bits), specs, place)
    try:
        return PrivateStatistics(
            soft_labels=labels,
            present_classes=np.array(message.present_classes, np.int64),
            class_examples=np.array(message.class_examples, np.int64),
            parameters=parameters,
            examples=message.examples,
            answered=opened.answered,
            features=_decode_cosines(message.features, opened.rows, expected.anchors),
            control_variates=control_variates,
        )
    except InvalidValue as error:
        raise WireError(f"statistics.{error.field}", error.problem) from None


def _of_specs(arrays: Parameters, expected: tuple[ParameterSpec, ...], field: str) -> Parameters:
    got = tuple(ParameterSpec(name, array.shape) for name, array in arrays.items())
    if got != expected:
        raise WireError(field, _difference(got, expected))
    return arrays


def _decode_noised(message: pb.PrivateStatistics, expected: Expected, noising: Noising) -> PrivateStatistics:
    """A noised answer: one number in range for each of the vector's, and nothing besides."""
    for field, _ in message.ListFields():
        if field.name != "noised":
            raise WireError(f"statistics.{field.name}", "present in a noised answer")
    if len(message.noised) != expected.noised_numbers:
        problem = f"{len(message.noised)} numbers, expected {expected.noised_numbers}"
        raise WireError("statistics.noised", problem)
    noised = np.array(message.noised, np.int64)
    largest = int(np.abs(noised).max(initial=0))
    if largest > noising.most_steps:
        raise WireError(
            "statistics.noised", f"{largest} steps of the grid in values; at most {noising.most_steps}"
        )
    return PrivateStatistics(noised=noised)


def _check_classes(message: pb.PrivateStatistics, expected: Expected) -> None:
    """Class numbers only where they were asked for, and only those there are."""
    place, highest = "statistics.present_classes", max(message.present_classes, default=-1)
    if highest >= 0 and not expected.has_classes:
        raise WireError(place, f"not empty in kind {expected.kind.value!r}")
    if highest >= expected.classes:
        raise WireError(place, f"class {highest}, expected 0 to {expected.classes - 1}")


def _bits(answered: BoolArray) -> bytes:
    return np.packbits(answered, bitorder="little").tobytes()


def _decode_answered(bits: bytes, expected: Expected) -> BoolArray | None:
    """Which of the asked rows are answered, [n]; None where all are to be."""
    place = "statistics.answered"
    if not expected.selected:
        if bits:
            raise WireError(place, "present, but all rows were asked for")
        return None
    if len(bits) != -(-expected.rows // 8):
        raise WireError(
            place, f"{len(bits)} bytes, expected {-(-expected.rows // 8)} for {expected.rows} rows"
        )
    unpacked = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little").astype(np.bool_)
    if unpacked[expected.rows :].any():
        raise WireError(place, f"a bit beyond the {expected.rows} rows that were asked for")
    return unpacked[: expected.rows]


def _cosine_bytes(features: FloatArray) -> bytes:
    return np.rint(np.clip(features, -1, 1) * _COSINE_STEPS).astype(np.int8).tobytes()


def _decode_cosines(data: bytes, rows: int, anchors: int) -> FloatArray | None:
    """Relative features [rows, anchors]; None where none were asked for."""
    place = "statistics.features"
    if len(data) != rows * anchors:
        raise WireError(place, f"{len(data)} bytes, expected {rows * anchors} for {rows} x {anchors}")
    if anchors == 0:
        return None
    codes = np.frombuffer(data, np.int8).reshape(rows, anchors)
    if codes.size and codes.min() < -_COSINE_STEPS:
        raise WireError(place, f"{codes.min()} in {_COSINE_STEPS}ths is no cosine")
    return codes.astype(np.float32) / np.float32(_COSINE_STEPS)


def _check_codec(labels: pb.SoftLabels, codec: SoftLabelCodec, classes: int) -> None:
    if labels.encoding != TO_WIRE[codec.encoding]:
        problem = f"{labels.encoding}, expected {TO_WIRE[codec.encoding]} ({codec.encoding.value})"
        raise WireError("statistics.soft_labels.encoding", problem)
    if codec.encoding in (Encoding.TOP_K, Encoding.DRAWN) and labels.k != min(codec.k, classes):
        raise WireError("statistics.soft_labels.k", f"{labels.k}, expected {min(codec.k, classes)}")
    if codec.encoding is Encoding.DRAWN:
        for name, wanted in (("drawn", min(codec.drawn, classes - labels.k)), ("bits", codec.bits)):
            if (got := getattr(labels, name)) != wanted:
                raise WireError(f"statistics.soft_labels.{name}", f"{got}, expected {wanted}")


def _bits_of(moves: Moves | None) -> int:
    return FLOAT_WEIGHTS if moves is None else moves.bits


def _difference(got: tuple[ParameterSpec, ...], expected: tuple[ParameterSpec, ...]) -> str:
    for index, (sent, asked) in enumerate(zip(got, expected, strict=False)):
        if sent != asked:
            return f"number {index} is {sent.name} {sent.shape}, expected {asked.name} {asked.shape}"
    return f"{len(got)} arrays, expected {len(expected)}"
