"""Bring your own data: what a good folder gives, and what a bad one is told."""

from pathlib import Path

import numpy as np
import pytest
from fedstill_sim.data.dealing import Dealing
from fedstill_sim.data.fleet import FleetDataError
from fedstill_sim.data.folder import load_folder

Arrays = dict[str, np.ndarray]


def example(rows: int, *, shape: tuple[int, ...] = (3,)) -> np.ndarray:
    return np.arange(rows * int(np.prod(shape)), dtype=np.float32).reshape(rows, *shape) / 10


def client(**changes: np.ndarray) -> Arrays:
    return {
        "x_train": example(4),
        "y_train": np.array([0, 1, 2, 1]),
        "x_test": example(2),
        "y_test": np.array([2, 0]),
    } | changes


def write(folder: Path, files: dict[str, Arrays]) -> Path:
    for name, arrays in files.items():
        np.savez(folder / name, **arrays)
    return folder


def good(**clients: Arrays) -> dict[str, Arrays]:
    return {
        "client_0.npz": client(),
        "client_10.npz": client(y_train=np.array([1, 1, 1, 1], np.uint8)),
        "public.npz": {"x": example(5)},
        "global_test.npz": {"x": example(3), "y": np.array([0, 1, 2])},
    } | {f"{name}.npz": arrays for name, arrays in clients.items()}


def test_a_folder_becomes_a_fleet(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text("{}")
    fleet = load_folder(write(tmp_path, good()), families=["mlp-small", "cnn"], normalize="none")
    assert fleet.device_names == ("client-00", "client-10")
    assert fleet.families == ("mlp-small", "cnn")
    assert fleet.classes == 3
    assert fleet.public_y is None
    assert fleet.y[fleet.train[1]].tolist() == [1, 1, 1, 1]
    assert fleet.y[fleet.test[0]].tolist() == [2, 0]
    np.testing.assert_array_equal(fleet.x[fleet.test[1]], example(2))


@pytest.mark.parametrize("shape", [(5,), (4, 4), (3, 4, 4)])
def test_examples_have_one_to_three_dimensions(tmp_path: Path, shape: tuple[int, ...]) -> None:
    files = {
        "client_0.npz": client(x_train=example(4, shape=shape), x_test=example(2, shape=shape)),
        "public.npz": {"x": example(5, shape=shape), "y": np.array([0, 1, 2, 0, 1])},
        "global_test.npz": {"x": example(3, shape=shape), "y": np.array([0, 1, 2])},
    }
    fleet = load_folder(write(tmp_path, files))
    assert fleet.input_shape == shape
    assert fleet.public_y is not None


def not_finite() -> np.ndarray:
    x = example(4)
    x[2, 1] = np.nan
    return x


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"client_0": client(x_train=not_finite())}, r"client_0\.npz: x_train: row 2: .* not finite"),
        ({"client_0": client(x_train=example(4) * 1j)}, r"client_0\.npz: x_train: examples are complex"),
        ({"client_0": client(x_train=np.float32([1, 2, 3, 4]))}, r"client_0\.npz: x_train: has shape \[4\]"),
        (
            {"client_0": client(x_test=example(2, shape=(4,)))},
            r"client_0\.npz: x_test: has examples of shape \[4\]",
        ),
        ({"client_0": client(x_train=example(0))}, r"client_0\.npz: x_train: holds no example to learn from"),
        ({"client_0": client(y_test=np.array([0]))}, r"client_0\.npz: y_test: labels have shape \[1\]"),
        ({"client_0": client(y_test=np.array([0.5, 1.0]))}, r"client_0\.npz: y_test: label 0\.5 is no class"),
        ({"client_0": client(y_test=np.array([0, -1]))}, r"client_0\.npz: y_test: row 1: label -1 means"),
        ({"client_0": {"x_train": example(4)}}, r"client_0\.npz: y_train: there are no labels"),
        ({"public": {"y": np.array([0])}}, r"public\.npz: x is missing"),
    ],
)
def test_an_error_names_the_file_and_the_field(
    tmp_path: Path, broken: dict[str, Arrays], message: str
) -> None:
    with pytest.raises(FleetDataError, match=message):
        load_folder(write(tmp_path, good(**broken)))


def test_devices_that_are_named_are_not_dealt_out(tmp_path: Path) -> None:
    with pytest.raises(FleetDataError, match="these bring their own"):
        load_folder(write(tmp_path, good()), dealing=Dealing(devices=3))


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    files = good(client_0=client(x_train=np.array([{}, {}], dtype=object)))
    with pytest.raises(FleetDataError, match=r"client_0\.npz: holds Python objects"):
        load_folder(write(tmp_path, files))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FleetDataError, match="not a folder"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(FleetDataError, match=r"holds no client_<i>\.npz"):
        load_folder(tmp_path)
    arrays = client()
    write(tmp_path, {"client_0.npz": {name: arrays[name] for name in ("x_train", "y_train")}})
    with pytest.raises(FleetDataError, match="no examples to measure on"):
        load_folder(tmp_path)


def test_a_file_that_is_no_archive_is_named(tmp_path: Path) -> None:
    write(tmp_path, good())
    (tmp_path / "client_10.npz").write_bytes(b"PK not really")
    with pytest.raises(FleetDataError, match=r"client_10\.npz: is no \.npz file"):
        load_folder(tmp_path)
    (tmp_path / "client_10.npz").write_bytes((tmp_path / "client_0.npz").read_bytes()[:-40])
    with pytest.raises(FleetDataError, match=r"client_10\.npz: is damaged or cut short"):
        load_folder(tmp_path)
