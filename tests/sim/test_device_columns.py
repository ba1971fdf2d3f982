"""Names, families, accuracies and results of very many devices, as columns."""

import dataclasses
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.sealed import seal_by_hand
from fedstill_sim.data.columns.families import FamilyColumn
from fedstill_sim.data.columns.names import NameColumn, NumberedNames
from fedstill_sim.data.columns.samples import sampled_devices
from fedstill_sim.data.digits import load_digits
from fedstill_sim.data.fleet import load_fleet, save_fleet
from fedstill_sim.data.splits import resampled_rows
from fedstill_sim.report.run_report import render_report
from fedstill_sim.results.device_columns import COUNTS, DeviceColumns, MeasuredStore
from fedstill_sim.results.device_results import BaselineTable, DeviceTable
from fedstill_sim.results.json_files import ResultError
from fedstill_sim.results.run_result import RunResult, read_result, write_result

from fedstill.simulation.result import Devices
from tests.sim.sample_results import sample_result

MILLION = 1_000_000


def test_numbered_names_are_those_of_a_list() -> None:
    names = NumberedNames(12)

    assert names == [f"device-{number:02d}" for number in range(12)]
    assert names[-1] == "device-11"
    assert names[1:3] == ("device-01", "device-02")
    assert names.index("device-07") == 7
    assert "device-12" not in names
    assert "device-7" not in names
    assert "device-٠٧" not in names  # digits, but not those of the rule
    with pytest.raises(ValueError, match="no device"):
        names.index("ada")
    with pytest.raises(IndexError, match="there are 12"):
        names[12]


def test_a_column_holds_names_of_any_letters() -> None:
    names = NameColumn.of(["Ada", "", "Žofie", "李"])

    assert list(names) == ["Ada", "", "Žofie", "李"]
    assert names == ("Ada", "", "Žofie", "李")
    with pytest.raises(FedstillError, match="offsets must rise"):
        NameColumn(names.text, names.offsets[:-1])


def test_families_are_dealt_out_in_turn() -> None:
    families = FamilyColumn.in_turn(("cnn", "mlp-small"), devices=5)

    assert families == ("cnn", "mlp-small", "cnn", "mlp-small", "cnn")
    assert families == FamilyColumn.of(list(families))
    assert families.counts() == {"cnn": 3, "mlp-small": 2}
    assert families.members("mlp-small").tolist() == [1, 3]
    assert families.rows.tolist() == [0, 0, 1, 1, 2]
    assert families.members("unknown").tolist() == []
    with pytest.raises(FedstillError, match="code 2 is of none of 2"):
        FamilyColumn(("a", "b"), np.array([0, 2], np.uint8))


def test_a_sample_has_of_each_family_its_share() -> None:
    families = FamilyColumn(("a", "b"), np.repeat(np.array([0, 1], np.uint8), (90, 10)))

    drawn = sampled_devices(families, most=20, seed=3)

    assert len(set(drawn.tolist())) == 20
    assert drawn.tolist() == sorted(drawn.tolist())
    assert int((drawn < 90).sum()) == 18
    assert np.array_equal(drawn, sampled_devices(families, most=20, seed=3))
    assert not np.array_equal(drawn, sampled_devices(families, most=20, seed=4))
    assert sampled_devices(families, most=None, seed=3).tolist() == list(range(100))


def test_what_is_drawn_does_not_depend_on_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    labels, counts = generator.integers(0, 3, 50), generator.integers(1, 9, 40)
    mixtures = generator.dirichlet([0.5] * 3, 40).astype(np.float32)
    drawn = {"mixtures": mixtures, "counts": counts, "seed": 7, "among": np.arange(50, dtype=np.int32)}
    whole = resampled_rows(labels, **drawn)

    monkeypatch.setattr("fedstill_sim.data.splits._DRAWN_AT_ONCE", 7)

    assert np.array_equal(resampled_rows(labels, **drawn), whole)


def test_devices_get_as_many_examples_as_are_asked_for() -> None:
    data = load_digits(devices=7, examples_per_device=12, families=("mlp-small", "cnn"))

    assert data.train.counts.tolist() == [12] * 7
    assert data.test.counts.tolist() == [4] * 7
    assert not set(data.train.rows.tolist()) & set(data.test.rows.tolist())
    assert "12 training examples a device" in data.description


def test_a_hundred_thousand_devices_are_saved_small_and_opened_at_once(tmp_path: Path) -> None:
    data = load_digits(devices=100_000, examples_per_device=16, families=("mlp-small", "cnn"))

    save_fleet(data, tmp_path)
    started = time.process_time()
    loaded = load_fleet(tmp_path, is_checked=True)

    assert time.process_time() - started < 2  # without a name, a family or a row that is looked at
    assert (tmp_path / "fleet.json").stat().st_size < 2_000
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 120 * loaded.devices
    assert loaded.device_names[99_999] == "device-99999"
    assert loaded.families == data.families
    assert np.array_equal(loaded.train[99_999], data.train[99_999])


def test_many_names_of_one_s_own_lie_beside_the_description(tmp_path: Path) -> None:
    data = load_digits(devices=1_200, examples_per_device=2)
    named = dataclasses.replace(data, device_names=tuple(f"ada-{number}" for number in range(1_200)))

    save_fleet(named, tmp_path)

    assert load_fleet(tmp_path).device_names == named.device_names
    assert "ada-7" not in (tmp_path / "fleet.json").read_text()


def columns_of(devices: int, *, measured: int | None = None) -> DeviceColumns:
    """Columns of made-up devices."""
    generator, known = np.random.default_rng(0), devices if measured is None else measured
    columns = DeviceColumns(
        names=NumberedNames(devices),
        train_examples=np.full(devices, 16, np.int32),
        test_examples=np.full(devices, 5, np.int32),
        class_counts=generator.multinomial(16, [0.1] * 10, devices).astype(np.int32),
        family_codes=(np.arange(devices) % 2).astype(np.uint16),
        family_names=("mlp-small", "cnn"),
        summaries_counted=generator.integers(0, 4, devices).astype(np.int32),
        **{
            f"{name}_accuracy": np.full(devices, np.nan)
            for name in ("personal", "global", "fleet_personal", "fleet_global")
        },
    )
    chosen = sampled_devices(columns.families, most=known, seed=0)
    correct = generator.integers(0, 6, known)
    counts = dict.fromkeys(COUNTS, correct) | {"personal_examples": np.full(known, 5)}
    columns.add_evaluation(chosen, counts | {"global_examples": np.full(known, 10)})
    return columns


def result_of(devices: int, *, measured: int | None = None) -> RunResult:
    """A run, and a baseline, of so many devices."""
    sample, own = (
        sample_result(devices=3, rounds=3, baselines=("local",)),
        columns_of(devices, measured=measured),
    )
    local = dataclasses.replace(own, class_counts=own.class_counts[:, :0])
    baseline = dataclasses.replace(sample.baselines["local"], devices=BaselineTable(local))
    final = dataclasses.replace(
        sample.final, measured_devices=len(own.measured), personal_half_width=0.002 if measured else 0.0
    )
    rounds = tuple(dataclasses.replace(one, clock_s=60.0 * one.round) for one in sample.rounds)
    return dataclasses.replace(
        sample,
        final=final,
        rounds=rounds,
        devices=DeviceTable(own),
        baselines={"local": baseline},
        data=dataclasses.replace(sample.data, devices=devices),
    )


def test_rounds_and_evaluations_are_counted_in_columns() -> None:
    columns = DeviceColumns.of(load_digits(devices=4, families=("mlp-small", "cnn")))

    columns.add_round(counted=np.array([0, 2]))
    columns.add_round(counted=np.array([True, False, False, True]))
    counts = dict.fromkeys(COUNTS, np.array([3, 0])) | {"personal_examples": np.array([4, 0])}
    columns.add_evaluation(np.array([1, 3]), counts | {"global_examples": np.array([10, 10])})

    assert columns.summaries_counted.tolist() == [2, 0, 1, 1]
    assert columns.measured.tolist() == [1, 3]
    table = DeviceTable(columns)
    assert (table[1].personal_accuracy, table[1].global_accuracy) == (0.75, 0.3)
    assert (table[3].personal_accuracy, table[3].global_accuracy) == (None, 0.0)
    assert table[0].personal_accuracy is None
    assert table[2].class_counts == tuple(columns.class_counts[2].tolist())
    assert [device.family for device in table] == ["mlp-small", "cnn"] * 2


def test_a_few_devices_are_listed_and_many_are_in_a_file(tmp_path: Path) -> None:
    few, many = result_of(1_000), result_of(1_001)

    write_result(few, tmp_path / "few" / "result.json")
    write_result(many, tmp_path / "many" / "result.json")

    assert [file.name for file in (tmp_path / "few").iterdir()] == ["result.json"]
    assert read_result(tmp_path / "few" / "result.json").devices == few.devices
    document = json.loads((tmp_path / "many" / "result.json").read_text())
    assert document["devices"] == []
    assert document["device_file"]["name"] == "devices.npz"
    read = read_result(tmp_path / "many" / "result.json")
    assert read.devices == many.devices
    assert read.baselines["local"].devices == many.baselines["local"].devices
    assert (tmp_path / "many" / "result.json").stat().st_size < 20_000


def test_a_damaged_or_misplaced_file_of_columns_is_named(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    write_result(result_of(1_001), file)
    blob = bytearray((tmp_path / "devices.npz").read_bytes())
    blob[5_000] ^= 1

    (tmp_path / "devices.npz").write_bytes(blob)
    with pytest.raises(ResultError, match=r"devices\.npz: damaged"):
        read_result(file)
    (tmp_path / "devices.npz").unlink()
    with pytest.raises(ResultError, match=r"devices\.npz: no such file"):
        read_result(file)
    document = json.loads(file.read_text())
    document["device_file"]["name"] = "../devices.npz"
    file.write_text(json.dumps(document))
    seal_by_hand(file)
    with pytest.raises(ResultError, match=r"is no \.npz file beside"):
        read_result(file)


def test_columns_of_an_object_or_of_another_size_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "devices.npz"
    np.savez(file, train_examples=np.array([{"a": 1}], object))
    with pytest.raises(ResultError, match="holds no columns of devices"):
        DeviceColumns.load(file)
    file.write_bytes(b"nonsense")
    with pytest.raises(ResultError, match="holds no columns of devices"):
        DeviceColumns.load(file)
    whole = columns_of(3)
    dataclasses.replace(whole, test_examples=whole.test_examples[:2]).save(file)
    with pytest.raises(ResultError, match=r"test_examples is int32 \[2\], of 3 devices"):
        DeviceColumns.load(file)


def test_of_what_was_measured_the_last_two_rounds_are_kept(tmp_path: Path) -> None:
    store = MeasuredStore(tmp_path)

    for number in (1, 2, 3):
        store.keep(number, np.array([4, number]), dict.fromkeys(COUNTS, np.array([1, number])))

    devices, counts = store.read(3)
    assert devices.tolist() == [4, 3]
    assert counts["personal_correct"].tolist() == [1, 3]
    assert sorted(os.listdir(tmp_path)) == ["measured_000002.npz", "measured_000003.npz"]
    with pytest.raises(ResultError, match="no such file"):
        store.read(1)


def test_a_million_devices_make_a_small_report_in_seconds(tmp_path: Path) -> None:
    result = result_of(MILLION, measured=10_000)
    write_result(result, tmp_path / "result.json")

    started = time.process_time()
    page = render_report(read_result(tmp_path / "result.json"))
    took = time.process_time() - started

    assert len(page) < 1_000_000
    assert took < 15  # 2 s on a quiet core
    assert "measured on 10,000 of 1,000,000 devices, ± 0.2 points" in page
    assert (tmp_path / "devices.npz").stat().st_size < 100 * MILLION


def test_devices_are_a_table_for_who_reads_tables() -> None:
    pytest.importorskip("pandas")
    devices = Devices(DeviceTable(columns_of(6, measured=4)))

    frame = devices.to_pandas()

    assert len(devices) == 6
    assert frame.index.tolist() == [f"device-{number}" for number in range(6)]
    assert frame.family.tolist() == ["mlp-small", "cnn"] * 3
    assert frame.personal_accuracy.notna().sum() == 4
    listed = Devices(tuple(devices)).to_pandas()
    assert listed.astype(str).equals(frame.astype(str))
