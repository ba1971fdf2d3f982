"""Flower's own simulation with the real ClientApp comes to the same consensus as the cohort engine."""

from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.messages import Optimizer, TrainingPlan
from fedstill_proto.system.sealed import write_sealed_json
from fedstill_server.app import app
from fedstill_server.config.choice import Choice
from fedstill_server.config.fleet import FleetConfig, TeacherConfig
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.run_folder import FOLDER_KEY
from fedstill_server.state import FleetState
from fedstill_sim.data.digits import load_digits
from fedstill_sim.data.fleet import save_fleet
from fedstill_sim.engine.cohort import CohortEngine
from fedstill_sim.engine.grid import InProcessGrid
from fedstill_sim.runner.artifacts import prepare_artifacts
from fedstill_sim.runner.flower_engine import device_folder, flower_students, run_flower_simulation
from fedstill_sim.runner.installed import packages_installed

DEVICES, ROUNDS = 4, 2
FAMILIES = ("mlp-small", "cnn")


def write_run(folder: Path, *, stack_sizes: dict[str, int]) -> None:
    """Four writers, two families, class means."""
    fleet = FleetConfig(
        run="0123abcd",
        method=Choice(name="class-logits"),
        rounds=ROUNDS,
        seed=0,
        families=FAMILIES,
        classes=10,
        input_shape=(8, 8),
        public_set="data/public.npz",
        training=TrainingPlan(1, 16, 0.1, Optimizer.SGD, 2.0, 0.5, 0),
        teacher=TeacherConfig(hidden=(32,), epochs=3, student_epochs=3, round_epochs=1),
    )
    save_fleet(load_digits(devices=DEVICES, families=FAMILIES), folder / "data")
    write_sealed_json(folder / "config.json", {"fleet": fleet.to_json()})
    prepare_artifacts(folder, fleet, devices=DEVICES, stack_sizes=stack_sizes)


def outcome(folder: Path) -> tuple[FleetState, list[RoundRecord]]:
    store = RunStore(folder)
    try:
        last = store.latest()
        assert last is not None
        return last.state, list(store.records())
    finally:
        store.close()


@pytest.fixture
def cohort_run(tmp_path: Path) -> Path:
    folder = tmp_path / "cohort"
    sizes = dict.fromkeys(FAMILIES, 2)
    write_run(folder, stack_sizes=sizes)
    with packages_installed(folder), CohortEngine(folder, stack_sizes=sizes, processes=0) as engine:
        grid = InProcessGrid(devices=DEVICES, handlers=engine.handlers)
        app(grid, grid.context(run_config={FOLDER_KEY: str(folder)}))
    return folder


@pytest.mark.slow
def test_flower_comes_to_the_same_consensus(tmp_path: Path, cohort_run: Path) -> None:
    folder = tmp_path / "flower"
    write_run(folder, stack_sizes=dict.fromkeys(FAMILIES, 1))
    with packages_installed(folder):
        run_flower_simulation(folder, processes=2)

    (found, records), (expected, expected_records) = outcome(folder), outcome(cohort_run)
    for name, array in expected.arrays.items():
        np.testing.assert_allclose(found.arrays[name], array, atol=1e-4, err_msg=name)
    assert [record.accepted for record in records] == [DEVICES] * ROUNDS
    assert [record.personal_accuracy for record in records] == pytest.approx(
        [record.personal_accuracy for record in expected_records], abs=0.02
    )
    with CohortEngine(cohort_run, stack_sizes=dict.fromkeys(FAMILIES, 2), processes=0) as engine:
        for devices in ([0, 2], [1, 3]):
            students = engine.students(devices, after_round=ROUNDS)
            for name, array in flower_students(folder, devices).items():
                np.testing.assert_allclose(array, students[name], atol=1e-4, err_msg=name)
    assert device_folder(folder, 3).joinpath("public.npz").is_symlink()
