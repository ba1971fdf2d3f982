"""A device's folder: what is read from it, what is refused, and a round on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedstill_client.model.examples import ExampleFileError
from fedstill_client.rounds.device import FleetDevice
from fedstill_client.rounds.round import NoStudent, TrainingDiverged
from fedstill_proto.codec.api import Expected, decode_summary
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import SummaryKind, SummaryRequest
from fedstill_proto.package.artifact import save_artifact
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec

from tests.client.samples import CLASSES, artifact, examples, plan, student, task, write_device

MEANS = SummaryRequest(SummaryKind.CLASS_MEANS, SoftLabelCodec(Encoding.FLOAT32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_device(tmp_path / "device", artifact())


def rewrite(file: Path, **changes: Any) -> None:
    with np.load(file) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(file, **{name: value for name, value in (arrays | changes).items() if value is not None})


def test_a_folder_is_read(folder: Path) -> None:
    device = FleetDevice.open(folder)

    assert device.description.name == "kitchen"
    assert device.description.owner_share == 0.3
    assert device.private.counts.tolist() == [20]
    assert device.held_out.counts.tolist() == [30]
    assert device.public_x is not None
    assert device.public_x.shape == (12, 6)
    assert device.global_test is not None
    assert device.global_test[1].shape == (40,)


def test_public_and_global_sets_are_optional(folder: Path) -> None:
    (folder / "public.npz").unlink()
    (folder / "global_test.npz").unlink()

    device = FleetDevice.open(folder)

    assert device.public_x is None
    assert device.global_test is None
    counts = device.evaluate(task(plan(), replace_student=True))
    assert counts.global_examples.tolist() == [0]


def test_a_device_without_private_examples_opens(folder: Path) -> None:
    rewrite(folder / "private.npz", x_train=np.zeros((0, 6), np.float32), y_train=np.zeros(0, np.int64))

    summary = decode_summary(
        FleetDevice.open(folder).perform(task(request=MEANS)),
        expected=Expected.of(task(request=MEANS), CLASSES),
    )

    assert summary.statistics.present_classes.tolist() == []


def test_small_integers_are_examples_too(folder: Path) -> None:
    rewrite(folder / "private.npz", x_train=np.full((20, 6), 200, np.uint8))

    assert FleetDevice.open(folder).private.x.max() == 200.0


class TestRefusedExamples:
    """Each refusal names the file and the array in it."""

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"y_train": None}, r"private\.npz: y_train: is not in the file, which holds .*x_train"),
            ({"x_train": np.zeros((20, 7), np.float32)}, r"x_train: has shape \[20, 7\].*takes \[n, 6\]"),
            ({"x_train": np.full((20, 6), "a")}, "x_train: is of type <U1; give floats or integers"),
            ({"x_train": np.full((20, 6), True)}, "x_train: is of type bool"),
            (
                {"x_test": np.full((30, 6), np.nan)},
                "x_test: row 0 holds a value that is not a finite float32",
            ),
            ({"x_test": np.full((30, 6), 1e300)}, "x_test: row 0 holds a value that is not a finite"),
            ({"y_train": np.zeros(19, np.int64)}, r"y_train: has shape \[19\]; there are 20 examples"),
            ({"y_train": np.zeros(20)}, "y_train: is of type float64; give integers"),
            ({"y_test": np.arange(30) % 4}, r"y_test: row 3 is 3; classes are 0 to 2"),
            ({"y_test": -np.ones(30, np.int64)}, "y_test: row 0 is -1"),
        ],
    )
    def test_private_examples(self, folder: Path, changes: dict[str, Any], message: str) -> None:
        rewrite(folder / "private.npz", **changes)

        with pytest.raises(ExampleFileError, match=message):
            FleetDevice.open(folder)

    def test_pickled_objects_are_never_loaded(self, folder: Path) -> None:
        rewrite(folder / "private.npz", x_train=np.array([{"an": "object"}] * 20))

        with pytest.raises(ExampleFileError, match=r"private\.npz: holds Python objects, which are not read"):
            FleetDevice.open(folder)

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x93NUMPY broken", b"\x80\x04 pickle"])
    def test_files_that_are_no_npz(self, folder: Path, content: bytes) -> None:
        (folder / "public.npz").write_bytes(content)

        with pytest.raises(ExampleFileError, match=r"public\.npz: is "):
            FleetDevice.open(folder)

    def test_a_missing_file(self, folder: Path) -> None:
        (folder / "private.npz").unlink()

        with pytest.raises(ExampleFileError, match=r"private\.npz: there is no such file"):
            FleetDevice.open(folder)


class TestRefusedFolders:
    """A device that does not say who it is, or has another's student."""

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "device.json: cannot be used"),
            ("[]", "holds no object like"),
            ('{"name": "kitchen"}', "give name and family"),
            ('{"name": "kitchen", "family": "mlp-small", "frobnicate": 1}', "'frobnicate'"),
            ('{"name": "", "family": "mlp-small"}', "name: '' is no"),
            ('{"name": 3, "family": "mlp-small"}', "name: 3 is no"),
            ('{"name": "kitchen", "family": "no/such"}', "family: 'no/such'"),
            ('{"name": "kitchen", "family": "mlp-small", "owner_share": -1}', "owner_share is -1"),
            (
                '{"name": "kitchen", "family": "cnn"}',
                "names student family 'cnn', the artifact is for 'mlp-small'",
            ),
        ],
    )
    def test_descriptions(self, folder: Path, content: str, message: str) -> None:
        (folder / "device.json").write_text(content)

        with pytest.raises(FedstillError, match=message):
            FleetDevice.open(folder)

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(FedstillError, match=r"nowhere/device\.json"):
            FleetDevice.open(tmp_path / "nowhere")

    def test_an_artifact_of_a_simulator(self, folder: Path) -> None:
        save_artifact(artifact(stack_size=5), folder / "artifact")

        with pytest.raises(FedstillError, match="trains 5 devices at a time"):
            FleetDevice.open(folder)

    def test_an_altered_artifact(self, folder: Path) -> None:
        graph = folder / "artifact" / "training.onnx"
        graph.write_bytes(graph.read_bytes()[:-1] + b"\x00")

        with pytest.raises(FedstillError, match=r"training\.onnx"):
            FleetDevice.open(folder)


class TestRounds:
    """What a device does, and remembers, over rounds; each time from a folder opened anew."""

    def test_the_student_lives_on_between_rounds(self, folder: Path) -> None:
        FleetDevice.open(folder).perform(task(round=1))
        first = FleetDevice.open(folder).store.latest()
        FleetDevice.open(folder).perform(task(round=2, parameters={}))
        second = FleetDevice.open(folder).store.latest()

        assert first is not None
        assert second is not None
        assert (first.round, second.round) == (1, 2)
        assert not np.array_equal(first.parameters["output.bias"], second.parameters["output.bias"])
        assert not np.array_equal(first.parameters["output.bias"], student()["output.bias"])

    def test_a_round_asked_for_again_has_the_same_answer(self, folder: Path) -> None:
        FleetDevice.open(folder).perform(task(round=1, request=MEANS))
        second = task(round=2, parameters={}, request=MEANS)

        answer = FleetDevice.open(folder).perform(second)
        again = FleetDevice.open(folder).perform(second)
        once_more = FleetDevice.open(folder).perform(second)

        assert answer == again == once_more
        assert FleetDevice.open(folder).perform(task(round=3, parameters={}, request=MEANS)) != answer

    def test_the_first_round_asked_for_again_needs_the_student_again(self, folder: Path) -> None:
        answer = FleetDevice.open(folder).perform(task(request=MEANS))

        assert FleetDevice.open(folder).perform(task(request=MEANS)) == answer
        with pytest.raises(NoStudent):
            FleetDevice.open(folder).perform(task(request=MEANS, parameters={}))

    def test_a_failed_round_changes_nothing(self, folder: Path) -> None:
        FleetDevice.open(folder).perform(task(round=1))
        before = (folder / "state" / "students.safetensors").read_bytes()

        with pytest.raises(TrainingDiverged, match=r"learning rate 1e\+06"):
            FleetDevice.open(folder).perform(task(plan(learning_rate=1e6, epochs=20), round=2, parameters={}))

        assert (folder / "state" / "students.safetensors").read_bytes() == before

    def test_a_student_that_replaces_starts_from_the_task_every_time(self, folder: Path) -> None:
        FleetDevice.open(folder).perform(task(round=1, parameters=student(3)))

        replaced = FleetDevice.open(folder).perform(task(round=2, replace_student=True, request=MEANS))

        fresh = write_device(folder.parent / "other", artifact())
        assert FleetDevice.open(fresh).perform(task(round=2, request=MEANS)) == replaced

    def test_evaluation_is_of_the_rounds_own_student(self, folder: Path) -> None:
        training = plan(epochs=30, learning_rate=0.3)
        FleetDevice.open(folder).perform(task(training, round=1))

        counts = FleetDevice.open(folder).evaluate(task(training, round=1))
        of_the_start = FleetDevice.open(folder).evaluate(task(training, round=1, replace_student=True))

        assert counts.personal_examples.tolist() == [30]
        assert counts.global_examples.tolist() == [40]
        assert counts.global_correct[0] > of_the_start.global_correct[0]

    def test_evaluation_without_any_student(self, folder: Path) -> None:
        with pytest.raises(NoStudent):
            FleetDevice.open(folder).evaluate(task(parameters={}))

    def test_the_label_prior_comes_from_the_description(self, folder: Path) -> None:
        # A device that has only ever seen class 2 asks a student that knows nothing about class 2.
        rewrite(folder / "private.npz", y_train=np.full(20, 2), y_test=np.full(30, 2))
        nothing = {name: np.zeros_like(array) for name, array in student().items()}
        asked = task(parameters=nothing, replace_student=True)

        with_prior = FleetDevice.open(folder).evaluate(asked)
        description = {"name": "kitchen", "family": "mlp-small", "owner_share": 0}
        (folder / "device.json").write_text(json.dumps(description))
        without = FleetDevice.open(folder).evaluate(asked)

        assert with_prior.personal_correct.tolist() == [30]
        assert without.personal_correct.tolist() == [0]
        # The same answers on everyone's examples: it says 2 there, too, where it said 0.
        assert with_prior.global_correct.tolist() != without.global_correct.tolist()
        assert with_prior.fleet_global_correct.tolist() == without.global_correct.tolist()

    def test_a_strength_in_an_older_home_is_a_share(self, folder: Path) -> None:
        for strength, share in ((0, 0.0), (0.5, 0.3)):
            text = json.dumps({"name": "kitchen", "family": "mlp-small", "label_prior": strength})
            (folder / "device.json").write_text(text)
            assert FleetDevice.open(folder).description.owner_share == share

    def test_predictions_are_the_own_students(self, folder: Path) -> None:
        x, _ = examples(5, seed=9)
        with pytest.raises(NoStudent, match="personalize it or run a round"):
            FleetDevice.open(folder).predict(x)
        FleetDevice.open(folder).perform(task(plan(epochs=40, learning_rate=0.3)))

        probabilities = FleetDevice.open(folder).predict(x)

        assert probabilities.shape == (5, 3)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
