"""Data as people have them, through the API: tables, pictures, windows, arrays, and partitioners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value
from flwr_datasets.partitioner import DirichletPartitioner, IidPartitioner, NaturalIdPartitioner
from PIL import Image as Pictures

import fedstill as fs

SHOPS = {
    "shop": ["north", "north", "north", "south", "south", "south", "south", "public", "public", "public"],
    "age": [30, 40, 50, 30, 40, 50, 60, 20, 40, 60],
    "colour": ["red", "blue", "red", "blue", "red", "blue", "red", "red", "blue", "red"],
    "member": [True, False, True, True, False, True, False, True, False, True],
    "bought": ["tea", "milk", "tea", "tea", "milk", "tea", "milk", "tea", "milk", "tea"],
}


def shops(**changes: Any) -> dict[str, list[Any]]:
    return {name: list(changes.get(name, values)) for name, values in SHOPS.items()}


def test_a_table_is_read_by_what_the_public_rows_show() -> None:
    fleet = fs.datasets.table(shops(), label="bought", device_column="shop")
    data = fleet.data
    assert fleet.names == ("north", "south")
    assert data.class_names == ("milk", "tea")
    assert data.columns is not None
    assert [(column.name, column.kind, column.categories) for column in data.columns.columns] == [
        ("age", "number", ()),
        ("colour", "category", ("blue", "red")),
        ("member", "category", ("false", "true")),
    ]
    # The public ages are 20, 40 and 60: the mean is 40, the deviation sqrt(800 / 3).
    unit = 20 / np.sqrt(800 / 3)
    np.testing.assert_allclose(
        data.public_x, [[-unit, 0, 1, 0, 1], [0, 1, 0, 1, 0], [unit, 0, 1, 0, 1]], rtol=1e-6
    )
    assert data.public_y is not None
    assert data.public_y.tolist() == [1, 0, 1]
    mine = data.x[np.sort(np.concatenate([data.train[0], data.test[0]]))]
    assert sorted(mine[:, 0].tolist()) == pytest.approx([-unit / 2, 0, unit / 2])


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"label": "bougt"}, "--label: column: 'bougt' is unknown; did you mean bought?"),
        ({}, {"label": "bought", "leave_out": ["ages"]}, "column: 'ages' is unknown; did you mean age?"),
        ({"age": ["a", *SHOPS["age"][1:]]}, {}, "row 0: column 'age' is 'a', and no finite number"),
        (
            {"age": [30, None, *SHOPS["age"][2:]]},
            {},
            "row 1: column 'age' is empty; fill it in, or .* --missing",
        ),
        (
            {"colour": ["pink", *SHOPS["colour"][1:]]},
            {},
            "row 0: column 'colour' is 'pink', none of the public set's blue, red",
        ),
        ({"shop": ["", *SHOPS["shop"][1:]]}, {}, "row 0: column 'shop' is empty"),
        ({"bought": ["", *SHOPS["bought"][1:]]}, {}, "row 0: label is missing"),
        ({"bought": [0.5, *range(9)]}, {}, "label 0.5 is an amount; classes are whole numbers, or texts"),
        ({"age": [None] * 10}, {}, "column 'age' has no value; leave it out"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(
    changes: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(fs.FedstillError, match=message):
        fs.datasets.table(shops(**changes), **{"label": "bought", "device_column": "shop", **options})


def test_what_is_missing_is_the_mean_or_a_category_of_its_own() -> None:
    given = shops(age=[None, *SHOPS["age"][1:]], colour=["pink", "", *SHOPS["colour"][2:]])
    data = fs.datasets.table(
        given,
        label="bought",
        device_column="shop",
        leave_out=["member"],
        missing="fill",
        held_out=0,
        test=shops(),
    ).data
    assert data.x[data.train[0]].tolist()[:2] == [[0, 0, 0, 1], [0, 0, 0, 1]]


def picture(folder: Path, name: str, pixels: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Pictures.fromarray(pixels.astype(np.uint8)).save(folder / name)


def test_pictures_by_device_and_class(tmp_path: Path) -> None:
    for device in ("ann", "bob", "public"):
        for number, kind in enumerate(("cat", "dog")):
            for each in range(4):
                picture(tmp_path / device / kind, f"{each}.png", np.full((6, 5, 3), 100 * number + each))
    (tmp_path / "families.csv").write_text("device,family\nbob,cnn\n")
    fleet = fs.datasets.folder(tmp_path)
    data = fleet.data
    assert (fleet.names, data.class_names, data.input_shape) == (("ann", "bob"), ("cat", "dog"), (3, 6, 5))
    assert (data.families, data.input_rule.element_type) == (("", "cnn"), "uint8")
    np.testing.assert_allclose(data.public_x[4], 100 / 255, rtol=1e-6)
    picture(tmp_path / "ann" / "cat", "5.png", np.zeros((7, 5, 3)))
    with pytest.raises(fs.FedstillError, match=r"5\.png: is 5x7 pixels, .* --image-size"):
        fs.datasets.folder(tmp_path)
    assert fs.datasets.folder(tmp_path, image_size="4x4", image_colour="grey").data.input_shape == (4, 4)
    (tmp_path / "ann" / "cat" / "6.png").write_text("no picture")
    with pytest.raises(fs.FedstillError, match=r"6\.png: is no picture; save it again"):
        fs.datasets.folder(tmp_path, image_size="4x4")


def test_pictures_by_class_alone_are_dealt_out(tmp_path: Path) -> None:
    for kind in ("0", "1"):
        for each in range(10):
            picture(tmp_path / "train" / kind, f"{each}.png", np.full((4, 4), each))
        picture(tmp_path / "test" / kind, "0.png", np.zeros((4, 4)))
    fleet = fs.datasets.folder(tmp_path, devices=4, public_share=0.2, held_out=0.0)
    data = fleet.data
    assert (len(fleet), data.classes, data.class_names) == (4, 2, ())
    assert (len(data.public_x), len(data.global_x), len(data.train.rows), len(data.test.rows)) == (
        4,
        2,
        16,
        0,
    )


def test_windows_of_sensors_in_arrays_or_a_file_each(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for device in ("subject_1", "subject_2", "public"):
        folder = tmp_path / "arrays" / device
        folder.mkdir(parents=True)
        np.save(folder / "x.npy", random.normal(size=(8, 9, 16)))
        np.save(folder / "y.npy", np.arange(8) % 6 + 1)
        for kind in ("walking", "sitting"):
            each = tmp_path / "files" / device / kind
            each.mkdir(parents=True)
            np.save(each / "0.npy", np.ones((3, 4)))
            np.savetxt(each / "1.csv", np.ones((3, 4)), delimiter=",")
            (each / "2.csv").write_text("\ufeffx,y,z\n" + "1,1,1\n" * 4)
    data = fs.datasets.folder(tmp_path / "arrays").data
    assert (data.input_shape, data.class_names) == ((9, 16), tuple("123456"))
    data = fs.datasets.folder(tmp_path / "files").data
    assert (data.input_shape, data.class_names) == ((3, 4), ("sitting", "walking"))
    np.testing.assert_array_equal(data.x, 1)


def test_arrays_are_dealt_out() -> None:
    x, y = np.arange(160.0).reshape(80, 2) / 160, np.array(["a", "b"] * 40)
    data = fs.datasets.arrays(x, y, devices=4, public_share=0.25).data
    assert data.class_names == ("a", "b")
    assert (len(data.public_x), data.train.counts.tolist(), data.test.counts.tolist()) == (
        20,
        [11] * 4,
        [4] * 4,
    )
    rows = np.concatenate([data.train.rows, data.test.rows])
    assert len(set(rows.tolist())) == 60
    assert not set(map(tuple, data.x[rows].tolist())) & set(map(tuple, data.public_x.tolist()))
    skewed = fs.datasets.arrays(x, y, devices=2, dirichlet=0.1, public=x[:4]).data
    assert skewed.public_y is None
    with pytest.raises(
        fs.FedstillError, match="option: 'publik_share' is unknown; did you mean public_share"
    ):
        fs.datasets.arrays(x, y, publik_share=0.1)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([10, 20, 30, 40], ("10", "20", "30", "40")),
        ([1000000, 1000001, 1000002, 1000003], ("1000000", "1000001", "1000002", "1000003")),
        (["b", "a", "d", "c"], ("a", "b", "c", "d")),
        ([0, 1, 2, 3], ()),
    ],
)
def test_labels_with_gaps_are_names(labels: list[Any], names: tuple[str, ...]) -> None:
    data = fs.datasets.arrays(np.eye(4).repeat(8, axis=0), np.repeat(labels, 8), devices=2).data
    assert (data.classes, data.class_names) == (4, names)


def people() -> Dataset:
    return Dataset.from_dict(
        {
            "who": ["ann", "bob"] * 12,
            "age": list(range(24)),
            "city": ["x", "y", "z"] * 8,
            "kind": [0, 1, 2, 1] * 6,
        },
        features=Features(
            who=Value("string"),
            age=Value("int64"),
            city=Value("string"),
            kind=ClassLabel(names=["s", "m", "l"]),
        ),
    )


def test_partitioners_share_a_table_out() -> None:
    fleet = fs.datasets.partitioned(
        people(), NaturalIdPartitioner("who"), features=["age", "city"], label="kind", public=people()
    )
    assert fleet.names == ("ann", "bob")
    assert (fleet.data.input_shape, fleet.data.class_names) == ((4,), ("s", "m", "l"))
    skewed = DirichletPartitioner(2, partition_by="kind", alpha=1.0, min_partition_size=2, seed=1)
    dealt = fs.datasets.partitioned(people(), skewed, features=["age", "city"], label="kind")
    assert sum(len(part) for part in dealt.data.train) + len(dealt.data.test.rows) == 24
    with pytest.raises(fs.FedstillError, match="there is no column 'kinds'"):
        fs.datasets.partitioned(people(), IidPartitioner(2), label="kinds")


def test_partitioners_share_pictures_out() -> None:
    pictures = [np.full((4, 4, 3), each, np.uint8) for each in range(8)]
    data = Dataset.from_dict(
        {"image": pictures, "label": [0, 1] * 4}, features=Features(image=Image(), label=Value("int64"))
    )
    fleet = fs.datasets.partitioned(data, IidPartitioner(2), features="image")
    assert (fleet.data.input_shape, fleet.data.input_rule.element_type) == ((3, 4, 4), "uint8")


def test_a_fleet_of_arrays_may_name_classes_and_lack_tests_and_a_public_set(tmp_path: Path) -> None:
    x = np.eye(3).repeat(8, axis=0) + np.random.default_rng(0).normal(0, 0.1, (24, 3))
    y = np.repeat(["low", "middle", "high"], 8)
    devices = {
        "ann": fs.Device(x, y, x_test=x[:0], y_test=y[:0], family="mlp-4"),
        "bob": fs.Device(x, y, x_test=x, y_test=y),
    }
    fleet = fs.Fleet.from_arrays(devices)
    assert (fleet.data.class_names, fleet.data.families) == (("high", "low", "middle"), ("mlp-4", ""))

    with pytest.raises(fs.FedstillError, match="'fedstill' needs a public set, and the data have none"):
        fs.simulate(fleet, students="mlp-8", out=tmp_path / "without")
    result = fs.simulate(
        fleet, students="mlp-8", method="fedavg", rounds=1, epochs=20, processes=0, out=tmp_path / "run"
    )
    assert result.final.personal_accuracy == 1.0  # bob's alone
    assert {student.family for student in result.run.students.values()} == {"mlp-4", "mlp-8"}


def test_a_public_set_may_be_labelled_in_part() -> None:
    x, y = np.eye(3).repeat(8, axis=0), np.arange(3).repeat(8)
    known = np.where(np.arange(24) % 2, y, -1)
    data = fs.Fleet.from_arrays([fs.Device(x, y)], public=(x, known)).data
    assert data.public_y is not None
    assert data.public_y.tolist() == known.tolist()
    assert fs.Fleet.from_arrays([fs.Device(x, y)], public=(x, np.full(24, -1))).data.public_y is None


def test_a_folder_of_utterances_is_an_assistant_s(tmp_path: Path) -> None:
    said = [
        f"turn {way} the {thing},{way}" for way in ("on", "off") for thing in ("lamp", "fan", "radio", "tv")
    ]
    for name in ("ann", "bob", "public"):
        (tmp_path / f"{name}.csv").write_text("\n".join(["\ufefftext,label", *said, ""]))
    fleet = fs.datasets.folder(tmp_path)
    assert (fleet.names, fleet.data.classes) == (("ann", "bob"), 2)
