"""Packages as the server builds and publishes them, and as a device takes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.model.predictor import Predictor
from fedstill_client.packages import PackageSource, check_package
from fedstill_proto.errors import FedstillError
from fedstill_server import cli
from fedstill_server.families import initial_parameters
from fedstill_server.methods.public_shift import LOGITS
from fedstill_server.publish import package as package_module
from fedstill_server.publish.errors import PublishError
from fedstill_server.publish.package import assemble_package, build_package
from fedstill_server.publish.repository import Repository
from fedstill_server.publish.students import publish_students
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.state import FleetState
from typer.testing import CliRunner

from tests.client.samples import artifact, student_package
from tests.server.scripted_fleet import CLASSES, PUBLIC, SHAPE, fleet_config, public_examples, write_run

FAMILY = "mlp-small"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An operator's folder with prepared students, and nothing published."""
    folder = tmp_path_factory.mktemp("fleet")
    config = fleet_config(test_set="public.npz")
    write_run(folder, config)
    store = RunStore(folder)
    students = {FAMILY: initial_parameters(FAMILY, SHAPE, CLASSES, 0)}
    arrays = {LOGITS: np.zeros((PUBLIC, CLASSES), np.float32)}
    store.commit(0, FleetState(teacher={}, students=students, arrays=arrays))
    store.close()
    Repository.create(folder)
    return folder


def printed(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli.cli, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_published_student_answers_on_a_device_as_on_the_server(fleet: Path, tmp_path: Path) -> None:
    (published,) = publish_students(fleet)
    PackageSource.trust_root(tmp_path / "trust", Repository.open(fleet).trusted_root())
    package = PackageSource.of(fleet / "repository", tmp_path / "trust").fetch(FAMILY)

    check_package(package)
    assert package.manifest.package_version == published.package_version
    # A public-logits step of 4 private and 4 public rows, with dense soft labels.
    assert (package.artifact.manifest.step_rows, package.manifest.soft_labels) == (8, "dense")
    assert dict(package.manifest.quality)["test_examples"] == 12
    public = public_examples()
    assert package.public_x is not None
    np.testing.assert_array_equal(package.public_x, public.x)
    weights = initial_parameters(FAMILY, SHAPE, CLASSES, 0)
    hidden = np.maximum(public.x @ weights["hidden.weight"].T + weights["hidden.bias"], 0)
    logits = hidden @ weights["output.weight"].T + weights["output.bias"]
    np.testing.assert_allclose(Predictor(package).logits(public.x), logits, atol=1e-5)


def test_the_command_publishes_the_next_version(fleet: Path) -> None:
    version = Repository.open(fleet).next_version()
    document = json.loads(printed("publish", str(fleet), "--families", FAMILY, "--json"))
    assert document["published"][FAMILY]["package_version"] == version
    assert f" {version + 1} " in printed("publish", str(fleet))


def test_the_command_rotates_keys_and_refreshes(fleet: Path) -> None:
    rotated = json.loads(printed("rotate-keys", str(fleet), "--json"))["rotated"]
    assert set(rotated) == {"targets", "snapshot", "timestamp"}
    assert printed("rotate-keys", str(fleet), "--role", "root").startswith("root       new key ")
    assert "signed anew" in printed("refresh", str(fleet))


def test_a_family_of_another_fleet_is_named(fleet: Path) -> None:
    with pytest.raises(PublishError, match="'cnn' is not of this fleet; it has mlp-small"):
        publish_students(fleet, ["cnn"])


def test_a_fleet_must_be_prepared_first(tmp_path: Path) -> None:
    write_run(tmp_path, fleet_config())
    Repository.create(tmp_path)
    with pytest.raises(FedstillError, match="fedstill-server prepare"):
        publish_students(tmp_path)


def test_a_graph_that_answers_otherwise_is_not_published(
    fleet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = initial_parameters(FAMILY, SHAPE, CLASSES, 0)
    other = initial_parameters(FAMILY, SHAPE, CLASSES, 1)
    export = package_module.export_student
    monkeypatch.setattr(
        package_module, "export_student", lambda **given: export(**{**given, "parameters": other})
    )
    with pytest.raises(PublishError, match="logits of ONNX Runtime and torch differ"):
        build_package(
            fleet_config("local"),
            FAMILY,
            weights,
            package_version=1,
            public_x=public_examples().x,
        )


def test_an_artifact_for_many_devices_is_not_published() -> None:
    with pytest.raises(PublishError, match=r"is of 'mlp-small' for 2 devices; .* for one"):
        assemble_package(artifact(stack_size=2), student_package(), package_version=1, public_x=None)
