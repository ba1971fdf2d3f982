"""The benchmark of malformed answers: its verdict holds, and fails for a gate that lets things pass."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fedstill_proto.soft_labels.codec import Encoding
from fedstill_server.rounds import gate as ingest

from benchmarks.malformed import examine, main


@pytest.mark.parametrize("method", ["class-logits", "public-logits"])
def test_a_thousand_malformed_answers_change_nothing(method: str) -> None:
    result = examine(method, Encoding.UINT8, 1000)
    assert result["holds"], result
    assert result["quarantined"] == sum(result["reasons"].values()) == 1000
    assert result["accepted"] == 20


def test_the_command_prints_its_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    methods = "fedavg,class-logits,public-logits,cfd,selective,fedproto,fedhkd"
    assert main(["--count", "50", "--json", "--methods", methods]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["holds"] is True
    assert {(each["method"], each["malformed"]) for each in document["rounds"]} == {
        ("fedavg", 50),
        ("class-logits", 50),
        ("public-logits", 50),
        ("cfd", 50),
        ("selective", 50),
        ("fedproto", 50),
        ("fedhkd", 50),
    }


def test_a_gate_that_ignores_the_round_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    def careless(answers: Any) -> Any:
        results = decode(answers)
        for place, (blob, expected) in enumerate(answers):
            for number in (0, 1, 8):
                (again,) = decode([(blob, replace(expected, round=number))])
                if not isinstance(again, ingest.WireError):
                    results[place] = again
        return results

    decode = ingest.decode_summaries
    monkeypatch.setattr(ingest, "decode_summaries", careless)
    result = examine("public-logits", Encoding.UINT8, 100)
    assert not result["holds"]
    assert any(problem.startswith("later round") for problem in result["miscounted"])
