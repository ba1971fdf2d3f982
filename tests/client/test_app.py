"""The ClientApp, called with Flower's own messages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.device_description import DeviceError
from fedstill_client.privacy.guard import PolicyRefused
from fedstill_client.rounds.round import Interrupted, TrainingDiverged
from fedstill_proto import flower_records
from fedstill_proto.codec.api import Expected, decode_summary, encode_task
from fedstill_proto.codec.told_labels import table_told
from fedstill_proto.messages import PublicSoftLabels, SummaryKind, SummaryRequest
from fedstill_proto.refusal import Refusal
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict

from tests.client.flower_calls import FLOAT32, call, node_of, packed
from tests.client.samples import CLASSES, artifact, plan, soft_rows, student, task, write_device

MEANS = SummaryRequest(SummaryKind.CLASS_MEANS, FLOAT32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_device(tmp_path / "device-3", artifact())


def word(reply: Message) -> str:
    """The word that left the device, which is the whole of its reply."""
    refusal = Refusal.of_code(reply.error.code)
    assert refusal is not None
    assert reply.error.reason == refusal.word
    return refusal.word


def test_hello_says_who_the_device_is(folder: Path) -> None:
    reply = call("query.hello", flower_records.hello("abcd1234"), node_of(folder))

    greeting = flower_records.read_hello_reply(reply.content)
    assert (greeting.device, greeting.family) == ("kitchen", "mlp-small")


def test_another_protocol_version_is_refused_by_name(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = RecordDict({"fedstill": ConfigRecord({"protocol": 99, "run": "abcd1234"})})

    reply = call("query.hello", content, node_of(folder))

    assert word(reply) == "wrong-version"
    assert "99, this side speaks 1" in caplog.text


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


def test_a_task_against_an_earlier_round_needs_what_that_round_told(folder: Path) -> None:
    codec, rows = parse_codec("dense,8bit,log,entropy,delta"), np.arange(40)
    targets = PublicSoftLabels(rows, DenseSoftLabels(soft_rows(len(rows))))
    told = table_told(targets, codec)
    first, second, third = (task(round=number, soft_targets=targets) for number in (1, 2, 3))
    against = [
        flower_records.pack("RoundTask", encode_task(each, codec=codec, base_round=base, told=told))
        for each, base in ((second, 1), (third, 2))
    ]

    assert word(call("train", against[0], node_of(folder))) == "missing-base"
    whole = flower_records.pack("RoundTask", encode_task(first, codec=codec))
    assert all(not call("train", each, node_of(folder)).has_error() for each in (whole, *against))
    (folder / "told").write_bytes(b"no such file")
    assert word(call("train", against[1], node_of(folder))) == "missing-base"


def test_an_evaluation(folder: Path) -> None:
    round_task = task(parameters=student(), replace_student=True)

    reply = call("evaluate", packed(round_task), node_of(folder))

    counts = reply.content["fedstill"]
    assert isinstance(counts, MetricRecord)
    own = ["global_correct", "global_examples", "personal_correct", "personal_examples"]
    assert sorted(counts) == ["fleet_global_correct", "fleet_personal_correct", *own]
    assert (counts["personal_examples"], counts["global_examples"]) == (30, 40)


def test_the_partition_stands_in_the_folders_name(folder: Path) -> None:
    node = node_of(folder.parent / "device-{partition}", **{"partition-id": 3})

    reply = call("query.hello", flower_records.hello("abcd1234"), node)

    assert flower_records.read_hello_reply(reply.content).device == "kitchen"


def test_the_folder_may_come_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSTILL_DEVICE_FOLDER", str(folder))

    reply = call("query.hello", flower_records.hello("abcd1234"), Context(1, 22, {}, RecordDict(), {}))

    assert flower_records.read_hello_reply(reply.content).device == "kitchen"


def nowhere(folder: Path) -> None:
    """The device's folder is gone."""
    shutil.rmtree(folder)


def damaged(folder: Path) -> None:
    """Its examples are not what they should be, and the error quotes one of them."""
    with np.load(folder / "private.npz") as archive:
        arrays = dict(archive)
    np.savez(folder / "private.npz", **arrays | {"y_train": np.full(20, 7654321)})


def misnamed(folder: Path) -> None:
    (folder / "device.json").write_text(json.dumps({"name": 1}))


def as_it_is(folder: Path) -> None:
    """Nothing is wrong with the device."""


class TestErrors:
    """Whatever goes wrong, a word leaves the device; its log has one line for it."""

    @pytest.mark.parametrize(
        ("message_type", "content", "spoil", "left", "logged"),
        [
            ("train", packed(task()), nowhere, "failed", "device.json"),
            ("train", packed(task()), misnamed, "failed", "its fields are"),
            ("train", packed(task()), damaged, "failed", "7654321"),
            ("train", flower_records.pack("RoundTask", b"garbage"), as_it_is, "unreadable", "checksum"),
            ("evaluate", RecordDict(), as_it_is, "unreadable", "the message holds no array record"),
            ("query.hello", RecordDict(), as_it_is, "unreadable", "no config record"),
            ("query.hello", flower_records.hello("r"), misnamed, "failed", "its fields are"),
            ("query.else", RecordDict(), as_it_is, "failed", "No query function"),
            ("train.else", packed(task()), as_it_is, "failed", "No train function"),
            ("train", packed(task(family="cnn")), as_it_is, "wrong-family", "family 'cnn'"),
            ("train", packed(task(round=2, parameters={})), as_it_is, "no-student", "has none yet"),
            ("train", packed(task(plan(epochs=900_000))), as_it_is, "failed", "epochs of 20 examples"),
        ],
    )
    def test_a_word_leaves_and_the_log_has_the_details(
        self,
        folder: Path,
        caplog: pytest.LogCaptureFixture,
        message_type: str,
        content: RecordDict,
        spoil: Callable[[Path], None],
        left: str,
        logged: str,
    ) -> None:
        spoil(folder)

        reply = call(message_type, content, node_of(folder))

        assert word(reply) == left
        assert logged in caplog.text

    def test_a_node_that_does_not_know_its_device(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.delenv("FEDSTILL_DEVICE_FOLDER", raising=False)

        reply = call("query.hello", flower_records.hello("abcd1234"), Context(1, 22, {}, RecordDict(), {}))

        assert word(reply) == "failed"
        assert "set FEDSTILL_DEVICE_FOLDER" in caplog.text

    def test_a_template_without_a_partition(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        reply = call("query.hello", flower_records.hello("r"), node_of(tmp_path / "device-{partition}"))

        assert word(reply) == "failed"
        assert "no partition-id" in caplog.text

    @pytest.mark.parametrize(
        ("error", "left"),
        [
            (ZeroDivisionError("secret detail"), "failed"),
            (MemoryError("secret detail"), "failed"),
            (DeviceError("secret\ndetail"), "failed"),
            (TrainingDiverged(0.5), "failed"),
            (Interrupted("secret detail"), "not-now"),
            (PolicyRefused("secret detail"), "policy"),
            (PolicyRefused("secret detail", refusal=Refusal.BUDGET), "budget"),
        ],
    )
    def test_no_text_of_an_error_leaves(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        error: Exception,
        left: str,
    ) -> None:
        def broken(_: object) -> None:
            raise error

        monkeypatch.setattr("fedstill_client.app.FleetDevice.open", broken)

        for message_type in ("train", "evaluate"):
            assert word(call(message_type, packed(task()), node_of(folder))) == left
        assert "secret" in caplog.text or "rate 0.5" in caplog.text


def test_every_word_has_its_own_code() -> None:
    assert len({one.code for one in Refusal}) == len({one.word for one in Refusal}) == len(Refusal) == 12
    assert all(Refusal.of_code(one.code) is one for one in Refusal)
    assert all(Refusal.of_code(code) is None for code in range(9))  # Flower's own
