"""FleetData: what a fleet refuses, and that it survives being saved."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fedstill_sim.data.digits import load_digits
from fedstill_sim.data.fleet import DeviceRows, FleetData, FleetDataError, load_fleet, save_fleet


def small_fleet() -> FleetData:
    """Two devices over four examples of two classes."""
    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    return FleetData(
        name="small",
        description="small: 2 devices",
        classes=2,
        device_names=("a", "b"),
        families=("mlp-small", "mlp-small"),
        x=x,
        y=np.array([0, 1, 1, 0]),
        train=DeviceRows.of([np.array([0]), np.array([1, 2, 1])]),
        test=DeviceRows.of([np.array([3]), np.array([3])]),
        public_x=x[:1],
        public_y=None,
        global_x=x[3:],
        global_y=np.array([0]),
    )


def test_device_rows_are_slices_of_one_array() -> None:
    rows = DeviceRows.of([np.array([5, 6]), np.empty(0, np.int64), np.array([7])])
    assert [part.tolist() for part in rows] == [[5, 6], [], [7]]
    assert rows.counts.tolist() == [2, 0, 1]
    assert len(rows) == 3


def test_class_counts_count_training_rows() -> None:
    assert small_fleet().class_counts().tolist() == [[1, 0], [0, 3]]


def test_families_are_dealt_out_in_turn() -> None:
    dealt = load_digits(devices=5).with_families(["mlp-small", "cnn"])
    assert dealt.families == ("mlp-small", "cnn", "mlp-small", "cnn", "mlp-small")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 1}, "classes must be at least 2"),
        ({"device_names": ("a", "a")}, "devices with different names"),
        ({"families": ("cnn",)}, "families describes 1 devices, there are 2"),
        ({"y": np.array([0, 1, 2, 0])}, "labels 0 to 2, there are 2 classes"),
        ({"y": np.array([0, 1])}, r"labels must be int64 \[4\]"),
        ({"global_x": np.zeros((1, 3), np.float32)}, r"global test set: examples are float32 \[3\]"),
        ({"public_x": np.zeros((1, 2))}, "public set: examples are float64"),
        (
            {"train": DeviceRows.of([np.array([4]), np.array([0])])},
            "train rows must be rows of the 4 examples",
        ),
    ],
)
def test_a_wrong_fleet_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(FleetDataError, match=message):
        replace(small_fleet(), **change)


def test_a_saved_fleet_comes_back(tmp_path: Path) -> None:
    fleet = small_fleet()
    save_fleet(fleet, tmp_path)
    loaded = load_fleet(tmp_path)
    assert isinstance(loaded.x, np.memmap)
    assert loaded.device_names == fleet.device_names
    assert loaded.families == fleet.families
    assert loaded.public_y is None
    for name in ("x", "y", "public_x", "global_x", "global_y"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(fleet, name))
    assert [part.tolist() for part in loaded.train] == [part.tolist() for part in fleet.train]
    with np.load(tmp_path / "public.npz") as public:
        assert public.files == ["x"]
    with np.load(tmp_path / "global_test.npz") as test:
        assert sorted(test.files) == ["x", "y"]


def test_loading_nothing_says_where(tmp_path: Path) -> None:
    with pytest.raises(FleetDataError, match=r"fleet\.json: no such file"):
        load_fleet(tmp_path)
