"""Pictures, sensors and tables, from files to a device's answer: interface, command line, package, agent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from fedstill_client.cli import app as agent_app
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_server.cli import cli as server_app
from fedstill_server.publish.package import build_package
from fedstill_server.publish.students import newest_state
from fedstill_server.run_folder import read_fleet_config
from fedstill_server.tasks import load_public
from fedstill_sim.cli import app as sim_app
from PIL import Image
from typer.testing import CliRunner

import fedstill as fs

FAMILY = "mlp-16"
QUICK = ("--rounds", 1, "--epochs", 1, "--families", FAMILY, "--teacher", "mlp-16")
RANDOM = np.random.default_rng(0)


def called(app: object, *words: object) -> str:
    outcome = CliRunner().invoke(app, [str(word) for word in words])  # type: ignore[arg-type]
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


def pictures(folder: Path) -> tuple[Path, Path, Path, str]:
    """Red and blue pictures of two devices; what is asked is of two more pixels each way."""
    for device in ("ann", "bob", "public"):
        for channel, kind in ((0, "red"), (2, "blue")):
            (folder / device / kind).mkdir(parents=True)
            for each in range(8):
                pixels = RANDOM.integers(0, 60, (32, 32, 3), dtype=np.uint8)
                pixels[..., channel] += 150
                Image.fromarray(pixels).save(folder / device / kind / f"{each}.png")
    return folder, folder / "public", folder / "ann" / "blue" / "0.png", "blue"


def windows(folder: Path) -> tuple[Path, Path, Path, str]:
    """Windows of 9 x 128 with activities 1 to 3, as arrays."""
    for device in ("subject_1", "subject_2", "public"):
        (folder / device).mkdir(parents=True)
        y = np.arange(18) % 3 + 1
        waves = np.sin(np.arange(128) * y[:, None, None] / 10) + RANDOM.normal(0, 0.1, (18, 9, 128))
        np.save(folder / device / "x.npy", waves)
        np.save(folder / device / "y.npy", y)
    asked = folder / "asked.npy"
    np.save(asked, waves[1])
    return folder, folder / "public", asked, "2"


def table(folder: Path) -> tuple[Path, Path, Path, str]:
    """Numbers, texts and truth values with missing ones; the public rows in a file of their own, too."""
    folder.mkdir()
    age = np.arange(60.0) % 30
    columns = {
        "who": ["ann"] * 20 + ["bob"] * 20 + ["public"] * 20,
        "age": [None if row % 12 == 5 else value for row, value in enumerate(age.tolist())],
        "colour": ["red", "green", "blue"] * 20,
        "member": [bool(row % 2) for row in range(60)],
        "bought": ["tea" if value > 14 else "milk" for value in age],
    }
    every = pyarrow.table(columns)
    pyarrow.parquet.write_table(every, folder / "people.parquet")
    pyarrow.parquet.write_table(every.slice(40), folder / "public.parquet")
    asked = folder / "asked.csv"
    asked.write_text("\ufeffcolour;bought;age;member\nred;tea;29;TRUE\n")
    return folder / "people.parquet", folder / "public.parquet", asked, "tea"


OF_TABLES = ("--label", "bought", "--missing", "fill")


@pytest.mark.parametrize(
    ("make", "options", "shape"),
    [(pictures, (), (3, 32, 32)), (windows, (), (9, 128)), (table, OF_TABLES, (1 + 4 + 3,))],
)
def test_data_become_a_device_s_answers(
    tmp_path: Path,
    make: Callable[[Path], tuple[Path, Path, Path, str]],
    options: tuple[str, ...],
    shape: tuple[int, ...],
) -> None:
    data, public, asked, answer = make(tmp_path / "data")
    by_device = ("--device-column", "who") if options else ()
    named = {"label": "bought", "missing": "fill", "device_column": "who"} if options else {}

    # The interface of Python reads what the command line reads.
    fleet = fs.datasets.folder(data, **named)
    assert fleet.data.input_shape == shape
    run = tmp_path / "run"
    words = (
        *options,
        *by_device,
        *QUICK,
        "--start",
        "random",
        "--baselines",
        "none",
        "--no-tradeoff",
        "--processes",
        0,
    )
    called(sim_app, "run", "--data", data, *words, "--no-report", "--json", "--out", run)
    described = json.loads((run / "config.json").read_text())["fleet"]
    assert described["class_names"] == list(fleet.data.class_names)

    # A student of the run answers with the names of classes.
    told = called(agent_app, "predict", "--student", run / "students" / FAMILY, "--input", asked, "--json")
    assert json.loads(told)["class_names"] == list(fleet.data.class_names)

    # A fleet of the public part alone: its package, and an agent that observes and answers.
    fleet_folder = tmp_path / "fleet"
    called(server_app, "init", fleet_folder, "--host", "localhost", "--without-proxy")
    leaving = ("--leave-out", "who") if options else ()
    called(server_app, "prepare", fleet_folder, "--public", public, *options, *leaving, *QUICK)
    home = home_of(tmp_path / "home", fleet_folder)
    own = {pictures: data / "ann", windows: data / "subject_1", table: asked}[make]
    called(agent_app, "observe", "--home", home, "--input", own)
    told = called(agent_app, "predict", "--home", home, "--input", asked, "--json")
    names = json.loads(told)["class_names"]
    assert names[json.loads(told)["classes"][0]] == answer


def home_of(folder: Path, fleet: Path) -> Path:
    """An agent's home with the package of a prepared fleet."""
    config = read_fleet_config(fleet)
    public = load_public(fleet, config)
    student = newest_state(fleet).students[FAMILY]
    package = build_package(config, FAMILY, student, package_version=1, public_x=public.x, quality={})
    home = AgentHome(folder)
    home.create()
    home.description.write_text(json.dumps({"name": "kitchen", "family": FAMILY}))
    with PrivateStore.create(home) as store:
        install(home, store, package)
    return home.folder
