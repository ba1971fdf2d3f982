"""A fleet on two Ray nodes gives the bits that this machine gives, whatever is lost in between."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from fedstill_server.rounds.events import Collected, Event, subscribe
from fedstill_sim.cli import app
from fedstill_sim.cluster import connection
from fedstill_sim.cluster.connection import ClusterError, Node, check_address, check_nodes
from fedstill_sim.cluster.node_facts import node_facts
from fedstill_sim.cluster.node_folder import NodeFolder
from fedstill_sim.cluster.ray_executor import RayExecutor, ray_executor
from fedstill_sim.config import read_config
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.engine.cohort import CohortEngine
from fedstill_sim.progress import SilentProgress
from fedstill_sim.request import RequestError, RunRequest
from fedstill_sim.resume import move_run
from fedstill_sim.runner.devices import CompletedRounds, run_rounds
from fedstill_sim.runner.run import start_run
from fedstill_sim.stacks.eligible import STACKS
from fedstill_sim.workers.keeper import HandleLost

from tests.sim.fleets import even_class_labels, write_run
from tests.sim.test_engine_cohort import FAMILIES, evaluate, train
from tests.sim.test_stacks_path import QUICK, assert_same, prepared

pytest.importorskip("ray")

HEAD, OTHER = "127.0.0.2", "127.0.0.3"  # Ray takes 127.0.0.1 for another name of the machine
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
    port: int
    client_port: int

    @property
    def address(self) -> str:
        return f"{HEAD}:{self.port}"

    def start(self, address: str) -> None:
        """Start a node, and wait until it says that it has."""
        files = self.folder / address
        files.mkdir(exist_ok=True)
        how = (
            f"--head --port={self.port} --ray-client-server-port={self.client_port} --temp-dir={self.folder} "
            "--include-dashboard=false"
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


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind((HEAD, 0))
        other.bind((HEAD, 0))
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    # Ray's sockets lie 78 characters below it, and a socket's path has at most 107.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        nodes = TwoNodes(Path(folder), {}, *_free_ports())
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


@pytest.mark.parametrize(
    "asked",
    [
        {"method": "fedstill", "method_options": {"fold": "vetted", **QUICK}},
        {"method": "scaffold"},
        {"method": "fedstill", "method_options": QUICK, "keep_students": "sample", "evaluate_devices": "4"},
    ],
)
def test_a_run_that_is_folded_on_two_nodes_is_that_of_this_machine(
    tmp_path: Path, workers: RayExecutor, asked: dict[str, Any]
) -> None:
    """Vetted: answers wait in the object store until the norms of all are known."""
    here, there = folded(tmp_path / "here", **asked), folded(tmp_path / "there", workers, **asked)
    assert (here.engine.processes, there.engine.processes) == (0, 2)
    assert_same(here, there)


def folded(folder: Path, executor: RayExecutor | None = None, **asked: Any) -> CompletedRounds:
    """The rounds of a small run, folded where devices run."""
    sizes, config = prepared(folder, path=STACKS, **asked), read_config(folder)
    run = run_rounds(folder, config, SilentProgress(), label="test", stack_sizes=sizes, executor=executor)
    assert run.engine.path == STACKS
    return run


def test_a_worker_that_is_killed_in_a_folded_round_changes_nothing(
    tmp_path: Path, workers: RayExecutor
) -> None:
    asked = {"method": "fedstill", "method_options": {"fold": "vetted", **QUICK}, "rounds": 2}
    here, losses, killed = folded(tmp_path / "here", **asked), workers.losses, []

    def kill(event: Event) -> None:
        if isinstance(event, Collected) and event.round == 2 and not killed:
            killed.append(workers.process_ids[0][1])
            os.kill(killed[0], signal.SIGKILL)

    with subscribe(kill):
        there = folded(tmp_path / "there", workers, **asked)
    assert_same(here, there)
    _until(lambda: workers.workers == 2)
    assert workers.losses == losses + 1


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


# Clusters that are not there, or cannot do the work


@pytest.mark.parametrize("address", ["here", "127.0.0.1", "ray://", "127.0.0.1:99999", "http://127.0.0.1:1"])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(ClusterError, match=r"--cluster .*name HOST:PORT"):
        check_address(address)
    with pytest.raises(ClusterError):
        RunRequest(dataset="digits", cluster=address)


def test_a_cluster_that_is_gone_is_told_before_a_folder_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SystemExit) as ended:
            app(["run", "digits", "--cluster", address, "--out", str(tmp_path / "run")])
    assert ended.value.code == 2
    assert f"--cluster {address}: nobody answers there" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_another_version_on_a_node_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    here = node_facts()
    monkeypatch.setattr(connection, "_facts", lambda ray, nodes: [{**here, "numpy": "1.26.0"}])
    with pytest.raises(ClusterError, match=r"node 10.0.0.7 has numpy 1.26.0 \(here .*install the same there"):
        check_nodes(None, [Node("ab", "10.0.0.7", 4)])


def test_another_processor_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "_facts", lambda ray, nodes: [{**node_facts(), "processor": "Z80"}])
    check_nodes(None, [Node("ab", "10.0.0.7", 4)])
    assert "node 10.0.0.7 has another processor than this machine (Z80" in caplog.text


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"engine": "flower"}, "--engine flower starts a Ray of its own"),
        ({"processes": 0}, "--processes 0 works in this process alone"),
    ],
)
def test_what_does_not_go_with_a_cluster_is_told(asked: dict[str, Any], reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        RunRequest(dataset="digits", cluster="auto", **asked)


def test_a_run_goes_on_elsewhere_as_resume_says(tmp_path: Path) -> None:
    start_run(
        RunRequest(dataset="digits", devices=4, rounds=1, baselines=(), cluster="192.0.2.10:6379"),
        tmp_path / "run",
        force=False,
    )
    before = read_config(tmp_path / "run")
    move_run(tmp_path / "run", "none")
    after = read_config(tmp_path / "run")
    assert before.simulation.engine.cluster == "192.0.2.10:6379"
    assert after.simulation.engine.cluster is None
    assert after.fleet == before.fleet
    with pytest.raises(ClusterError, match="name HOST:PORT"):
        move_run(tmp_path / "run", "elsewhere")


# A node's folder


def test_the_last_worker_of_a_node_removes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    one, other = NodeFolder("0" * 32), NodeFolder("0" * 32)
    for folder in (one, other):
        folder.take({"7": lambda: [memoryview(b"ab"), memoryview(b"c")]}, {0: {"data/x.npy": "7"}})
    assert (one.copy(0) / "data" / "x.npy").read_bytes() == b"abc"
    one.close()
    assert other.path.exists()
    other.close()
    assert not list(tmp_path.iterdir())


def test_a_killed_worker_s_folder_goes_with_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / f"fedstill-node-{'1' * 32}"
    left.mkdir()
    os.utime(left, (0, 0))
    mine = tmp_path / "fedstill-node-mine"  # a name that no run makes
    mine.mkdir()
    os.utime(mine, (0, 0))
    NodeFolder("2" * 32).close()
    assert [path.name for path in tmp_path.iterdir()] == [mine.name]


def test_no_file_leads_out_of_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = NodeFolder("3" * 32)
    with pytest.raises(ValueError, match="leads out of the folder"):
        folder.take({"0": lambda: [memoryview(b"x")]}, {0: {"../x": "0"}})
    folder.close()
