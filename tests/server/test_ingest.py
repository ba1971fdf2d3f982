"""The gate: what it says of replies that come from the wrong place, and of errors nobody foresaw."""

from __future__ import annotations

import pytest
from fedstill_proto.codec.api import Expected
from fedstill_proto.errors import WireError
from fedstill_proto.flower_records import pack
from fedstill_proto.messages import PrivateStatistics, SoftLabelSummary, SummaryKind
from fedstill_proto.refusal import Refusal
from fedstill_server.rounds import gate as ingest
from fedstill_server.rounds.gate import Gate, Question, Reason, reason_of
from fedstill_sim.engine.grid import InProcessGrid
from flwr.app import Error, Message, RecordDict

EXPECTED = Expected("0123abcd", 4, "cnn", SummaryKind.NONE, classes=10)


def answer(round_number: int = 4) -> RecordDict:
    from fedstill_proto.codec.api import encode_summary

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
    def broken(blob: bytes, *, expected: Expected) -> SoftLabelSummary:
        raise RuntimeError("a bug")

    monkeypatch.setattr(ingest, "decode_summary", broken)
    gate, (reply,) = replies(answer())
    gate.admit(reply)
    assert gate.counts() == {"unreadable": 1}
    assert gate.quarantined[0].device == "device-0"


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
