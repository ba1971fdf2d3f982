from pathlib import Path

import numpy as np
import pytest
from fedstill_client.model.predictor import Predictor
from fedstill_proto.arrays import Parameters
from fedstill_proto.package.artifact import StudentPackage, load_student
from fedstill_server.families import ARRAYS, FAMILIES, initial_parameters
from fedstill_sim.data.digits import load_digits
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.runner.export_students import evenly_spaced, export_students


@pytest.fixture(scope="module")
def data() -> FleetData:
    return load_digits(devices=6, families=("cnn", "mlp-small"))


def fresh(family: str, seed: int) -> Parameters:
    return initial_parameters(family, (8, 8), 10, seed)


@pytest.mark.parametrize("family", sorted(FAMILIES.of_task(ARRAYS)))
def test_a_device_s_own_weights_answer_as_in_torch(tmp_path: Path, family: str) -> None:
    """Of a convolution, too: ONNX Runtime may keep the exported graph's weights in a layout of its own."""
    data = load_digits(devices=6, families=(family,))

    def personal(devices: list[int]) -> Parameters:
        own = [fresh(family, 100 + device) for device in devices]
        return {name: np.stack([one[name] for one in own]) for name in own[0]}

    found = export_students(
        tmp_path, data, {family: fresh(family, 0)}, with_student=np.arange(6), personal=personal
    )[family]

    assert found.personal_students_checked == 4
    assert found.max_abs_logit > 0.01
    assert found.max_abs_logit_difference < 1e-5 * max(1.0, found.max_abs_logit)


def test_a_wrong_answer_would_be_seen(tmp_path: Path, data: FleetData) -> None:
    """The check compares what it says it compares: students that differ give logits that differ."""
    found = export_students(
        tmp_path, data, {"mlp-small": fresh("mlp-small", 0)}, with_student=np.arange(0), personal=lambda _: {}
    )["mlp-small"]
    package = load_student(tmp_path / "students" / "mlp-small")
    other = StudentPackage(package.manifest, package.inference_graph, fresh("mlp-small", 1))

    x = np.array(data.global_x)
    difference = np.abs(Predictor(other).logits(x) - Predictor(package).logits(x)).max()

    assert found.personal_students_checked == 0
    assert difference > 100 * found.max_abs_logit_difference


def test_only_devices_of_the_family_that_have_a_student_are_checked(tmp_path: Path, data: FleetData) -> None:
    asked: list[list[int]] = []

    def personal(devices: list[int]) -> Parameters:
        asked.append(list(devices))
        return {name: np.stack([array] * len(devices)) for name, array in fresh("cnn", 5).items()}

    found = export_students(
        tmp_path, data, {"cnn": fresh("cnn", 0)}, with_student=np.arange(4), personal=personal
    )["cnn"]

    assert asked == [[0, 2]]  # devices 0, 2 and 4 are cnn, and 4 has no student
    assert (found.devices, found.personal_students_checked) == (3, 2)


def test_evenly_spaced() -> None:
    assert evenly_spaced([5, 7, 9], 4) == [5, 7, 9]
    assert evenly_spaced(list(range(100)), 4) == [0, 33, 66, 99]
    assert evenly_spaced([], 4) == []
