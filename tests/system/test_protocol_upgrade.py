"""An upgrade across a version of the protocol: what is kept stays, and sides of two versions part by name.

The newer release is this one, in a process that takes itself for one of the next version.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import load_installed
from fedstill_client.rounds.device import FleetDevice
from fedstill_client.store import PrivateStore
from fedstill_proto import flower_records
from fedstill_proto.errors import WireError
from fedstill_proto.messages import Optimizer, RoundTask, SummaryKind, SummaryRequest, TrainingPlan
from fedstill_proto.package.manifest import StudentManifest
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from flwr.app import ConfigRecord, RecordDict

from tests.client.agent_samples import enrolled_home
from tests.client.samples import FAMILY, examples, student

_NEWER = "import fedstill_proto.messages as m; m.PROTOCOL_VERSION += 1; "
_AGENT = _NEWER + "from fedstill_client.cli import main; main()"


def newer_agent(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a command of an agent of the next version."""
    command = [sys.executable, "-c", _AGENT, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def task() -> RoundTask:
    plan = TrainingPlan(
        epochs=2,
        batch_size=8,
        learning_rate=0.01,
        optimizer=Optimizer.ADAMW,
        temperature=2.0,
        soft_weight=0.0,
        seed=1,
    )
    request = SummaryRequest(SummaryKind.PUBLIC_SET, SoftLabelCodec(Encoding.UINT8), np.arange(5))
    return RoundTask(run="r1", round=1, family=FAMILY, training=plan, request=request, parameters=student())


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    """A device that has learned something, and taken part in a round."""
    home = enrolled_home(tmp_path / "home")
    x, labels = examples(30, seed=1)
    with PrivateStore.open(home) as store:
        for row in range(len(x)):
            store.observe(x[row], labels[row])
    with FleetDevice.opened(home.folder) as device:
        device.perform(task())
    return home


def test_an_upgraded_device_keeps_its_student_and_its_data(home: AgentHome, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=examples(4, seed=2)[0])
    asked = ("predict", "--home", home.folder, "--input", tmp_path / "x.npz", "--json")
    old = subprocess.run(
        [sys.executable, "-c", "from fedstill_client.cli import main; main()", *map(str, asked)],
        capture_output=True,
        text=True,
        check=True,
    )
    new = newer_agent(*asked)
    assert new.returncode == 0, new.stderr
    assert json.loads(new.stdout) == json.loads(old.stdout)
    status = newer_agent("status", "--home", home.folder, "--json")
    assert status.returncode == 0, status.stderr
    found = json.loads(status.stdout)
    assert (found["student_run"], found["student_round"]) == ("r1", 1)
    assert found["training_examples"] + found["held_out_examples"] == 30


def test_sides_of_two_versions_part_by_name() -> None:
    greeting = RecordDict({"fedstill": ConfigRecord({"protocol": 2, "run": "r1"})})
    with pytest.raises(WireError, match="install the same release on both"):
        flower_records.read_hello(greeting)


def test_a_package_of_a_later_version_is_refused_by_an_older_agent(home: AgentHome) -> None:
    with PrivateStore.open(home) as store:
        document = json.loads(load_installed(home, store).manifest.to_json())
    (name,) = (key for key in document if key.lower().replace("_", "") == "protocolversion")
    with pytest.raises(WireError, match="install the newer release"):
        StudentManifest.from_json(json.dumps({**document, name: document[name] + 1}).encode())
