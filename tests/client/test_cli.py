"""fedstill-agent on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedstill_client.cli import app
from fedstill_client.learning import LearningSettings
from fedstill_client.rounds.device import FleetDevice
from fedstill_client.rounds.offline import personalize
from fedstill_client.rounds.round import NoStudent
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import save_student
from typer.testing import CliRunner

from tests.client.samples import artifact, examples, mlp_logits, student, student_package, task, write_device


@pytest.fixture
def device(tmp_path: Path) -> Path:
    return write_device(tmp_path / "device", artifact(step_rows=16, optimizer=Optimizer.ADAMW), private=60)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("students") / "mlp-small"
    exported = student_package()
    save_student(folder, exported.manifest, exported.inference_graph, exported.parameters)
    return folder


def run(*arguments: object) -> str:
    """What a command prints; an error of ours is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


def run_json(*arguments: object) -> dict[str, Any]:
    facts = json.loads(run(*arguments, "--json"))
    assert isinstance(facts, dict)
    return facts


class TestPersonalize:
    """Training on the device's own examples, without any server."""

    options = ("--epochs", 20, "--learning-rate", 0.02)

    def test_it_helps_and_is_kept(self, device: Path, package: Path) -> None:
        facts = run_json("personalize", "--device", device, "--start", package, *self.options)

        assert facts["device"] == "kitchen"
        assert facts["after"]["personal_accuracy"] > facts["before"]["personal_accuracy"]
        assert facts["held_out_examples"] == 30
        assert facts["steps"] == 20 * 8  # 60 examples in batches of 8: half of the artifact's 16 rows
        assert facts["public_examples"] == 12
        own = FleetDevice.open(device).store.latest()
        assert own is not None
        answers = mlp_logits(own.parameters, examples(40, seed=4)[0]).argmax(axis=1)
        right = (answers == examples(40, seed=4)[1]).mean()
        assert facts["after"]["global_accuracy"] == pytest.approx(right)

    def test_it_goes_on_from_the_own_student(self, device: Path, package: Path) -> None:
        first = run_json("personalize", "--device", device, "--start", package, *self.options)
        second = run_json("personalize", "--device", device, *self.options)

        assert second["before"] == first["after"]

    def test_a_large_soft_weight_keeps_the_student_as_it_was(self, device: Path, package: Path) -> None:
        def moved(soft_weight: float, folder: Path) -> float:
            run(
                "personalize",
                "--device",
                folder,
                "--start",
                package,
                "--soft-weight",
                soft_weight,
                *self.options,
            )
            own = FleetDevice.open(folder).store.latest()
            assert own is not None
            x = examples(12, seed=3)[0]
            return float(np.abs(mlp_logits(own.parameters, x) - mlp_logits(student(), x)).mean())

        other = write_device(
            device.parent / "other", artifact(step_rows=16, optimizer=Optimizer.ADAMW), private=60
        )

        assert moved(0.95, device) < 0.7 * moved(0.0, other)

    def test_without_a_public_set_it_trains_on_private_examples_only(
        self, device: Path, package: Path
    ) -> None:
        (device / "public.npz").unlink()

        facts = run_json("personalize", "--device", device, "--start", package)

        assert facts["public_examples"] == 0
        assert facts["steps"] == 20 * 4  # batches of 16

    def test_a_table_for_people(self, device: Path, package: Path) -> None:
        shown = run("personalize", "--device", device, "--start", package, "--epochs", 1)

        assert "before" in shown
        assert "global" in shown
        assert "12 public examples kept it from forgetting" in shown

    def test_a_device_without_a_student_needs_one(self, device: Path) -> None:
        with pytest.raises(NoStudent, match="--start FOLDER"):
            run("personalize", "--device", device)

    def test_a_student_of_another_family(self, device: Path) -> None:
        wrong = {name: array[:1] for name, array in student().items()}
        with pytest.raises(FedstillError, match="mlp-small"):
            personalize(FleetDevice.open(device), LearningSettings(), start=wrong)

    @pytest.mark.parametrize(
        ("option", "value", "message"),
        [
            ("--temperature", 0, "temperature"),
            ("--soft-weight", 1.5, "soft_weight"),
            ("--learning-rate", -1, "learning_rate"),
            ("--batch-size", 100, "batch_size 100 takes 200 rows, the training artifact has 16"),
        ],
    )
    def test_values_out_of_range(
        self, device: Path, package: Path, option: str, value: float, message: str
    ) -> None:
        with pytest.raises(FedstillError, match=message):
            run("personalize", "--device", device, "--start", package, option, value)
        assert FleetDevice.open(device).store.latest() is None


class TestPredict:
    """Answers of a package, and of a device's own student."""

    def test_a_package_answers_an_npz(self, package: Path, tmp_path: Path) -> None:
        x, _ = examples(25)
        np.savez(tmp_path / "x.npz", x=x)

        facts = run_json("predict", "--student", package, "--input", tmp_path / "x.npz")

        assert facts["classes"] == mlp_logits(student(), x).argmax(axis=1).tolist()
        np.testing.assert_allclose(np.sum(facts["probabilities"], axis=1), 1, rtol=1e-5)

    def test_a_table_has_the_same_answers(self, package: Path, tmp_path: Path) -> None:
        x, _ = examples(25)
        np.savetxt(tmp_path / "x.csv", x, delimiter=",")

        facts = run_json("predict", "--student", package, "--input", tmp_path / "x.csv")

        assert facts["classes"] == mlp_logits(student(), x).argmax(axis=1).tolist()

    def test_a_device_answers_with_its_own_student(self, device: Path, tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", x=examples(25)[0])
        FleetDevice.open(device).perform(task(offline_plan()))

        facts = run_json("predict", "--device", device, "--input", tmp_path / "x.npz")

        wanted = FleetDevice.open(device).predict(examples(25)[0])
        np.testing.assert_allclose(facts["probabilities"], wanted, rtol=1e-6)

    def test_a_package_has_one_answer(self, package: Path, tmp_path: Path) -> None:
        with pytest.raises(FedstillError, match="a student package has one answer"):
            run("predict", "--student", package, "--input", tmp_path / "x.npz", "--scope", "owner")

    @pytest.mark.parametrize("suffix", [".npz", ".csv"])
    def test_answers_go_to_a_file(self, package: Path, tmp_path: Path, suffix: str) -> None:
        x, _ = examples(3)
        np.savez(tmp_path / "x.npz", x=x)
        file = tmp_path / f"answers{suffix}"

        shown = run("predict", "--student", package, "--input", tmp_path / "x.npz", "--output", file)

        assert "3 answers" in shown
        wanted = mlp_logits(student(), x).argmax(axis=1)
        if suffix == ".npz":
            with np.load(file) as answers:
                assert answers["classes"].tolist() == wanted.tolist()
                assert answers["probabilities"].shape == (3, 3)
        else:
            header, *lines = file.read_text().splitlines()
            assert header == "class,p0,p1,p2"
            assert [int(line.split(",")[0]) for line in lines] == wanted.tolist()

    def test_a_table_for_people(self, package: Path, tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", x=examples(30)[0])

        shown = run("predict", "--student", package, "--input", tmp_path / "x.npz")

        assert "probability" in shown
        assert "and 10 more" in shown

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("x.csv", "1,2,3\n", r"x\.csv: a line has 3 numbers; an example has 6"),
            ("x.csv", "1,2,3,4,5,six\n", r"x\.csv: is not a table of numbers"),
            ("x.csv", "1,2,3,4,5,nan\n", r"x\.csv: row 0: holds a value that is not finite"),
            ("x.csv", "", r"x\.csv: holds no line"),
            ("x.npz", "no archive", r"x\.npz: is no \.npz file; save named arrays"),
        ],
    )
    def test_files_that_are_refused(
        self, package: Path, tmp_path: Path, name: str, content: str, message: str
    ) -> None:
        (tmp_path / name).write_text(content)
        with pytest.raises(FedstillError, match=message):
            run("predict", "--student", package, "--input", tmp_path / name)

    def test_an_output_of_unknown_form(self, package: Path, tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", x=examples(3)[0])
        with pytest.raises(FedstillError, match=r"written as \.npz or \.csv"):
            run(
                "predict", "--student", package, "--input", tmp_path / "x.npz", "--output", tmp_path / "x.xls"
            )

    def test_one_of_a_home_a_device_or_a_student(self, package: Path, device: Path, tmp_path: Path) -> None:
        with pytest.raises(FedstillError, match="give one of --home FOLDER, --device FOLDER and --student"):
            run("predict", "--input", tmp_path / "x.npz", "--student", package, "--device", device)
        with pytest.raises(FedstillError, match="one of --home"):
            run("info", "--home", tmp_path, "--device", device)
        with pytest.raises(FedstillError, match="nowhere: there is no agent's home"):
            run("info", "--home", tmp_path / "nowhere")


class TestInfo:
    """What is in a folder."""

    def test_a_device(self, device: Path) -> None:
        facts = run_json("info", "--device", device)

        assert (facts["device"], facts["family"]) == ("kitchen", "mlp-small")
        assert facts["parameters"] == 6 * 64 + 64 + 64 * 3 + 3
        assert facts["private_examples"] == 60
        assert facts["student_of_round"] is None
        assert "owner share" in run("info", "--device", device)

    def test_a_student(self, package: Path) -> None:
        facts = run_json("info", "--student", package)

        assert facts["input_shape"] == [6]
        assert facts["classes"] == 3


class TestProcess:
    """As a process of its own: what a shell sees."""

    @staticmethod
    def agent(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fedstill_client.cli", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, env={**os.environ, "COLUMNS": "200"}
        )

    def test_an_error_is_one_line_and_exit_code_2(self, tmp_path: Path) -> None:
        done = self.agent("info", "--device", tmp_path / "nowhere")

        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        assert "device.json" in done.stderr

    def test_json_is_all_there_is_on_stdout(self, device: Path, package: Path) -> None:
        done = self.agent("personalize", "--device", device, "--start", package, "--epochs", 1, "--json")

        assert done.returncode == 0
        assert done.stderr == ""
        assert json.loads(done.stdout)["device"] == "kitchen"

    @pytest.mark.parametrize("command", ["info", "predict", "personalize"])
    def test_help_teaches_with_examples(self, command: str) -> None:
        done = self.agent(command, "--help")

        assert done.returncode == 0
        assert "Examples" in done.stdout
        assert f"fedstill-agent {command} --device" in done.stdout


def offline_plan() -> Any:
    manifest = artifact(step_rows=16, optimizer=Optimizer.ADAMW).manifest
    return LearningSettings().plan(manifest, public=False, temperature=2.0, soft=False, epochs=3)
