"""The data sets that benchmarks bring."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from fedstill_sim.data.folder import load_folder
from fedstill_sim.data.registry import DATASETS

from benchmarks import sets
from benchmarks.sets.fleets import FleetPlan, deal
from benchmarks.sets.names import SetError, variant_of
from benchmarks.sets.wrists import WatchError, _ArraysAlone, watch_windows


def test_a_registered_name_is_a_fleet_of_seventy_examples_a_device() -> None:
    fleet = DATASETS.read("benchmarks.sets:mnist5k", devices=12, dirichlet=10.0, seed=3)
    assert set(fleet.train.counts) == {70}
    assert len(fleet.global_y) == fleet.test.counts.sum() == 4_000 - 12 * 70
    assert fleet.x.min() == 0
    assert fleet.x.max() == 1
    assert fleet.x.shape == (5_000, 784)
    assert len(fleet.public_y if fleet.public_y is not None else ()) == 200


def test_natural_devices_are_arms_and_people_of_the_public_set_have_none() -> None:
    fleet = sets.watch(devices=12, seed=0)
    other = sets.watch(devices=12, seed=1)
    assert fleet.devices == 12
    assert fleet.input_shape == (78,)
    assert not np.array_equal(fleet.public_x, other.public_x)
    trained = {row.tobytes() for row in fleet.x[fleet.train.rows]}
    tested = {row.tobytes() for row in fleet.x[fleet.test.rows]}
    public = {row.tobytes() for row in fleet.public_x}
    assert not trained & tested
    assert not (trained | tested) & public


def test_what_a_name_says_is_changed() -> None:
    plan = FleetPlan(devices=12, dirichlet=1.0, seed=0)
    plain, renamed = (deal(variant_of(name), plan) for name in ("digits", "digits_5renamed"))
    for device in range(12):
        own, theirs = plain.y[plain.train[device]], renamed.y[renamed.train[device]]
        assert np.array_equal(plain.x[plain.train[device]], renamed.x[renamed.train[device]])
        assert np.array_equal(own, theirs) == (device >= 5)
        assert len(set(zip(own.tolist(), theirs.tolist(), strict=True))) == len(set(own.tolist()))
    assert np.array_equal(plain.global_y, renamed.global_y)
    few = deal(variant_of("digits_3classes_20rows"), plan)
    assert len(few.public_x) == 20
    assert few.public_y is not None
    assert set(few.public_y) == {0, 1, 2}
    assert np.array_equal(deal(variant_of("digits_inverted"), plan).public_x, 1 - plain.public_x)
    assert deal(variant_of("digits_noise"), plan).public_y is None
    with pytest.raises(SetError, match="'upsidedown' is none of unlabelled, inverted"):
        variant_of("digits_upsidedown")


def test_a_written_folder_is_the_same_fleet(tmp_path: Path) -> None:
    from benchmarks.sets.__main__ import write

    fleet = sets.strokes_unlabelled(devices=3, dirichlet=1.0, seed=0)
    write(fleet, tmp_path / "strokes")
    read = load_folder(tmp_path / "strokes")
    assert read.public_y is None
    assert np.array_equal(read.global_y, fleet.global_y)
    for device in range(3):
        assert np.array_equal(read.x[read.train[device]], fleet.x[fleet.train[device]])


def test_a_pickle_that_asks_for_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WatchError, match="holds arrays alone"):
        _ArraysAlone(io.BytesIO(pickle.dumps(print))).load()
    (tmp_path / "other.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(WatchError, match="another version of seglearn"):
        watch_windows(tmp_path / "other.npy")
