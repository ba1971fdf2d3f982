"""The manifest of a student package or a training artifact, and its JSON."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from google.protobuf import json_format

from fedstill_proto.arrays import ParameterSpec
from fedstill_proto.checks import MAX_UINT32, check_integer, check_name
from fedstill_proto.codec.enum_map import OPTIMIZER_NUMBERS, OPTIMIZERS
from fedstill_proto.codec.envelope import check_written_version
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.generation import FIRST_GENERATION, check_generation, generation_number
from fedstill_proto.messages import PROTOCOL_VERSION, Optimizer
from fedstill_proto.package.input_rule import InputRule, check_class_names, rule_message, rule_of_message
from fedstill_proto.package.subwords import NEXT_TOKEN, Subwords
from fedstill_proto.package.target import SINGLE_LABEL, Target, TargetKind
from fedstill_proto.readers.columns import (
    TableColumns,
    check_columns,
    columns_message,
    columns_of_message,
)
from fedstill_proto.v1 import fedstill_pb2 as pb

MANIFEST_LIMIT_BYTES = 1 << 20
PART_LIMIT_BYTES = 2 << 30
WORD_INPUT = "word"
NEXT_PLACE = "next_place"
"""The state of a student that keeps all its places: how many are behind it; fewer takes words back."""
_STATE_LIMIT_VALUES = 1 << 22
_VERSION = re.compile(r"\d{1,6}(\.\d{1,6}){0,3}")


@dataclass(frozen=True)
class GraphPort:
    """An input or output of a graph; -1 in `shape` is any size, `element_type` is the name in numpy."""

    name: str
    shape: tuple[int, ...]
    element_type: str

    def __post_init__(self) -> None:
        check_name("name", self.name)
        if not all(isinstance(size, int) and -1 <= size < 1 << 31 for size in self.shape):
            raise InvalidValue("shape", f"{self.shape} is not a shape")
        if self.element_type not in ("float32", "int64"):
            raise InvalidValue("element_type", f"{self.element_type!r} is neither float32 nor int64")


@dataclass(frozen=True)
class PackagePart:
    """A file beside the manifest; `sha256` in hexadecimal."""

    name: str
    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        check_name("name", self.name)
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise InvalidValue("sha256", f"{self.sha256[:70]!r} is not 64 hexadecimal digits")
        check_integer("size_bytes", self.size_bytes, 0, PART_LIMIT_BYTES)

    @classmethod
    def of(cls, name: str, content: bytes) -> PackagePart:
        """The entry of a file with this content."""
        return cls(name, hashlib.sha256(content).hexdigest(), len(content))


@dataclass(frozen=True)
class QuantizedWeight:
    """A parameter that the 8-bit inference graph holds as uint8 `codes` and float32 `scales`.

    Its rows are cut into blocks of `block` values: value = (code - 128) * scale of the block.
    """

    parameter: str
    block: int
    codes: str
    scales: str

    def __post_init__(self) -> None:
        for name in ("parameter", "codes", "scales"):
            check_name(name, getattr(self, name))
        check_integer("block", self.block, 1, 1 << 16)


@dataclass(frozen=True)
class Vocabulary:
    """The tables of words of a student of text.

    Attributes:
        size: How many words the student knows.
        step_size: How many rows of a table a training step sees: those of the words of its batch.
        tables: The parameters that have a row for each word.
        tokenizer: How text becomes words.
    """

    size: int
    step_size: int
    tables: tuple[str, ...]
    tokenizer: str = "words"

    def __post_init__(self) -> None:
        check_integer("size", self.size, 2, MAX_UINT32)
        check_integer("step_size", self.step_size, 2, self.size)
        for table in self.tables:
            check_name("tables", table)
        check_name("tokenizer", self.tokenizer)


@dataclass(frozen=True)
class Streaming:
    """The state of a student of text whose package has graphs of one word at a time.

    Attributes:
        state: The graph's inputs besides the word; each begins as zeros and comes out as "<name>.new".
        places: How many words fit into a state; 0 is any number.
    """

    state: tuple[GraphPort, ...]
    places: int = 0

    def __post_init__(self) -> None:
        check_integer("places", self.places, 0, MAX_UINT32)
        names = {port.name for port in self.state}
        if not names or len(names) != len(self.state) or WORD_INPUT in names:
            raise InvalidValue(
                "state", f"{[port.name for port in self.state]!r:.80} are no inputs of a state"
            )
        for port in self.state:
            if min(port.shape, default=1) < 1 or math.prod(port.shape) > _STATE_LIMIT_VALUES:
                raise InvalidValue("state", f"{port.name!r} has shape {port.shape}")

    @property
    def can_go_back(self) -> bool:
        """Whether words are taken back by a smaller number of places."""
        return self.places > 0 and GraphPort(NEXT_PLACE, (1,), "int64") in self.state


@dataclass(frozen=True)
class StudentManifest:
    """What a student's graphs are: enough for a device to run them without guessing.

    Attributes:
        family: The student's family.
        classes: How many classes it tells apart, or words it knows.
        input_shape: The shape of an example.
        parameters: Name and full shape of each; in the training graph, the vocabulary's tables have its
            `step_size` rows instead.
        optimizer: The update rule of the training graph.
        soft_labels: What the training graph takes: "none", "dense" or "top-k".
        opset: The version of ONNX's operators.
        k: How many classes top-k soft labels name.
        stack_size: Devices that one run of the training graph trains together.
        step_rows: Examples of each in a step.
        parts: The files beside the manifest.
        inputs: The inference graph's.
        outputs: The inference graph's.
        package_version: 1 or more in a published package.
        lowest_agent_version: The oldest agent that can use it; "" is any.
        quality: Figures measured on the server, by name.
        quantized: The weights that the 8-bit graph holds as codes and scales.
        label_shape: The shape of an example's labels: () is one class, (S,) a word at each of S places.
        input_type: The type of an example's values, as numpy names it.
        vocabulary: The tables of words, if it has any.
        feature_width: The width of the forward graph's second output, what the last layer reads; 0 without
            one.
        streaming: The state of its graphs of one word at a time, if it has them.
        buffers: The parameters that no gradient changes, such as the running means of batch normalization:
            they have no optimizer slots, and the training graph gives their new values.
        one_at_a_time: Whether there is no training graph of several devices that would give each the bits
            that it gives itself.
        uniforms: What a step of the training graph takes of random numbers from 0 up to, and without, 1: for
            dropout and its kin.
        subwords: How text becomes what it reads, where that is sub-words.
        external_weights: Whether the graphs hold no weights: all are in the package's parameters, the
            quantized ones as codes and scales.
        frozen: Name and shape of the constants that graphs read and do not hold; they stand apart, once.
        prefix_shape: What the student's frozen first part makes of an example, and the training and forward
            graphs read in its place; () where they read examples.
        input_rule: What the network reads of values as they are given.
        class_names: A name for each class, or ().
        generation: Of the fleet's configuration that the package belongs to, from 1.
        columns: How rows of a table become what the network reads, where examples are such.
        target: What an answer says; beside single labels, `classes` is 2 and `label_shape` the target's.
    """

    family: str
    classes: int
    input_shape: tuple[int, ...]
    parameters: tuple[ParameterSpec, ...]
    optimizer: Optimizer
    soft_labels: str
    opset: int
    k: int = 0
    stack_size: int = 1
    step_rows: int = 1
    parts: tuple[PackagePart, ...] = ()
    inputs: tuple[GraphPort, ...] = ()
    outputs: tuple[GraphPort, ...] = ()
    package_version: int = 0
    lowest_agent_version: str = ""
    quality: tuple[tuple[str, float], ...] = ()
    quantized: tuple[QuantizedWeight, ...] = ()
    label_shape: tuple[int, ...] = ()
    input_type: str = "float32"
    vocabulary: Vocabulary | None = None
    feature_width: int = 0
    streaming: Streaming | None = None
    external_weights: bool = False
    frozen: tuple[ParameterSpec, ...] = ()
    prefix_shape: tuple[int, ...] = ()
    input_rule: InputRule = field(default_factory=InputRule)
    class_names: tuple[str, ...] = ()
    columns: TableColumns | None = None
    generation: int = FIRST_GENERATION
    buffers: tuple[str, ...] = ()
    one_at_a_time: bool = False
    target: Target = SINGLE_LABEL
    uniforms: tuple[GraphPort, ...] = ()
    subwords: Subwords | None = None

    def __post_init__(self) -> None:
        check_name("family", self.family)
        check_integer("classes", self.classes, 1, MAX_UINT32)
        ParameterSpec("input_shape", self.input_shape)
        if self.soft_labels not in ("none", "dense", "top-k"):
            raise InvalidValue("soft_labels", f"{self.soft_labels!r} is none of none, dense, top-k")
        if self.soft_labels == "top-k":
            check_integer("k", self.k, 1, self.classes)
        elif self.k:
            raise InvalidValue("k", f"{self.k}, but the graph takes no top-k labels")
        for name in ("opset", "stack_size", "step_rows"):
            check_integer(name, getattr(self, name), 1, MAX_UINT32)
        if self.one_at_a_time and self.stack_size != 1:
            raise InvalidValue("stack_size", f"{self.stack_size}, but the family takes one device at a time")
        check_integer("feature_width", self.feature_width, 0, 1 << 20)
        ParameterSpec("prefix_shape", self.prefix_shape)
        if self.prefix_shape and self.vocabulary is not None:
            raise InvalidValue("prefix_shape", f"{self.prefix_shape}, of a student that reads words")
        for name in ("parameters", "frozen", "parts", "inputs", "outputs", "uniforms"):
            names = [entry.name for entry in getattr(self, name)]
            if len(set(names)) != len(names):
                raise InvalidValue(name, "a name appears twice")
        self.input_rule.check(self.input_shape)
        check_class_names(self.class_names, self.target.size or self.classes)
        check_columns(self.columns, self.input_shape)
        self._check_publication()
        self._check_text()
        self._check_subwords()

    def _check_publication(self) -> None:
        check_integer("package_version", self.package_version, 0, MAX_UINT32)
        check_generation(self.generation)
        if self.lowest_agent_version and not _VERSION.fullmatch(self.lowest_agent_version):
            raise InvalidValue(
                "lowest_agent_version", f"{self.lowest_agent_version[:40]!r} is not like 0.1.0"
            )
        for name, value in self.quality:
            check_name("quality", name)
            if not math.isfinite(value):
                raise InvalidValue(f"quality[{name}]", f"{value} is not a finite number")
        names = {spec.name for spec in self.parameters}
        if len(set(self.buffers)) != len(self.buffers) or not names.issuperset(self.buffers):
            raise InvalidValue("buffers", f"{self.buffers!r:.80} are not parameters, each once")
        for port in self.uniforms:
            if port.element_type != "float32" or min(port.shape, default=1) < 1:
                raise InvalidValue("uniforms", f"{port.name!r} is {port.element_type} {port.shape}")
        for weight in self.quantized:
            if weight.parameter not in names:
                raise InvalidValue("quantized", f"{weight.parameter!r} is not a parameter")

    def _check_text(self) -> None:
        ParameterSpec("label_shape", self.label_shape)
        if not self.target.is_single and (self.label_shape, self.classes) != (self.target.label_shape, 2):
            problem = f"{self.target.kind.value} of {self.target.size}, but label_shape is {self.label_shape}"
            raise InvalidValue("target", problem)
        if self.input_type not in ("float32", "int64"):
            raise InvalidValue("input_type", f"{self.input_type!r} is neither float32 nor int64")
        if self.input_type == "int64" and not self.input_rule.changes_nothing:
            raise InvalidValue("input_rule", "changes the numbers of words, which are names")
        if self.vocabulary is None:
            return
        rows = {spec.name: spec.shape[:1] for spec in self.parameters}
        for table in self.vocabulary.tables:
            if rows.get(table) != (self.vocabulary.size,):
                problem = f"{table!r} is not a parameter of {self.vocabulary.size} rows"
                raise InvalidValue("vocabulary.tables", problem)

    def _check_subwords(self) -> None:
        subwords = self.subwords
        if subwords is None:
            return
        if self.input_shape != (subwords.places,) or not self.input_rule.changes_nothing:
            problem = f"{subwords.places}, but examples are {self.input_shape}, read as they are given"
            raise InvalidValue("subwords.places", problem)
        if self.labels_each_place != (subwords.answer == NEXT_TOKEN):
            raise InvalidValue("subwords.answer", f"{subwords.answer}, of labels {self.label_shape}")

    @property
    def given_shape(self) -> tuple[int, ...]:
        """The shape of an example as it is given."""
        return self.input_rule.given_shape(self.input_shape)

    @property
    def learning(self) -> tuple[ParameterSpec, ...]:
        """The parameters that learn by their gradients, and have optimizer slots."""
        return tuple(spec for spec in self.parameters if spec.name not in self.buffers)

    @property
    def labels_each_place(self) -> bool:
        """Whether an example has a label at each of its own places, as a row of words has."""
        return self.target.is_single and bool(self.label_shape)

    @property
    def parameter_count(self) -> int:
        """How many values the parameters have together."""
        return sum(spec.size for spec in self.parameters)

    @property
    def read_shape(self) -> tuple[int, ...]:
        """The shape of what the training and forward graphs read of one example."""
        return self.prefix_shape or self.input_shape

    @property
    def read_type(self) -> str:
        """The type of what they read, as numpy names it."""
        return "float32" if self.prefix_shape else self.input_type

    def with_parts(self, contents: Mapping[str, bytes]) -> StudentManifest:
        """The manifest of these files."""
        return replace(self, parts=tuple(PackagePart.of(name, content) for name, content in contents.items()))

    def to_json(self) -> str:
        """manifest.json"""
        return json_format.MessageToJson(_to_message(self), preserving_proto_field_name=True, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> StudentManifest:
        """Read a manifest.json; raises WireError, naming the field."""
        if len(text) > MANIFEST_LIMIT_BYTES:
            problem = f"{len(text)} bytes, more than the limit of {MANIFEST_LIMIT_BYTES}"
            raise WireError("manifest", problem)
        try:
            message = json_format.Parse(text, pb.StudentManifest())
        except (json_format.ParseError, UnicodeError, RecursionError) as error:
            raise WireError("manifest", f"not a manifest: {str(error)[:200]}") from None
        return _from_message(message)


def _to_message(manifest: StudentManifest) -> pb.StudentManifest:
    return pb.StudentManifest(
        protocol_version=PROTOCOL_VERSION,
        family=manifest.family,
        classes=manifest.classes,
        input_shape=manifest.input_shape,
        parameters=[pb.ParameterSpec(name=spec.name, shape=spec.shape) for spec in manifest.parameters],
        parameter_count=manifest.parameter_count,
        optimizer=OPTIMIZER_NUMBERS[manifest.optimizer],
        soft_labels=manifest.soft_labels,
        k=manifest.k,
        stack_size=manifest.stack_size,
        step_rows=manifest.step_rows,
        opset=manifest.opset,
        parts=[pb.PackagePart(name=p.name, sha256=p.sha256, size_bytes=p.size_bytes) for p in manifest.parts],
        inputs=[_port(port) for port in manifest.inputs],
        outputs=[_port(port) for port in manifest.outputs],
        package_version=manifest.package_version,
        lowest_agent_version=manifest.lowest_agent_version,
        quality=[pb.QualityFigure(name=name, value=value) for name, value in manifest.quality],
        quantized=[
            pb.QuantizedWeight(parameter=w.parameter, block=w.block, codes=w.codes, scales=w.scales)
            for w in manifest.quantized
        ],
        label_shape=manifest.label_shape,
        input_type=manifest.input_type,
        vocabulary=None if manifest.vocabulary is None else _vocabulary_message(manifest.vocabulary),
        feature_width=manifest.feature_width,
        streaming=None if manifest.streaming is None else _streaming_message(manifest.streaming),
        external_weights=manifest.external_weights,
        frozen=[pb.ParameterSpec(name=spec.name, shape=spec.shape) for spec in manifest.frozen],
        prefix_shape=manifest.prefix_shape,
        input_rule=rule_message(manifest.input_rule),
        class_names=manifest.class_names,
        columns=columns_message(manifest.columns),
        generation=generation_number(manifest.generation),
        buffers=manifest.buffers,
        one_at_a_time=manifest.one_at_a_time,
        target=None if manifest.target.is_single else _target_message(manifest.target),
        uniforms=[_port(port) for port in manifest.uniforms],
        subwords=None if manifest.subwords is None else _subwords_message(manifest.subwords),
    )


def _subwords_message(subwords: Subwords) -> pb.Subwords:
    return pb.Subwords(
        places=subwords.places,
        pad=subwords.pad,
        size=subwords.size,
        library=subwords.library,
        answer=subwords.answer,
    )


def _target_message(target: Target) -> pb.Target:
    return pb.Target(kind=target.kind.value, size=target.size, offset=target.offset, scale=target.scale)


def _streaming_message(streaming: Streaming) -> pb.Streaming:
    return pb.Streaming(state=[_port(port) for port in streaming.state], places=streaming.places)


def _vocabulary_message(vocabulary: Vocabulary) -> pb.Vocabulary:
    return pb.Vocabulary(
        size=vocabulary.size,
        step_size=vocabulary.step_size,
        tables=vocabulary.tables,
        tokenizer=vocabulary.tokenizer,
    )


def _port(port: GraphPort) -> pb.GraphPort:
    return pb.GraphPort(name=port.name, shape=port.shape, element_type=port.element_type)


def _from_message(message: pb.StudentManifest) -> StudentManifest:
    # A package outlives the release that made it: an upgraded agent answers from it until the next one.
    check_written_version(message.protocol_version)
    optimizer = OPTIMIZERS.get(message.optimizer)
    if optimizer is None:
        raise WireError("optimizer", f"unknown value {message.optimizer}")
    try:
        manifest = StudentManifest(
            family=message.family,
            classes=message.classes,
            input_shape=tuple(message.input_shape),
            parameters=tuple(ParameterSpec(spec.name, tuple(spec.shape)) for spec in message.parameters),
            optimizer=optimizer,
            soft_labels=message.soft_labels,
            opset=message.opset,
            k=message.k,
            stack_size=message.stack_size,
            step_rows=message.step_rows,
            parts=tuple(PackagePart(part.name, part.sha256, part.size_bytes) for part in message.parts),
            inputs=_ports(message.inputs),
            outputs=_ports(message.outputs),
            package_version=message.package_version,
            lowest_agent_version=message.lowest_agent_version,
            quality=tuple((figure.name, figure.value) for figure in message.quality),
            quantized=tuple(
                QuantizedWeight(w.parameter, w.block, w.codes, w.scales) for w in message.quantized
            ),
            label_shape=tuple(message.label_shape),
            input_type=message.input_type or "float32",
            vocabulary=_vocabulary(message.vocabulary) if message.HasField("vocabulary") else None,
            feature_width=message.feature_width,
            streaming=_streaming(message.streaming) if message.HasField("streaming") else None,
            external_weights=message.external_weights,
            frozen=tuple(ParameterSpec(spec.name, tuple(spec.shape)) for spec in message.frozen),
            prefix_shape=tuple(message.prefix_shape),
            input_rule=rule_of_message(message.input_rule) if message.HasField("input_rule") else InputRule(),
            class_names=tuple(message.class_names),
            columns=columns_of_message(message.columns) if message.HasField("columns") else None,
            generation=message.generation or FIRST_GENERATION,
            buffers=tuple(message.buffers),
            one_at_a_time=message.one_at_a_time,
            target=_target(message.target) if message.HasField("target") else SINGLE_LABEL,
            uniforms=_ports(message.uniforms),
            subwords=_subwords(message.subwords) if message.HasField("subwords") else None,
        )
    except InvalidValue as error:
        raise WireError(error.field, error.problem) from None
    if message.parameter_count != manifest.parameter_count:
        problem = f"{message.parameter_count}, but the parameters hold {manifest.parameter_count} values"
        raise WireError("parameter_count", problem)
    return manifest


def _target(message: pb.Target) -> Target:
    kinds = {kind.value: kind for kind in TargetKind}
    if message.kind not in kinds:
        raise WireError("target.kind", f"unknown value {message.kind[:40]!r}")
    return Target(
        kind=kinds[message.kind],
        size=message.size,
        offset=tuple(message.offset),
        scale=tuple(message.scale),
    )


def _streaming(message: pb.Streaming) -> Streaming:
    return Streaming(_ports(message.state), message.places)


def _subwords(message: pb.Subwords) -> Subwords:
    return Subwords(message.places, message.pad, message.size, message.library, message.answer)


def _vocabulary(message: pb.Vocabulary) -> Vocabulary:
    return Vocabulary(message.size, message.step_size, tuple(message.tables), message.tokenizer)


def _ports(ports: Iterable[pb.GraphPort]) -> tuple[GraphPort, ...]:
    return tuple(GraphPort(port.name, tuple(port.shape), port.element_type) for port in ports)
