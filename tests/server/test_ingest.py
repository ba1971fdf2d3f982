"""The gate: what it says of replies that come from the wrong place, and of errors nobody foresaw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fedstill_proto.codec.api import Expected, encode_summary
from fedstill_proto.codec.envelope import seal
from fedstill_proto.errors import WireError
from fedstill_proto.flower_records import pack
from fedstill_proto.messages import PrivateStatistics, SoftLabelSummary, SummaryKind
from fedstill_proto.refusal import Refusal
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_proto.soft_labels.levels import Grid
from fedstill_proto.v1 import fedstill_pb2 as pb
from fedstill_server.rounds import gate as ingest
from fedstill_server.rounds.gate import Gate, Question, Reason, reason_of
from fedstill_sim.engine.grid import InProcessGrid
from flwr.app import Error, Message, RecordDict

EXPECTED = Expected("0123abcd", 4, "cnn", SummaryKind.NONE, classes=10)


def answer(round_number: int = 4) -> RecordDict:
    summary = SoftLabelSummary("0123abcd", round_number, "cnn", SummaryKind.NONE, PrivateStatistics())
    return pack("SoftLabelSummary", encode_summary(summary, codec=None))


def replies(*contents: RecordDict | Error) -> tuple[Gate, list[Message]]:
    """A gate that asked as many devices as there are replies."""
    grid = InProcessGrid(devices=len(contents), handlers={"train": lambda devices, asked: list(contents)})
    messages = [Message(RecordDict(), node, "train") for node in grid.get_node_ids()]
    ids = grid.push_messages(messages)
    questions = {
        message_id: Question(f"device-{number}", message.metadata.dst_node_id, EXPECTED)
        for number, (message_id, message) in enumerate(zip(ids, messages, strict=True))
    }
    return Gate(questions), grid.pull_messages(ids)


def test_what_is_good_passes_and_what_is_missing_is_named() -> None:
    gate, (first, second, _) = replies(answer(), answer(round_number=3), answer())
    gate.admit(first)
    gate.admit(second)
    gate.close(gate.waiting, quarantine=True)
    assert [accepted.device for accepted in gate.answers] == ["device-0"]
    assert gate.counts() == {"wrong-round": 1, "no-answer": 1}
    assert gate.quarantined[0].text == "round: 3, expected 4"
    assert gate.replied == 2


def test_the_word_of_a_device_is_shown_and_no_text_of_its_own() -> None:
    gate, said = replies(*(Error(one.code, f"{one.word} \x1b[31m 24 examples") for one in Refusal))
    for reply in said:
        gate.admit(reply)
    assert [entry.text for entry in gate.quarantined] == [f"{one.word}: {one.meaning}" for one in Refusal]
    assert gate.counts() == {
        "error-reply": 4,  # failed, unreadable, another-app, switched-off
        **dict.fromkeys(
            [
                *["policy", "budget", "not-now", "no-student", "wrong-version", "wrong-family"],
                *["missing-base", "another-generation"],
            ],
            1,
        ),
    }


def test_an_answer_to_no_question_is_unasked() -> None:
    gate, (reply,) = replies(answer())
    gate.questions = {}
    gate.admit(reply)
    assert gate.counts() == {"unasked": 1}


def test_an_answer_from_another_node_is_refused() -> None:
    gate, (reply,) = replies(answer())
    reply.metadata.__dict__["_src_node_id"] = 77
    gate.admit(reply)
    assert gate.counts() == {"wrong-node": 1}
    assert gate.quarantined[0].text == "answered by node 77"


def test_bytes_of_refused_answers_count() -> None:
    gate, received = replies(answer(), answer(round_number=3))
    for reply in received:
        gate.admit(reply)
    sizes = [len(reply.content["fedstill"]["SoftLabelSummary"].data) for reply in received]
    assert gate.uplink_bytes == sum(sizes)


def test_an_error_nobody_foresaw_ends_in_quarantine(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(answers: list[tuple[bytes, Expected]]) -> list[SoftLabelSummary | WireError]:
        if any(blob == odd for blob, _ in answers):
            raise RuntimeError("a bug")
        return decode(answers)

    decode = ingest.decode_summaries
    monkeypatch.setattr(ingest, "decode_summaries", broken)
    gate, received = replies(answer(), answer(round_number=3), answer())
    odd = received[1].content["fedstill"]["SoftLabelSummary"].data
    gate.admit_all(received)
    assert gate.counts() == {"unreadable": 1}
    assert gate.quarantined[0].device == "device-1"
    assert gate.quarantined[0].text == "RuntimeError while reading it"
    assert [accepted.device for accepted in gate.answers] == ["device-0", "device-2"]


def test_replies_together_come_to_what_they_come_to_one_by_one() -> None:
    codec = SoftLabelCodec(Encoding.LEVELS, bits=3, grid=Grid.LOG, entropy=True)
    expected = Expected("0123abcd", 4, "cnn", SummaryKind.PUBLIC_SET, classes=10, codec=codec, rows=30)
    generator = np.random.default_rng(1)
    contents: list[RecordDict | Error] = []
    for number in range(60):
        rows = generator.dirichlet(np.full(10, 0.2), size=30 + (number == 5)).astype(np.float32)
        statistics = PrivateStatistics(soft_labels=DenseSoftLabels(rows))
        summary = SoftLabelSummary("0123abcd", 4, "cnn", SummaryKind.PUBLIC_SET, statistics)
        blob = bytearray(encode_summary(summary, codec=codec))
        message = pb.SoftLabelSummary.FromString(bytes(blob))
        if number % 3 == 1:  # values that nobody writes, in a message that is intact
            values = bytearray(message.statistics.soft_labels.values)
            values[generator.integers(len(values))] ^= 1 << generator.integers(8)
            message.statistics.soft_labels.values = bytes(values)
            message.ClearField("checksum")
            blob = bytearray(seal(message))
        elif number % 7 == 2:
            blob[generator.integers(len(blob))] ^= 1
        contents.append(Error(Refusal.POLICY.code) if number == 17 else pack("SoftLabelSummary", bytes(blob)))
    gates = []
    for together in (True, False):
        gate, received = replies(*contents)
        gate.ask({name: replace(asked, expected=expected) for name, asked in gate.questions.items()})
        if together:
            gate.admit_all([*received, received[3]])
        else:
            for reply in [*received, received[3]]:
                gate.admit(reply)
        gates.append(gate)
    one, other = gates
    told = [[(entry.device, entry.reason, entry.text) for entry in gate.quarantined] for gate in gates]
    assert told[0] == told[1]
    assert {"bad-values", "unreadable", "policy", "duplicate"} <= set(one.counts())
    assert one.uplink_bytes == other.uplink_bytes
    assert [answer.device for answer in one.answers] == [answer.device for answer in other.answers]
    assert len(one.answers) > 25
    for mine, yours in zip(one.answers, other.answers, strict=True):
        labels = mine.summary.statistics.soft_labels, yours.summary.statistics.soft_labels
        assert labels[0] is not None
        assert labels[1] is not None
        np.testing.assert_array_equal(labels[0].dense(), labels[1].dense())


@pytest.mark.parametrize(
    ("field", "problem", "reason"),
    [
        ("protocol_version", "2, this side speaks 1", Reason.WRONG_VERSION),
        ("family", "'mlp', expected 'cnn'", Reason.WRONG_FAMILY),
        ("SoftLabelSummary", "2000 bytes, more than the limit of 1024", Reason.TOO_LARGE),
        ("SoftLabelSummary", "not a protobuf message of this kind", Reason.UNREADABLE),
        ("checksum", "the bytes are not those that were sent", Reason.UNREADABLE),
        ("statistics.soft_labels.values", "row 0 adds up to 2", Reason.BAD_VALUES),
        ("statistics.parameters[w]", "holds a value that is not finite", Reason.BAD_VALUES),
        ("statistics.class_examples", "0 examples behind a class", Reason.BAD_VALUES),
        ("statistics.features", "-128 in 127ths is no cosine", Reason.BAD_VALUES),
        ("statistics.features", "5 bytes, expected 6 for 2 x 3", Reason.WRONG_SHAPE),
        ("statistics.answered", "1 bytes, expected 2 for 9 rows", Reason.WRONG_SHAPE),
        ("statistics.soft_labels.rows", "3, expected 4", Reason.WRONG_SHAPE),
        ("statistics.present_classes", "not increasing", Reason.WRONG_SHAPE),
    ],
)
def test_reasons(field: str, problem: str, reason: Reason) -> None:
    assert reason_of(WireError(field, problem)) is reason


def test_an_answer_to_a_state_that_is_too_old_is_not_read() -> None:
    gate, (first, second) = replies(answer(), answer())
    gate.stale = {first.metadata.reply_to_message_id}
    gate.admit(first)
    gate.admit(second)
    assert [accepted.device for accepted in gate.answers] == ["device-1"]
    assert gate.counts() == {"stale": 1}
    assert gate.uplink_bytes > 0
    assert gate.waiting == []
