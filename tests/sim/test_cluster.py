"""A fleet on two Ray nodes gives the bits that this machine gives, whatever is lost in between."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from fedstill_sim.cluster.handles import HandleLost
from fedstill_sim.cluster.ray_executor import RayExecutor, ray_executor
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.engine.cohort import CohortEngine

from tests.sim.fleets import even_class_labels, write_run
from tests.sim.test_engine_cohort import FAMILIES, evaluate, train

pytest.importorskip("ray")

HEAD, OTHER, PORT = "127.0.0.2", "127.0.0.3", 6397  # Ray takes 127.0.0.1 for another name of the machine
NODE = (
    "--num-cpus=1 --object-store-memory=100000000 --disable-usage-stats --include-log-monitor=false "
    "--min-worker-port=0 --max-worker-port=0 --block"
)
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}


@dataclass
class TwoNodes:
    """Two Ray nodes of one processor each, with folders for temporary files of their own."""

    folder: Path
    nodes: dict[str, "subprocess.Popen[bytes]"]

    @property
    def address(self) -> str:
        return f"{HEAD}:{PORT}"

    def start(self, address: str) -> None:
        """Start a node, and wait until it says that it has."""
        files = self.folder / address
        files.mkdir(exist_ok=True)
        how = (
            f"--head --port={PORT} --include-dashboard=false --ray-client-server-port={PORT - 1} "
            f"--temp-dir={self.folder}"
            if address == HEAD
            else f"--address={self.address}"
        )
        command = f"start {how} --node-ip-address={address} {NODE}"
        with (files / "log").open("wb") as log:
            self.nodes[address] = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", *command.split()],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **QUIET, "TMPDIR": str(files)},
            )
        until = time.monotonic() + 60
        while b"runtime started" not in (files / "log").read_bytes():
            assert self.nodes[address].poll() is None, (files / "log").read_text()
            assert time.monotonic() < until, (files / "log").read_text()
            time.sleep(0.1)

    def kill(self, address: str) -> None:
        """Kill a node and all that it has started, as if its machine had lost power."""
        node = self.nodes.pop(address)
        for process in [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]:
            process.kill()
        node.wait()

    def end(self) -> None:
        """End the nodes by their own numbers."""
        for node in reversed(self.nodes.values()):
            node.terminate()
        for node in self.nodes.values():
            node.wait(30)

    def left(self) -> list[str]:
        """What is left of runs in the folders for temporary files of nodes that are there."""
        return [path.name for node in self.nodes for path in (self.folder / node).glob("fedstill-node-*")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    # Ray's sockets lie 78 characters below it, and a socket's path has at most 107.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        nodes = TwoNodes(Path(folder), {})
        try:
            nodes.start(HEAD)
            nodes.start(OTHER)
            yield nodes
        finally:
            nodes.end()


@pytest.fixture(scope="module")
def workers(cluster: TwoNodes) -> Iterator[RayExecutor]:
    with ray_executor(cluster.address) as executor:
        yield executor
    assert cluster.left() == []


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    folder = tmp_path_factory.mktemp("local")
    data = write_run(folder, devices=22, stack_sizes=FAMILIES)
    with CohortEngine(folder, stack_sizes=FAMILIES, processes=0) as engine:
        return three_rounds(engine, data)


def three_rounds(engine: CohortEngine, data: FleetData) -> list[object]:
    """What devices answer in three rounds, and how they do then."""
    answers: list[object] = [train(engine, data, number, targets=even_class_labels()) for number in (1, 2, 3)]
    return [*answers, evaluate(engine, data, 3)]


def test_two_nodes_answer_what_this_machine_answers(
    tmp_path: Path, workers: RayExecutor, expected: list[object]
) -> None:
    data = write_run(tmp_path, devices=22, stack_sizes=FAMILIES)
    with CohortEngine(tmp_path, stack_sizes=FAMILIES, executor=workers) as engine:
        assert engine.processes == 2
        assert three_rounds(engine, data) == expected
        assert len(engine.worker_ids) == 2
        assert len(engine.peak_memory_mb) == 3
        students = engine.students([0, 2], after_round=3)
    assert all(np.isfinite(array).all() for array in students.values())
    assert {address for address, _ in workers.process_ids} == {HEAD, OTHER}


def test_each_node_reads_a_copy_of_its_own(tmp_path: Path, cluster: TwoNodes, workers: RayExecutor) -> None:
    write_run(tmp_path, devices=2, stack_sizes={"mlp-small": 1})
    run = workers.of_run(tmp_path)
    calls = [run.submit(os.path.realpath, tmp_path / "data" / "x.npy") for _ in range(40)]
    found = {Path(call.result(timeout=60)) for call in calls}
    assert {path.relative_to(cluster.folder).parts[0] for path in found} == {HEAD, OTHER}
    assert {path.read_bytes() for path in found} == {(tmp_path / "data" / "x.npy").read_bytes()}


def test_bytes_that_many_calls_bring_and_what_calls_keep_lie_in_the_store(workers: RayExecutor) -> None:
    blob = bytes(range(256)) * 1024
    assert {workers.submit(len, blob).result(timeout=60) for _ in range(4)} == {len(blob)}
    keeper = workers.keeper()
    arrays = {"many": np.arange(100_000.0), "few": np.arange(3)}
    kept = [workers.submit(keeper.keep, arrays) for _ in range(2)]
    for handle in [call.result(timeout=60) for call in kept]:
        loaded = workers.submit(keeper.read, handle).result(timeout=60)
        assert loaded["many"].sum() == 4_999_950_000.0
        np.testing.assert_array_equal(keeper.read(handle)["few"], arrays["few"])
    here = keeper.keep({"context": np.ones(5)})
    assert workers.submit(keeper.read, here).result(timeout=60)["context"].sum() == 5
    keeper.clear()
    with pytest.raises(HandleLost, match="forgotten"):
        keeper.read(here)


def test_what_a_call_raises_is_raised_here(workers: RayExecutor) -> None:
    with pytest.raises(ValueError, match="invalid literal") as raised:
        workers.submit(int, "x").result(timeout=60)
    assert any("process" in note for note in raised.value.__notes__)
    with pytest.raises(TypeError, match="lock"):
        workers.submit(threading.Lock).result(timeout=60)


def test_a_killed_actor_s_shards_are_done_again(
    tmp_path: Path, workers: RayExecutor, expected: list[object]
) -> None:
    data, losses = write_run(tmp_path, devices=22, stack_sizes=FAMILIES), workers.losses
    before = workers.process_ids
    with CohortEngine(tmp_path, stack_sizes=FAMILIES, executor=workers) as engine:
        answers: list[object] = [train(engine, data, 1, targets=even_class_labels())]
        killer = threading.Thread(target=_kill_while_running, args=(workers, before[0][1]))
        killer.start()
        answers += [train(engine, data, number, targets=even_class_labels()) for number in (2, 3)]
        killer.join()
        assert [*answers, evaluate(engine, data, 3)] == expected
    _until(lambda: workers.workers == 2)
    assert workers.losses == losses + 1
    assert workers.process_ids[1] == before[1]
    assert workers.process_ids[0] != before[0]


def _until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def _kill_while_running(workers: RayExecutor, process: int) -> None:
    time.sleep(0.05)
    os.kill(process, signal.SIGKILL)


def test_the_shards_of_a_node_that_is_gone_are_done_elsewhere(
    tmp_path: Path, cluster: TwoNodes, workers: RayExecutor, expected: list[object]
) -> None:
    """The last test on the two nodes: one of them is killed."""
    data = write_run(tmp_path, devices=22, stack_sizes=FAMILIES)
    keeper, there = workers.keeper(), {}
    for call in [workers.submit(keeper.keep, {"a": np.zeros(100_000)}) for _ in range(8)]:
        there[call.result(timeout=60)] = None
    with CohortEngine(tmp_path, stack_sizes=FAMILIES, executor=workers) as engine:
        answers: list[object] = [train(engine, data, 1, targets=even_class_labels())]
        cluster.kill(OTHER)
        answers += [train(engine, data, number, targets=even_class_labels()) for number in (2, 3)]
        assert [*answers, evaluate(engine, data, 3)] == expected
    assert workers.workers == 1
    assert {address for address, _ in workers.process_ids} == {HEAD}
    lost = 0
    for handle in there:
        try:
            keeper.read(handle)
        except HandleLost:
            lost += 1
    assert 0 < lost < 8
