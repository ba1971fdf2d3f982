"""What devices report of a package, and what is no report."""

from __future__ import annotations

import pytest
from fedstill_proto.errors import WireError
from fedstill_proto.system.release_report import (
    RECORD,
    ReleaseReport,
    read_release_answer,
    read_release_question,
    release_answer,
    release_question,
)
from flwr.app import ConfigRecord, RecordDict

REPORT = ReleaseReport(
    package_version=7,
    generation=2,
    installed_s=12.5,
    held_out=20,
    owner_before=18,
    owner_after=19,
    fleet_before=15,
    fleet_after=16,
    crashes=1,
    latency_ms=0.4,
)


def test_question_and_report_come_back_as_they_were() -> None:
    assert read_release_question(release_question(7)) == 7
    assert read_release_answer(release_answer(REPORT)) == REPORT
    assert REPORT.is_counted
    assert not ReleaseReport(package_version=7, held_out=20).is_counted
    assert not ReleaseReport(package_version=7).is_counted


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"owner_after": 21}, "owner_after"),
        ({"owner_after": -2}, "owner_after"),
        ({"crashes": 1 << 40}, "crashes"),
        ({"crashes": True}, "crashes"),
        ({"installed_s": float("nan")}, "installed_s"),
        ({"latency_ms": float("inf")}, "latency_ms"),
        ({"package_version": "7"}, "package_version"),
        ({"generation": 0}, "generation"),
        ({"held_out": 2.5}, "held_out"),
        ({"more": 1}, RECORD),
    ],
)
def test_what_is_no_report_is_refused_by_its_field(change: dict[str, object], field: str) -> None:
    record = {**vars(REPORT), **change}
    with pytest.raises(WireError) as raised:
        read_release_answer(RecordDict({RECORD: ConfigRecord(record)}))  # type: ignore[arg-type]
    assert raised.value.field == field


@pytest.mark.parametrize(
    "content", [RecordDict(), RecordDict({RECORD: ConfigRecord({"package_version": 0})})]
)
def test_what_is_no_question_is_refused(content: RecordDict) -> None:
    with pytest.raises(WireError):
        read_release_question(content)
