import dataclasses
import json
import re
from pathlib import Path

import pytest
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.sealed import write_sealed_json
from fedstill_sim.results import run_result as schema
from fedstill_sim.results.run_result import ResultError, read_result, without_times, write_result

from tests.sim.sample_results import as_document, sample_result

DOCUMENT = Path(__file__).parents[2] / "docs" / "result.md"
RECORDS = [
    schema.RunResult,
    schema.FinalResult,
    schema.ScopeAccuracy,
    schema.RoundResult,
    schema.QuarantinedReply,
    schema.BaselineResult,
    schema.BaselineDevice,
    schema.TradeoffPoint,
    schema.StudentResult,
    schema.DataResult,
    schema.DeviceResult,
    schema.EngineResult,
    schema.Timing,
    schema.PrivacyResult,
    schema.AttackResult,
    schema.EnergyResult,
    schema.DeviceFile,
]


def test_a_result_read_back_is_the_same(tmp_path: Path) -> None:
    result = sample_result(devices=3, rounds=2)

    write_result(result, tmp_path / "result.json")

    assert read_result(tmp_path / "result.json") == result


def test_the_issue_s_keys_are_where_scripts_look_for_them(tmp_path: Path) -> None:
    write_result(sample_result(devices=3, rounds=2), tmp_path / "result.json")

    document = json.loads((tmp_path / "result.json").read_text())

    assert {
        "personal_accuracy",
        "global_accuracy",
        "worst_device_accuracy",
        "uplink_bytes_per_device_round",
        "downlink_bytes_per_device_round",
        "max_abs_logit_difference",
    } <= document["final"].keys()
    assert document["engine"]["device_rounds_per_second"] > 0
    assert {"config", "versions", "seed"} <= document.keys()
    assert [entry["round"] for entry in document["rounds"]] == [1, 2]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("final", "personal_accuracy"), "high", "final.personal_accuracy: 'high' is not of type float"),
        (("rounds", 0, "asked"), 1.5, "rounds[0].asked: 1.5 is not of type int"),
        (("baselines", "local", "rounds"), {}, "baselines.local.rounds: {} is not a list"),
        (("schema_version",), 99, "schema_version is 99"),
    ],
)
def test_a_wrong_field_is_named(
    tmp_path: Path, path: tuple[str | int, ...], value: object, said: str
) -> None:
    document = as_document(sample_result(devices=3, rounds=2))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file = tmp_path / "result.json"
    write_sealed_json(file, document)

    with pytest.raises(FedstillError, match=re.escape(said)):
        read_result(file)


def test_an_unknown_field_is_named(tmp_path: Path) -> None:
    document = as_document(sample_result(devices=3, rounds=2))
    document["final"]["speed"] = document["final"].pop("retention")
    file = tmp_path / "result.json"
    write_sealed_json(file, document)

    with pytest.raises(FedstillError, match=r"final\.speed: unknown setting"):
        read_result(file)


@pytest.mark.parametrize("text", ["", "{", "[]", "nonsense"])
def test_what_is_no_result_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "result.json"
    file.write_text(text)

    with pytest.raises(ResultError, match=re.escape(str(file))):
        read_result(file)


def test_a_number_that_json_cannot_hold_is_refused_and_leaves_the_old_file(tmp_path: Path) -> None:
    result = sample_result(devices=3, rounds=2)
    file = tmp_path / "result.json"
    write_result(result, file)

    with pytest.raises(ValueError, match="JSON"):
        write_result(
            dataclasses.replace(result, final=dataclasses.replace(result.final, retention=float("nan"))), file
        )

    assert read_result(file) == result


def test_without_times_drops_clocks_at_any_depth_and_nothing_else() -> None:
    document = {
        "timing": 1,
        "a": [{"engine": 2, "b": 3}],
        "baselines": {"local": {"timing": 4, "rounds": [5]}},
    }

    assert without_times(document) == {"a": [{"b": 3}], "baselines": {"local": {"rounds": [5]}}}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_is_documented(record: type) -> None:
    sections = re.split(r"^## ", DOCUMENT.read_text(), flags=re.MULTILINE)
    section = next(text for text in sections if text.splitlines()[0] == record.__name__)

    documented = re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)

    assert documented == [field.name for field in dataclasses.fields(record)]


def test_the_document_describes_no_record_that_does_not_exist() -> None:
    sections = re.findall(r"^## (\w+)", DOCUMENT.read_text(), flags=re.MULTILINE)

    assert sorted(sections) == sorted(record.__name__ for record in RECORDS)
