"""A package of text: one word at a time as all at once, and weights that stand in it once."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import safetensors.numpy
import torch
from fedstill_client.agent_types import PRECISIONS, Precision
from fedstill_client.keyboard.next_word_model import REPLAYED_WORDS, StudentNextWordModel
from fedstill_client.model.answering_student import AnsweringStudent
from fedstill_client.model.predictor import PredictionError
from fedstill_client.model.streaming import WordStream
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.package.artifact import PARAMETERS_FILE, StudentPackage, load_student, save_package
from fedstill_proto.package.manifest import StudentManifest
from fedstill_proto.package.package_weights import graph_weights
from fedstill_server.export.int8 import quantize_student
from fedstill_server.export.streaming import export_step
from fedstill_server.export.student import export_student
from fedstill_server.families import build_student, initial_parameters
from fedstill_server.publish.text import as_text_package
from fedstill_server.training.networks import load_parameters

WORDS, PLACES = 61, 8
FAMILIES = ("gru-32-48", "transformer")


@functools.cache
def package(family: str) -> StudentPackage:
    parameters = initial_parameters(family, (PLACES,), WORDS, 3)
    manifest, graph = export_student(
        family=family, input_shape=(PLACES,), classes=WORDS, parameters=parameters
    )
    eight_bit = quantize_student(graph, parameters)
    assert eight_bit is not None
    made = StudentPackage(
        replace(manifest, quantized=eight_bit.quantized), graph, parameters, int8_graph=eight_bit.graph
    )
    return as_text_package(made)


def text(words: int) -> list[int]:
    return [int(word) for word in np.random.default_rng(7).integers(0, WORDS, words)]


def by_torch(family: str, words: list[int]) -> Any:
    """Chances [V] after the words, by the student that the package's weights are."""
    student: Any = load_parameters(build_student(family, (PLACES,), WORDS), dict(package(family).parameters))
    with torch.no_grad():
        return torch.softmax(student(torch.tensor([words]))[0, -1], -1).numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_growing_context_says_what_the_whole_row_says(family: str) -> None:
    words = text(PLACES)
    by_word, by_row = (AnsweringStudent(package(family)) for _ in range(2))
    by_row.stream = lambda: None  # type: ignore[method-assign]
    streamed, whole = StudentNextWordModel(by_word), StudentNextWordModel(by_row)

    for count in range(1, PLACES + 1):
        said = streamed.next_words(words[:count])
        np.testing.assert_allclose(said, whole.next_words(words[:count]), atol=1e-5)
    for count in (PLACES - 1, 3, 5):  # words that were taken back, and others
        np.testing.assert_allclose(
            streamed.next_words(words[:count]), whole.next_words(words[:count]), atol=1e-5
        )
    other = [*words[:3], (words[3] + 1) % WORDS]
    np.testing.assert_allclose(streamed.next_words(other), whole.next_words(other), atol=1e-5)


def test_a_word_costs_one_step_and_a_letter_none(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    step = WordStream.step
    monkeypatch.setattr(
        WordStream, "step", lambda self, word, state: steps.append(word) or step(self, word, state)
    )
    words, model = text(40), StudentNextWordModel(AnsweringStudent(package(FAMILIES[0])))
    for count in range(1, 41):
        model.next_words(words[:count])
        model.next_words(words[:count])
    assert steps == words
    model.next_words(words[:20])  # a kept state
    assert len(steps) == 40


def test_a_recurrent_state_takes_in_the_whole_text() -> None:
    """Which no row of S words would hold; torch reads one of any length."""
    words, model = text(40), StudentNextWordModel(AnsweringStudent(package(FAMILIES[0])))
    said = [model.next_words(words[:count]) for count in range(1, 41)][-1]
    np.testing.assert_allclose(said, by_torch(FAMILIES[0], words), atol=1e-5)
    afresh = StudentNextWordModel(AnsweringStudent(package(FAMILIES[0])))
    longer = text(REPLAYED_WORDS + 30)
    np.testing.assert_allclose(
        afresh.next_words(longer), by_torch(FAMILIES[0], longer[-REPLAYED_WORDS:]), atol=1e-5
    )


def test_a_state_that_is_full_is_told_half_of_it_again() -> None:
    words, model = text(2 * PLACES), StudentNextWordModel(AnsweringStudent(package("transformer")))
    for count in range(1, PLACES + 2):
        model.next_words(words[:count])
    # The last half of the places, in a row of their own: what stands behind them, no place sees.
    half = words[PLACES + 1 - PLACES // 2 : PLACES + 1]
    padded = half + [0] * (PLACES - len(half))
    student: Any = load_parameters(
        build_student("transformer", (PLACES,), WORDS), dict(package("transformer").parameters)
    )
    with torch.no_grad():
        expected = torch.softmax(student(torch.tensor([padded]))[0, len(half) - 1], -1).numpy()
    np.testing.assert_allclose(model.next_words(words[: PLACES + 1]), expected, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_answers_in_both_precisions_with_own_weights(family: str, precision: Precision) -> None:
    student, own = (
        AnsweringStudent(package(family), precision=precision),
        initial_parameters(family, (PLACES,), WORDS, 9),
    )
    assert student.precision == precision
    first = StudentNextWordModel(student).next_words([5, 6])
    student.swap(own)
    words = StudentNextWordModel(student)
    swapped = words.next_words([5, 6])
    rows = student.probabilities_along(np.array([[5, 6, *[0] * (PLACES - 2)]]))[0, 1]
    np.testing.assert_allclose(swapped, rows, atol=1e-5)
    assert np.abs(swapped - first).max() > 1e-3
    reference = AnsweringStudent(package(family))
    reference.swap(own)
    np.testing.assert_allclose(swapped, StudentNextWordModel(reference).next_words([5, 6]), atol=0.01)


class TestWeightsOnce:
    def test_no_graph_holds_any(self) -> None:
        made = package("transformer")
        graphs = (made.inference_graph, made.int8_graph, made.step_graph, made.step_int8_graph)
        for graph in graphs:
            assert graph is not None
            inside = {tensor.name for tensor in onnx.load_from_string(graph).graph.initializer}
            for quantized in ((), made.manifest.quantized):
                assert not inside & graph_weights(made.parameters, quantized).keys()
            assert len(graph) < 20_000

    def test_any_runtime_runs_the_whole_graph(self) -> None:
        made = package(FAMILIES[0])
        assert made.int8_graph is not None
        x = np.array([text(PLACES)])
        answers = [
            ort.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(["logits"], {"x": x})[0]
            for graph in (made.whole(made.inference_graph), made.whole(made.int8_graph, int8=True))
        ]
        np.testing.assert_allclose(answers[0], answers[1], atol=0.05)

    def test_its_folder_is_small_and_comes_back(self, tmp_path: Path) -> None:
        made = package(FAMILIES[0])
        save_package(tmp_path / "p", made)
        loaded = load_student(tmp_path / "p")
        assert loaded.contents() == made.contents()
        for name, array in made.parameters.items():
            np.testing.assert_array_equal(loaded.parameters[name], array)
        stored = safetensors.numpy.load_file(tmp_path / "p" / PARAMETERS_FILE)
        assert stored["embedding.weight.codes"].dtype == np.uint8
        assert "embedding.weight" not in stored
        values = made.manifest.parameter_count
        assert (tmp_path / "p" / PARAMETERS_FILE).stat().st_size < 1.4 * values + 4000

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"embedding.weight.codes": None}, "holds no array 'embedding.weight.codes'"),
            (
                {"embedding.weight.codes": np.zeros((WORDS, 1, 16), np.uint8)},
                "codes uint8 .* are not its own",
            ),
            ({"embedding.weight.scales": np.full((WORDS, 1), np.nan, np.float32)}, "not finite"),
            ({"of_word.bias": np.zeros(3, np.float32)}, "not as the manifest says"),
            ({"more": np.zeros(3, np.float32)}, "does not name: more"),
        ],
    )
    def test_weights_that_are_not_its_own_are_refused(self, change: dict[str, Any], message: str) -> None:
        made = package(FAMILIES[0])
        contents = made.contents()
        arrays = {**safetensors.numpy.load(contents[PARAMETERS_FILE]), **change}
        contents[PARAMETERS_FILE] = safetensors.numpy.save({n: a for n, a in arrays.items() if a is not None})
        with pytest.raises(WireError, match=message):
            StudentPackage.of_contents(made.manifest, contents)

    def test_what_does_not_belong_together_is_refused(self) -> None:
        made = package(FAMILIES[0])
        for changes in (
            {"step_graph": None, "step_int8_graph": None},
            {"int8_graph": None},
            {"manifest": replace(made.manifest, external_weights=False)},
        ):
            with pytest.raises(InvalidValue, match="step"):
                replace(made, **changes)  # type: ignore[arg-type]
        assert StudentManifest.from_json(made.manifest.to_json()) == made.manifest
        stream = WordStream(made, made.parameters)
        with pytest.raises(PredictionError, match="word 61 is not among"):
            stream.step(WORDS, stream.start())


def test_a_classifier_does_not_stream() -> None:
    parameters = initial_parameters("mlp-small", (4,), 3, 0)
    assert export_step(family="mlp-small", input_shape=(4,), classes=3, parameters=parameters) is None
