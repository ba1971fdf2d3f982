"""The cohort engine: the same answers for any number of processes, any stack size, killed or not."""

import multiprocessing
import os
import signal
from collections.abc import Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import fedstill_proto.flower_records  # noqa: F401  (before flwr)
import numpy as np
import pytest
from fedstill_client.rounds.device import FleetDevice, told_labels
from fedstill_proto.codec.api import decode_task
from fedstill_proto.flower_records import hello, pack, read_hello_reply, unpack
from fedstill_proto.messages import SoftTargets, StartSource, SummaryKind, SummaryRequest
from fedstill_proto.privacy import Noising
from fedstill_proto.refusal import Refusal
from fedstill_proto.soft_labels.entropy import MissingBase
from fedstill_server.families import initial_parameters
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.engine.cohort import CohortEngine, EngineError, Reply
from fedstill_sim.engine.fleet_students import StudentsError
from fedstill_sim.runner.flower_engine import device_folder, write_device_folders
from fedstill_sim.runner.installed import install_students
from fedstill_sim.workers.pool import start_workers
from flwr.app import Error, RecordDict

from tests.sim.fleets import (
    class_means_task,
    even_class_labels,
    public_start_task,
    write_artifact,
    write_run,
)

FAMILIES = {"mlp-small": 4, "cnn": 8}


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, FleetData]:
    """22 devices of two families, none of which fills its last stack."""
    return tmp_path, write_run(tmp_path, devices=22, stack_sizes=FAMILIES)


def ask(engine: CohortEngine, kind: str, data: FleetData, tasks: Mapping[str, bytes]) -> list[Reply]:
    contents = [pack("RoundTask", tasks[family]) for family in data.families]
    return list(engine.handlers[kind](range(data.devices), contents))


def train(
    engine: CohortEngine, data: FleetData, number: int, *, targets: SoftTargets | None = None
) -> list[bytes | str]:
    """One round of class means; a student comes with the first."""
    tasks = {
        family: class_means_task(family, number, with_student=number == 1, soft_targets=targets)
        for family in set(data.families)
    }
    return [content_of(reply) for reply in ask(engine, "train", data, tasks)]


def content_of(reply: Reply) -> bytes | str:
    if isinstance(reply, Error):
        return reply.reason or ""
    return unpack(reply, "SoftLabelSummary", size_limit_bytes=1 << 20)


def evaluate(engine: CohortEngine, data: FleetData, number: int) -> list[dict[str, int]]:
    tasks = {family: class_means_task(family, number, with_student=False) for family in set(data.families)}
    replies = ask(engine, "evaluate", data, tasks)
    assert all(isinstance(reply, RecordDict) for reply in replies)
    return [dict(reply["fedstill"]) for reply in replies]  # type: ignore[index,arg-type]


def three_rounds(
    folder: Path, data: FleetData, *, processes: int, stack_sizes: Mapping[str, int] = FAMILIES
) -> list[object]:
    with CohortEngine(folder, stack_sizes=stack_sizes, processes=processes) as engine:
        answers = [train(engine, data, number, targets=even_class_labels()) for number in (1, 2, 3)]
        return [*answers, evaluate(engine, data, 3)]


@pytest.mark.parametrize("processes", [1, 2])
def test_any_number_of_processes_gives_the_same_bytes(
    tmp_path: Path, run: tuple[Path, FleetData], processes: int
) -> None:
    other = write_run(tmp_path / "other", devices=22, stack_sizes=FAMILIES)
    expected = three_rounds(*run, processes=0)
    assert isinstance(expected[0], list)
    assert all(isinstance(summary, bytes) for summary in expected[0])
    assert three_rounds(tmp_path / "other", other, processes=processes) == expected


def test_noised_answers_repeat_and_no_two_have_the_same_noise(tmp_path: Path) -> None:
    """For any stack size; another seed has other noise."""
    request = SummaryRequest(SummaryKind.CLASS_MEANS, noising=Noising(2.0, 1.0))
    answers = []
    for folder, stack_size, seed in (("a", 1, 5), ("b", 4, 5), ("c", 4, 6)):
        data = write_run(tmp_path / folder, devices=6, stack_sizes={"mlp-small": stack_size})
        blob = class_means_task("mlp-small", 1, with_student=True, request=request)
        with CohortEngine(
            tmp_path / folder, stack_sizes={"mlp-small": stack_size}, processes=0, noise_seed=seed
        ) as engine:
            answers.append([content_of(one) for one in ask(engine, "train", data, {"mlp-small": blob})])
    assert answers[0] == answers[1]
    assert len(set(answers[1])) == 6
    assert not set(answers[1]) & set(answers[2])


def test_any_stack_size_gives_the_same_bytes(tmp_path: Path, run: tuple[Path, FleetData]) -> None:
    other_sizes = {"mlp-small": 1, "cnn": 3}
    other = write_run(tmp_path / "other", devices=22, stack_sizes=other_sizes)
    expected = three_rounds(*run, processes=0)
    assert three_rounds(tmp_path / "other", other, processes=0, stack_sizes=other_sizes) == expected


def test_students_are_read_by_device(run: tuple[Path, FleetData]) -> None:
    folder, data = run
    with CohortEngine(folder, stack_sizes=FAMILIES, processes=0) as engine:
        train(engine, data, 1)
        both = engine.students([4, 0], after_round=1)
        alone = engine.students([0], after_round=1)
        with pytest.raises(StudentsError, match="not all 'mlp-small' devices"):
            engine.students([0, 1], after_round=1)
    assert both["hidden.weight"].shape == (2, 64, 64)
    for name, array in alone.items():
        np.testing.assert_array_equal(both[name][1], array[0])


def test_a_repeated_round_gives_what_the_killed_one_gave(run: tuple[Path, FleetData]) -> None:
    folder, data = run
    with CohortEngine(folder, stack_sizes=FAMILIES, processes=0) as engine:
        train(engine, data, 1)
        second = train(engine, data, 2)
    with CohortEngine(folder, stack_sizes=FAMILIES, processes=0) as engine:
        assert train(engine, data, 2) == second
        third = train(engine, data, 3)
    assert third != second


def test_devices_that_are_not_asked_keep_their_students(run: tuple[Path, FleetData]) -> None:
    folder, data = run
    with CohortEngine(folder, stack_sizes=FAMILIES, processes=0) as engine:
        train(engine, data, 1)
        before = evaluate(engine, data, 1)
        asked = [0, 2, 4]
        task = class_means_task("mlp-small", 2, with_student=False)
        engine.handlers["train"](asked, [pack("RoundTask", task)] * 3)
        engine.handlers["train"](
            [6], [pack("RoundTask", class_means_task("mlp-small", 3, with_student=False))]
        )
        after = evaluate(engine, data, 3)
    unasked = [device for device in range(22) if device not in (0, 2, 4, 6)]
    assert [after[device] for device in unasked] == [before[device] for device in unasked]
    assert after[0]["personal_examples"] == before[0]["personal_examples"] > 0


def test_a_task_may_replace_the_student(tmp_path: Path, run: tuple[Path, FleetData]) -> None:
    tasks = {
        family: class_means_task(family, 2, with_student=True, replace_student=True) for family in FAMILIES
    }
    other = write_run(tmp_path / "other", devices=22, stack_sizes=FAMILIES)
    with CohortEngine(tmp_path / "other", stack_sizes=FAMILIES, processes=0) as engine:
        of_newcomers = [content_of(reply) for reply in ask(engine, "train", other, tasks)]
    folder, data = run
    with CohortEngine(folder, stack_sizes=FAMILIES, processes=0) as engine:
        train(engine, data, 1)
        assert [content_of(reply) for reply in ask(engine, "train", data, tasks)] == of_newcomers


def test_the_start_that_a_shard_shares_is_the_one_that_each_device_makes(
    tmp_path: Path, run: tuple[Path, FleetData]
) -> None:
    """The simulator makes the start of a family once; real devices, one by one, answer the same bits."""
    folder, data = run
    devices = (0, 2, 4)
    installed = initial_parameters("mlp-small", (8, 8), 10, 3)
    install_students(folder, {"mlp-small": installed})
    blob = public_start_task(StartSource.INSTALLED)
    with CohortEngine(folder, stack_sizes=FAMILIES, processes=0) as engine:
        replies = engine.handlers["train"](devices, [pack("RoundTask", blob)] * len(devices))

    write_artifact(folder, "mlp-small", 1)
    for device, reply in zip(devices, replies, strict=True):
        write_device_folders(folder, data, owner_share=1.0)
        with FleetDevice.opened(device_folder(folder, device)) as real:
            assert real.perform(decode_task(blob)) == content_of(reply)


def test_an_own_start_goes_on_from_the_device_s_student(run: tuple[Path, FleetData]) -> None:
    """The second task is coded against what the first one told, which real devices keep, and virtual ones."""
    folder, data = run
    install_students(folder, {"mlp-small": initial_parameters("mlp-small", (8, 8), 10, 3)})
    tasks = [public_start_task(StartSource.OWN, round_number=n, base_round=n - 1) for n in (1, 2)]
    unknown = public_start_task(StartSource.OWN, round_number=9, base_round=8)
    assert len(tasks[1]) < len(tasks[0]) - 200
    write_artifact(folder, "mlp-small", 1)
    write_device_folders(folder, data, owner_share=1.0)
    with CohortEngine(folder, stack_sizes=FAMILIES, processes=0) as engine:
        for task in tasks:
            (reply,) = engine.handlers["train"]([4], [pack("RoundTask", task)])
        (refusal,) = engine.handlers["train"]([4], [pack("RoundTask", unknown)])
    told = told_labels(device_folder(folder, 4))
    with FleetDevice.opened(device_folder(folder, 4)) as real:
        answers = [real.perform(decode_task(task, told=told.table)) for task in tasks]
        with pytest.raises(MissingBase):
            decode_task(unknown, told=told.table)
    assert answers[1] == content_of(reply)
    assert answers[0] != answers[1]
    assert isinstance(refusal, Error)
    assert (refusal.code, refusal.reason) == (Refusal.MISSING_BASE.code, "missing-base")


def test_evaluation_counts_every_test_example_and_sees_students_learn(run: tuple[Path, FleetData]) -> None:
    folder, data = run
    with CohortEngine(folder, stack_sizes=FAMILIES, processes=0) as engine:
        train(engine, data, 1)
        first = evaluate(engine, data, 1)
        for number in range(2, 9):
            train(engine, data, number)
        last = evaluate(engine, data, 8)
    assert [count["personal_examples"] for count in last] == data.test.counts.tolist()
    assert {count["global_examples"] for count in last} == {len(data.global_x)}
    for kind in ("personal_correct", "global_correct"):
        assert sum(count[kind] for count in last) > 1.2 * sum(count[kind] for count in first)


def test_hello_says_who_a_device_is(run: tuple[Path, FleetData]) -> None:
    folder, data = run
    with CohortEngine(folder, stack_sizes=FAMILIES, processes=0) as engine:
        replies = engine.handlers["query.hello"]([3], [hello("0123abcd")])
        other_protocol = engine.handlers["query.hello"]([3], [RecordDict()])
    assert isinstance(replies[0], RecordDict)
    reply = read_hello_reply(replies[0])
    assert (reply.device, reply.family) == (data.device_names[3], "cnn")
    assert isinstance(other_protocol[0], Error)


def test_what_a_device_cannot_do_is_its_own_error(run: tuple[Path, FleetData]) -> None:
    folder, _ = run
    small = class_means_task("mlp-small", 1, with_student=True)
    contents = [
        pack("RoundTask", small),
        pack("RoundTask", small),
        pack("RoundTask", b"not a task"),
        RecordDict(),
        pack("RoundTask", class_means_task("mlp-small", 1, with_student=False)),
        pack("RoundTask", class_means_task("cnn", 1, with_student=True, student_scale=1e30)),
    ]
    with CohortEngine(folder, stack_sizes=FAMILIES, processes=0) as engine:
        replies = engine.handlers["train"]([0, 1, 2, 3, 4, 5], contents)
    good, *failed = [content_of(reply) for reply in replies]
    assert isinstance(good, bytes)
    reasons = ["here is 'cnn'", "checksum", "RoundTask", "brings no student", "nan"]
    assert len(failed) == len(reasons)
    for found, reason in zip(failed, reasons, strict=True):
        assert reason in str(found)


def test_a_family_without_an_artifact_is_named(run: tuple[Path, FleetData]) -> None:
    with pytest.raises(EngineError, match="no stack size for student family 'cnn'"):
        CohortEngine(run[0], stack_sizes={"mlp-small": 4}, processes=0)


def test_what_a_killed_worker_was_at_is_done_again(tmp_path: Path, run: tuple[Path, FleetData]) -> None:
    other = write_run(tmp_path / "other", devices=22, stack_sizes=FAMILIES)
    with CohortEngine(tmp_path / "other", stack_sizes=FAMILIES, processes=0) as engine:
        expected = [train(engine, other, number) for number in (1, 2)]
    folder, data = run
    with CohortEngine(folder, stack_sizes=FAMILIES, processes=1) as engine:
        first = train(engine, data, 1)
        (worker,) = engine.worker_ids
        os.kill(worker, signal.SIGKILL)
        assert [first, train(engine, data, 2)] == expected
        assert len(engine.worker_ids) == 2


def test_work_that_no_worker_survives_is_a_clear_error(run: tuple[Path, FleetData]) -> None:
    folder, data = run
    with (
        start_workers(1) as workers,
        CohortEngine(folder, stack_sizes=FAMILIES, executor=_Deadly(workers), processes=1) as engine,
        pytest.raises(EngineError, match=r"cost 3 workers.*fewer --processes need less memory"),
    ):
        train(engine, data, 1)


class _Deadly(Executor):
    """Workers that run out of memory whatever they do."""

    def __init__(self, workers: Executor) -> None:
        self._workers = workers

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return self._workers.submit(os._exit, 3)


def test_an_executor_of_ones_own_is_left_open(tmp_path: Path, run: tuple[Path, FleetData]) -> None:
    other = write_run(tmp_path / "other", devices=22, stack_sizes=FAMILIES)
    expected = three_rounds(tmp_path / "other", other, processes=0)
    folder, data = run
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        with CohortEngine(folder, stack_sizes=FAMILIES, executor=executor, processes=1) as engine:
            answers = [train(engine, data, number, targets=even_class_labels()) for number in (1, 2, 3)]
            assert [*answers, evaluate(engine, data, 3)] == expected
        assert executor.submit(abs, -1).result() == 1


def test_workers_load_neither_torch_nor_flower() -> None:
    executor = start_workers(1)
    # Not a function of this module: the worker would import it, and with it all that tests need.
    loaded = "__import__('fedstill_sim.engine.worker') and list(__import__('sys').modules)"
    modules = executor.submit(eval, loaded).result()
    executor.shutdown()
    assert "onnxruntime" in modules
    assert not {"torch", "flwr", "onnx", "ray", "sklearn"} & set(modules)


def test_data_may_be_resampled_beyond_its_size(tmp_path: Path) -> None:
    data = write_run(tmp_path, devices=100, stack_sizes={"mlp-small": 16})
    write_artifact(tmp_path, "mlp-small", 16)
    with CohortEngine(tmp_path, stack_sizes={"mlp-small": 16}, processes=0) as engine:
        summaries = train(engine, data, 1)
    assert len(set(summaries)) == 100
    assert np.unique(data.train.rows).size < data.train.counts.sum()
