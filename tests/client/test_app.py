"""The ClientApp, called with Flower's own messages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.rounds.replies import FAILED, REFUSED
from fedstill_proto import flower_records
from fedstill_proto.codec.api import Expected, decode_summary
from fedstill_proto.messages import SummaryKind, SummaryRequest
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict

from tests.client.flower_calls import FLOAT32, call, node_of, packed
from tests.client.samples import CLASSES, artifact, plan, student, task, write_device

MEANS = SummaryRequest(SummaryKind.CLASS_MEANS, FLOAT32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_device(tmp_path / "device-3", artifact())


def reason(reply: Message) -> str:
    assert reply.error.reason is not None
    return reply.error.reason


def test_hello_says_who_the_device_is(folder: Path) -> None:
    reply = call("query.hello", flower_records.hello("abcd1234"), node_of(folder))

    greeting = flower_records.read_hello_reply(reply.content)
    assert (greeting.device, greeting.family) == ("kitchen", "mlp-small")


def test_another_protocol_version_is_refused_by_name(folder: Path) -> None:
    content = RecordDict({"fedstill": ConfigRecord({"protocol": 99, "run": "abcd1234"})})

    reply = call("query.hello", content, node_of(folder))

    assert reply.has_error()
    assert reply.error.code == REFUSED
    assert "99, this side speaks 1" in reason(reply)


def test_a_round(folder: Path) -> None:
    round_task = task(plan(epochs=2), request=MEANS)

    reply = call("train", packed(round_task), node_of(folder))

    blob = flower_records.unpack(reply.content, "SoftLabelSummary", size_limit_bytes=10_000)
    summary = decode_summary(blob, expected=Expected.of(round_task, CLASSES))
    assert summary.statistics.class_examples.sum() == 20
    assert (folder / "state" / "students.safetensors").exists()


def test_the_same_round_again_has_the_same_answer(folder: Path) -> None:
    call("train", packed(task(round=1)), node_of(folder))
    second = packed(task(round=2, parameters={}, request=MEANS))

    blobs = {
        flower_records.unpack(
            call("train", second, node_of(folder)).content, "SoftLabelSummary", size_limit_bytes=10_000
        )
        for _ in range(2)
    }

    assert len(blobs) == 1


def test_an_evaluation(folder: Path) -> None:
    round_task = task(parameters=student(), replace_student=True)

    reply = call("evaluate", packed(round_task), node_of(folder))

    counts = reply.content["fedstill"]
    assert isinstance(counts, MetricRecord)
    assert sorted(counts) == ["global_correct", "global_examples", "personal_correct", "personal_examples"]
    assert (counts["personal_examples"], counts["global_examples"]) == (30, 40)


def test_the_partition_stands_in_the_folders_name(folder: Path) -> None:
    node = node_of(folder.parent / "device-{partition}", **{"partition-id": 3})

    reply = call("query.hello", flower_records.hello("abcd1234"), node)

    assert flower_records.read_hello_reply(reply.content).device == "kitchen"


def test_the_folder_may_come_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSTILL_DEVICE_FOLDER", str(folder))

    reply = call("query.hello", flower_records.hello("abcd1234"), Context(1, 22, {}, RecordDict(), {}))

    assert flower_records.read_hello_reply(reply.content).device == "kitchen"


class TestErrors:
    """What goes wrong is a reply with one line for the operator."""

    def test_a_node_that_does_not_know_its_device(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("FEDSTILL_DEVICE_FOLDER", raising=False)

        reply = call("query.hello", flower_records.hello("abcd1234"), Context(1, 22, {}, RecordDict(), {}))

        assert reply.error.code == REFUSED
        assert "set FEDSTILL_DEVICE_FOLDER" in reason(reply)

    def test_a_template_without_a_partition(self, tmp_path: Path) -> None:
        reply = call("query.hello", flower_records.hello("r"), node_of(tmp_path / "device-{partition}"))

        assert "no partition-id" in reason(reply)

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        reply = call("train", packed(task()), node_of(tmp_path / "nowhere"))

        assert reply.error.code == REFUSED
        assert "device.json" in reason(reply)

    def test_bytes_that_are_no_task(self, folder: Path) -> None:
        reply = call("train", flower_records.pack("RoundTask", b"garbage"), node_of(folder))

        assert reply.error.code == REFUSED
        assert "checksum" in reason(reply)

    def test_a_message_without_a_task(self, folder: Path) -> None:
        reply = call("evaluate", RecordDict(), node_of(folder))

        assert "RoundTask: the message holds no array record" in reason(reply)

    def test_a_task_for_another_family(self, folder: Path) -> None:
        reply = call("train", packed(task(family="cnn")), node_of(folder))

        assert "family 'cnn'" in reason(reply)

    def test_a_device_without_a_student_says_so_by_its_code(self, folder: Path) -> None:
        reply = call("train", packed(task(round=2, parameters={})), node_of(folder))

        assert reply.error.code == flower_records.NO_STUDENT
        assert "this device has none yet" in reason(reply)

    def test_a_defect_is_answered_without_its_trace(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(_: object) -> None:
            raise ZeroDivisionError("secret detail")

        monkeypatch.setattr("fedstill_client.app.FleetDevice.open", broken)

        reply = call("train", packed(task()), node_of(folder))

        assert reply.error.code == FAILED
        assert reason(reply) == "unexpected ZeroDivisionError on the device; its log has the details."
        assert "secret detail" in caplog.text

    def test_a_refusal_quotes_no_private_example(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with np.load(folder / "private.npz") as archive:
            arrays = dict(archive)
        np.savez(folder / "private.npz", **arrays | {"y_train": np.full(20, 7654321)})

        reply = call("train", packed(task()), node_of(folder))

        assert reason(reply) == "this device's examples cannot be used; its log has the details."
        assert "7654321" in caplog.text

    def test_refusals_are_one_line(self, folder: Path) -> None:
        (folder / "device.json").write_text(json.dumps({"name": 1}))

        reply = call("query.hello", flower_records.hello("r"), node_of(folder))

        assert reply.has_error()
        assert "\n" not in reason(reply)
