"""Learning with the private store itself: what it keeps, and what is left of it when it is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.agent_types import LearningOutcome, LearningProgress, LearningResult
from fedstill_client.home import AgentHome
from fedstill_client.learning import LearningSettings, learn
from fedstill_client.model.student_store import DeviceStoreError
from fedstill_client.packages import InstalledPackage
from fedstill_client.store import PrivateStore
from fedstill_proto.package.artifact import save_package

from tests.client.learning_samples import package
from tests.client.samples import examples

SETTINGS = LearningSettings(check_every=10, epochs=6, learning_rate=0.05, snapshot_seconds=0)
# A process of its own, without torch, as on a device.
_CHILD = """
import sys
from pathlib import Path
from fedstill_client.home import AgentHome
from fedstill_client.learning import LearningSettings, learn
from fedstill_client.store import PrivateStore
from fedstill_proto.package.artifact import load_student

settings = LearningSettings(check_every=10, epochs=6, learning_rate=0.05, snapshot_seconds=0)
with PrivateStore.open(AgentHome(Path(sys.argv[1]))) as store:
    learn(
        store,
        load_student(Path(sys.argv[2])),
        settings=settings,
        on_progress=lambda progress: print(progress.steps, flush=True),
    )
"""


def home_with_examples(folder: Path, count: int = 90) -> AgentHome:
    home, published = AgentHome(folder), package()
    home.create()
    with PrivateStore.create(home) as store:
        version = published.manifest.package_version
        store.record_installation(
            InstalledPackage(version, published.manifest.family, folder / "packages" / "3", "0" * 64)
        )
        for x, label in zip(*examples(count, seed=1), strict=True):
            store.observe(x, label)
    return home


def learn_in(folder: Path, on_progress: object = None) -> LearningResult:
    with PrivateStore.open(AgentHome(folder)) as store:
        return learn(store, package(), settings=SETTINGS, on_progress=on_progress or (lambda _: None))  # type: ignore[arg-type]


def weights_in(folder: Path) -> np.ndarray:  # type: ignore[type-arg]
    published = package()
    with PrivateStore.open(AgentHome(folder)) as store:
        kept = store.students(published.manifest, published.manifest.package_version).latest()
    assert kept is not None
    return np.asarray(kept.parameters["hidden.weight"])


def test_the_store_keeps_the_better_student_and_no_progress(tmp_path: Path) -> None:
    home_with_examples(tmp_path / "home")

    outcome = learn_in(tmp_path / "home")

    assert outcome.result is LearningOutcome.REPLACED
    assert outcome.judged_on == "held-out examples"
    assert weights_in(tmp_path / "home").shape == (64, 6)
    with PrivateStore.open(AgentHome(tmp_path / "home")) as store:
        assert store.learning() is None


def test_a_learning_killed_with_signal_9_ends_bit_for_bit_as_one_that_was_not(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        home_with_examples(tmp_path / name)
    wanted = learn_in(tmp_path / "whole")

    save_package(tmp_path / "package", package())
    command = [sys.executable, "-c", _CHILD, str(tmp_path / "killed"), str(tmp_path / "package")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) >= 10:
                child.send_signal(signal.SIGKILL)
                break
    outcome = learn_in(tmp_path / "killed")

    assert child.returncode == -signal.SIGKILL
    assert outcome.resumed
    assert (outcome.steps, outcome.after) == (wanted.steps, wanted.after)
    np.testing.assert_array_equal(weights_in(tmp_path / "killed"), weights_in(tmp_path / "whole"))


def test_what_was_forgotten_while_it_was_learned_from_is_not_kept(tmp_path: Path) -> None:
    home = home_with_examples(tmp_path / "home")

    def forget(_: LearningProgress) -> None:
        with PrivateStore.open(home) as other:
            other.forget(ids=[1])

    with pytest.raises(DeviceStoreError, match="forgotten while"):
        learn_in(tmp_path / "home", on_progress=forget)

    published = package()
    with PrivateStore.open(home) as store:
        assert store.learning() is None
        assert store.students(published.manifest, published.manifest.package_version).latest() is None
