"""Builds a student package: all that a device needs to answer with a student and to train it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from fedstill_proto.arrays import FloatArray, Parameters, parameter_specs
from fedstill_proto.package.artifact import INFERENCE_FILE, INT8_FILE, StudentPackage, TrainingArtifact

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.data.forms import Labels
from fedstill_server.export.apart import constants_apart
from fedstill_server.export.build import ArtifactOptions, build_artifact
from fedstill_server.export.int8 import quantize_student
from fedstill_server.export.opened import logits_of_graph
from fedstill_server.export.student import export_student
from fedstill_server.families import build_student
from fedstill_server.methods.artifact_options import artifact_options
from fedstill_server.publish.errors import PublishError
from fedstill_server.publish.probing import check_classes_known, probe_package
from fedstill_server.publish.text import as_text_package
from fedstill_server.publish.weights_apart import MANY_WEIGHTS, with_weights_apart
from fedstill_server.tasks.interface import NO_FILES, PackageFiles
from fedstill_server.training.networks import load_parameters, logits_of

LOWEST_AGENT_VERSION = "0.1.0"
"""The oldest fedstill that can use what is built here; raise it when graphs or manifests need more."""

LARGEST_DIFFERENCE = 1e-4  # between the logits of torch and ONNX Runtime
_ROWS_COMPARED, _VALUES_COMPARED = 256, 1 << 22  # examples at most, and logits


def build_package(
    config: FleetConfig,
    family: str,
    parameters: Parameters,
    *,
    package_version: int,
    public_x: FloatArray,  # [P, *input_shape]
    quality: Mapping[str, float] | None = None,
    files: PackageFiles = NO_FILES,
    cache: Path | None = None,
) -> StudentPackage:
    """The package of a fleet's student, for the fleet's method.

    Args:
        config: The fleet's.
        family: The student's.
        parameters: Its weights.
        package_version: Above that of every package that devices may have.
        public_x: The public set [P, *input_shape].
        quality: Figures measured on the server, by name.
        files: What the fleet's task adds.
        cache: A folder that keeps training artifacts.

    Raises:
        PublishError: ONNX Runtime and torch answer differently, or the package suggests what it suppresses.
    """
    package = package_of(
        artifact_options(config, family),
        parameters,
        package_version=package_version,
        public_x=public_x,
        quality=quality,
        files=files,
        cache=cache,
    )
    described = replace(
        package.manifest,
        input_rule=config.input_rule,
        class_names=config.class_names,
        columns=config.columns,
        generation=config.generation,
    )
    made = replace(package, manifest=described)
    check_classes_known(made)
    probe_package(made, public_x)
    return made


def package_of(
    options: ArtifactOptions,
    parameters: Parameters,
    *,
    package_version: int,
    public_x: FloatArray,  # [P, *input_shape]; int64 numbers of words where it is text
    quality: Mapping[str, float] | None = None,
    files: PackageFiles = NO_FILES,
    cache: Path | None = None,
) -> StudentPackage:
    """The package of a student of any family: its inference graph, also in 8 bits, training step and weights.

    A student of text also has graphs of one word at a time, and its weights are in none of the graphs.
    Arguments and errors are those of `build_package`; `options` are what the training artifact is.
    """
    artifact = build_artifact(options, cache=cache)
    family, shape, classes = options.family, options.input_shape, options.classes
    student, graph = export_student(
        family=family, input_shape=shape, classes=classes, parameters=parameters, target=options.target
    )
    values = math.prod((*student.label_shape, classes))  # logits of an example
    compared = public_x[: max(1, min(_ROWS_COMPARED, _VALUES_COMPARED // values))]
    answers = _checked_answers(options, parameters, graph, compared)
    student = replace(student, subwords=files.subwords)
    answering = StudentPackage(
        student,
        graph,
        parameters,
        vocabulary=files.vocabulary,
        intents=files.intents,
        lexicon=files.lexicon,
        slots=files.slots,
        slots_graph=files.slots_graph,
        tokenizer=files.tokenizer,
        constraints=files.constraints,
    )
    measured = dict(quality or {})
    # What an 8-bit graph of numbers is off by is not measured.
    eight_bit = None if options.target.is_regression else quantize_student(graph, parameters)
    if eight_bit is not None:
        answering = replace(
            answering,
            manifest=replace(student, quantized=eight_bit.quantized),
            int8_graph=eight_bit.graph,
        )
        same = logits_of_graph(eight_bit.graph, compared).argmax(-1) == answers.argmax(-1)
        measured["top1_agreement_int8"] = float(same.mean())
    if options.form.labels is Labels.EACH_PLACE and not artifact.frozen:
        answering = as_text_package(answering)
    elif files.subwords is not None and sum(array.size for array in parameters.values()) >= MANY_WEIGHTS:
        answering = with_weights_apart(answering)
    if artifact.frozen:
        answering = with_frozen_apart(answering)
    return assemble_package(
        artifact, answering, package_version=package_version, public_x=public_x, quality=measured
    )


def assemble_package(
    artifact: TrainingArtifact,
    student: StudentPackage,
    *,
    package_version: int,
    public_x: FloatArray | None,
    quality: Mapping[str, float] | None = None,
) -> StudentPackage:
    """One package of a finished student and its training artifact.

    The training side of the manifest is the artifact's; the inference graphs, the weights, the 8-bit weights,
    the vocabulary, the intents, the rule of inputs and the names of classes are the student's.

    Args:
        artifact: The training artifact, for one device.
        student: A package that can only answer.
        package_version: Of the new package.
        public_x: The public set; None leaves it out.
        quality: Measured figures by name.

    Raises:
        PublishError: The artifact is another family's, or for several devices.
    """
    if artifact.manifest.stack_size != 1 or artifact.manifest.family != student.manifest.family:
        raise PublishError(
            f"{student.manifest.family}: the training artifact is of {artifact.manifest.family!r} for "
            f"{artifact.manifest.stack_size} devices; a device needs its own family's, for one."
        )
    frozen = dict(sorted({**student.frozen, **artifact.frozen}.items()))
    manifest = replace(
        artifact.manifest,
        parts=(),
        inputs=student.manifest.inputs,
        outputs=student.manifest.outputs,
        quantized=student.manifest.quantized,
        streaming=student.manifest.streaming,
        input_rule=student.manifest.input_rule,
        class_names=student.manifest.class_names,
        columns=student.manifest.columns,
        subwords=student.manifest.subwords,
        external_weights=student.manifest.external_weights,
        frozen=parameter_specs(frozen),
        package_version=package_version,
        lowest_agent_version=LOWEST_AGENT_VERSION,
        quality=tuple(sorted((quality or {}).items())),
    )
    package = replace(
        student,
        manifest=manifest,
        parameters={spec.name: student.parameters[spec.name] for spec in manifest.parameters},
        training_graph=artifact.training_graph,
        forward_graph=artifact.forward_graph,
        prefix_graph=artifact.prefix_graph,
        frozen=frozen,
        public_x=public_x,
    )
    return replace(package, manifest=manifest.with_parts(package.contents()))


def with_frozen_apart(student: StudentPackage) -> StudentPackage:
    """The student whose graphs read the frozen weights from outside, as those of its training artifact do."""
    graphs = {INFERENCE_FILE: student.inference_graph}
    if student.int8_graph is not None:
        graphs[INT8_FILE] = student.int8_graph
    codes = {name for weight in student.manifest.quantized for name in (weight.codes, weight.scales)}
    without, frozen = constants_apart(graphs, weights={*student.parameters, *codes})
    manifest = replace(student.manifest, frozen=parameter_specs(frozen))
    return replace(
        student,
        manifest=manifest,
        frozen=frozen,
        inference_graph=without[INFERENCE_FILE],
        int8_graph=without.get(INT8_FILE),
    )


def _checked_answers(
    options: ArtifactOptions, parameters: Parameters, graph: bytes, x: FloatArray
) -> FloatArray:
    """The graph's logits [n, ..., classes]; raises PublishError unless they are torch's."""
    student = build_student(options.family, options.input_shape, options.classes, target=options.target)
    expected = logits_of(load_parameters(student, parameters), x)
    answered = logits_of_graph(graph, x)
    difference = float(np.abs(answered - expected).max())
    if not difference <= LARGEST_DIFFERENCE:
        raise PublishError(
            f"{options.family}: logits of ONNX Runtime and torch differ by {difference:.2g} on the public "
            f"set, more than {LARGEST_DIFFERENCE:g}; the package is not published."
        )
    return answered
