"""Fleets from arrays: what becomes of them, and every refusal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import fedstill as fs

X = np.arange(24, dtype=np.float64).reshape(6, 2, 2) / 32
Y = [0, 1, 2, 0, 1, 2]
ANN = fs.Device(X, Y, x_test=X[:2] + 0.5, y_test=Y[:2])
PUBLIC = (X[:3], Y[:3])


def test_the_examples_of_each_device_stay_its_own() -> None:
    bob = fs.Device(-X[:4], Y[:4], x_test=-X[4:], y_test=Y[4:])
    fleet = fs.Fleet.from_arrays({"ann": ANN, "bob": bob}, public=PUBLIC, name="mine")
    data = fleet.data
    assert (fleet.names, len(fleet), data.name, data.classes) == (("ann", "bob"), 2, "mine", 3)
    for n, device in enumerate((ANN, bob)):
        for rows, x, y in ((data.train[n], device.x, device.y), (data.test[n], device.x_test, device.y_test)):
            np.testing.assert_array_equal(data.x[rows], x)
            np.testing.assert_array_equal(data.y[rows], y)
    assert (data.x.dtype, data.y.dtype) == (np.float32, np.int64)
    # Everyone is tested on the test examples of all devices, unless a test set is given.
    np.testing.assert_array_equal(data.global_x, np.concatenate([ANN.x_test, bob.x_test]))
    assert repr(fleet) == (
        "<Fleet mine: 2 devices, 10 examples of shape [2, 2], 3 classes, 3 public examples with labels>"
    )


def test_a_test_set_and_an_unlabelled_public_set_are_taken() -> None:
    fleet = fs.Fleet.from_arrays([ANN], public=X, test=(X[5:], [1]), classes=7)
    assert fleet.data.public_y is None
    assert fleet.data.classes == 7
    np.testing.assert_array_equal(fleet.data.global_y, [1])
    assert "6 public examples without labels" in repr(fleet)


def test_devices_of_a_sequence_are_numbered() -> None:
    fleet = fs.Fleet.from_arrays([ANN] * 11, public=PUBLIC)
    assert fleet.names[0] == "device-00"
    assert fleet.names[-1] == "device-10"


def test_lists_and_tensors_are_arrays_too() -> None:
    given = fs.Device(
        torch.tensor(X, requires_grad=True), torch.tensor(Y), x_test=X.tolist(), y_test=np.uint8(Y)
    )
    fleet = fs.Fleet.from_arrays([given], public=(torch.tensor(X), Y))
    np.testing.assert_array_equal(fleet.data.x[fleet.data.train[0]], X)
    np.testing.assert_array_equal(fleet.data.y[fleet.data.test[0]], Y)


def test_a_quarter_is_held_out_by_the_seed() -> None:
    def parts(seed: int) -> tuple[list[float], list[float]]:
        x = np.arange(40.0)[:, None]
        data = fs.Fleet.from_arrays([fs.Device(x, [0, 1] * 20)] * 2, public=PUBLIC_LINE, seed=seed).data
        assert not np.array_equal(data.x[data.test[0]], data.x[data.test[1]])
        return data.x[data.train[0]].ravel().tolist(), data.x[data.test[0]].ravel().tolist()

    train, test = parts(0)
    assert (len(train), len(test)) == (30, 10)
    assert sorted(train + test) == list(range(40))
    assert parts(0) == (train, test)
    assert parts(1) != (train, test)


PUBLIC_LINE = (np.zeros((2, 1)), [0, 1])


# What is refused

NOT_FINITE = np.where(np.arange(24).reshape(6, 2, 2) == 9, np.nan, X)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x_test": None}, "device: x_test and y_test belong together"),
        ({"y_test": None}, "device: x_test and y_test belong together"),
        ({"x": "text"}, r"devices\['ann'\]: x: examples are <U4; give real numbers"),
        ({"x": X * 1j}, r"devices\['ann'\]: x: examples are complex128"),
        ({"x": [[1], [1, 2]]}, r"devices\['ann'\]: x cannot be read as an array"),
        ({"x": np.array([[object()]])}, r"devices\['ann'\]: x holds Python objects"),
        ({"x": [1.0, 2.0]}, r"devices\['ann'\]: x: has shape \[2\]; expected \[examples, ...\]"),
        ({"x": X[:0]}, r"devices\['ann'\]: x: holds no example to learn from"),
        ({"x": NOT_FINITE}, r"devices\['ann'\]: x: row 2: holds a value that is not finite"),
        (
            {"x": np.full_like(X, 1e300)},
            r"devices\['ann'\]: x: row 0: holds a value that is not finite as float32",
        ),
        (
            {"x_test": X[:, :1]},
            r"devices\['ann'\]: x_test: has examples of shape \[1, 2\], devices\['ann'\]: x of",
        ),
        ({"x_test": NOT_FINITE}, r"devices\['ann'\]: x_test: row 2: holds a value"),
        ({"y": Y[:5]}, r"devices\['ann'\]: y: labels have shape \[5\]; give one for each of 6"),
        ({"y": np.array(Y) * 0.7}, r"devices\['ann'\]: y: label 0.7 is no class"),
        ({"y": [0, 1, 2, 0, 1, -1]}, r"devices\['ann'\]: y: row 5: label -1 means that there is none"),
        ({"y_test": Y[1:]}, r"devices\['ann'\]: y_test: labels have shape \[5\]"),
        ({"x": X[:1], "y": Y[:1], "x_test": None, "y_test": None}, "no examples to measure on"),
    ],
)
def test_a_device_that_does_not_fit_is_refused(changed: dict[str, Any], message: str) -> None:
    given = {"x": X, "y": Y, "x_test": X, "y_test": Y, **changed}
    with pytest.raises(fs.FedstillError, match=message):
        fs.Fleet.from_arrays({"ann": fs.Device(**given)}, public=PUBLIC)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"devices": {}}, "devices: none given"),
        ({"devices": []}, "devices: none given"),
        ({"devices": {"ann": (X, Y)}}, r"devices\['ann'\]: tuple is not a fedstill.Device"),
        ({"devices": {3: ANN}}, "devices: 3 is no name"),
        ({"devices": {"a\nb": ANN}}, "is no name"),
        ({"public": X[:, 0]}, r"public: x: has examples of shape \[2\]"),
        ({"public": (X, Y[:1])}, r"public: y: labels have shape \[1\]; give one for each of 6"),
        ({"public": (X, Y, X)}, r"public: give a tuple \(x, y\)"),
        ({"test": X}, r"test: give a tuple \(x, y\)"),
        ({"test": (X[..., 0], Y)}, r"test: x: has examples of shape \[2\]"),
        ({"classes": 2}, r"devices\['ann'\]: y: label 2, but there are 2 classes, 0 to 1"),
        ({"classes": 4, "public": (X, [0, 1, 2, 3, 4, 5])}, r"public: y: label 5, but there are 4 classes"),
        ({"devices": [fs.Device(X, [0] * 6)], "public": X}, "classes must be at least 2, not 1"),
    ],
)
def test_a_fleet_that_does_not_fit_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(fs.FedstillError, match=message):
        fs.Fleet.from_arrays(**{"devices": {"ann": ANN}, "public": PUBLIC, **changed})


def test_bytes_with_channels_last_are_read_as_a_network_takes_them() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (8, 6, 5, 3), np.uint8)
    ann = fs.Device(pictures, [0, 1] * 4)

    fleet = fs.Fleet.from_arrays([ann], public=pictures)
    as_given = fs.Fleet.from_arrays([ann], public=pictures, normalize="none", channels="first")

    assert fleet.data.input_shape == (3, 6, 5)
    np.testing.assert_allclose(fleet.data.public_x, pictures.transpose(0, 3, 1, 2) / 255, rtol=1e-6)
    assert fleet.data.x.max() <= 1.0
    np.testing.assert_array_equal(as_given.data.public_x, pictures)


def test_amounts_far_from_unit_scale_are_standardized_by_the_public_set_alone() -> None:
    far = fs.Device(X * 1000 + 5000, Y)

    fleet = fs.Fleet.from_arrays([far, ANN], public=X * 1000)

    assert fleet.data.public_x.mean() == pytest.approx(0, abs=1e-5)
    assert fleet.data.public_x.std() == pytest.approx(1, abs=1e-5)
    assert fleet.data.x[fleet.data.train[0]].mean() > 10
