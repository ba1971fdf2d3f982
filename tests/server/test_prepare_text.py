"""A fleet of text is prepared from nothing but public texts, quickly or with a whole keyboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedstill_proto.text.vocabulary import WordList
from fedstill_server.config.fleet import TeacherConfig
from fedstill_server.config.run_options import RunOptions
from fedstill_server.data.errors import ExamplesError
from fedstill_server.fleet.folder import FleetFolder, FleetSettings
from fedstill_server.fleet.preparing import PublicData, prepare_fleet
from fedstill_server.publish.students import newest_state
from fedstill_server.run_folder import read_fleet_config
from fedstill_server.tasks import load_public
from fedstill_server.tasks.text.task import TextTask

FAMILY, PLACES = "gru-16-24", 4
TEXTS = ["the cat sat on the mat", "a dog sat on the cat", "the dog and the cat sat"] * 9
SMALL = TeacherConfig(epochs=1, student_epochs=1, temperature=1.0)


@pytest.fixture
def fleet(tmp_path: Path) -> FleetFolder:
    (tmp_path / "public.txt").write_text("\n".join(TEXTS))
    settings = FleetSettings(host="127.0.0.1", port=8443, superlink_port=8000)
    return FleetFolder.create(tmp_path / "fleet", settings)


ASKED = RunOptions(families=(FAMILY,))


def data(fleet: FleetFolder, **changes: Any) -> PublicData:
    options: dict[str, Any] = {"places": PLACES, "words": 100, "public_rows": 10, "quick": True}
    task = TextTask(**{**options, **changes})
    return PublicData(public=fleet.folder.parent / "public.txt", task=task, teacher=SMALL)


@pytest.mark.parametrize("whole", [False, True])
def test_words_rows_teacher_and_students_come_of_public_texts(fleet: FleetFolder, whole: bool) -> None:
    small = {"teacher_networks": 1, "teacher_width": 12, "teacher_state_width": 20}
    short = {"quick": False, **small, "teacher_epochs": 1, "student_epochs": 1}
    short |= {"least_words": 0, "minutes": 99.0}
    told: list[str] = []

    prepare_fleet(
        fleet,
        ASKED,
        data(fleet, **(short if whole else {})),
        on_progress=lambda what, done, total: told.append(what),
    )

    config, words = read_fleet_config(fleet.folder), (fleet.folder / "vocabulary.json").read_bytes()
    assert (config.method.name, config.input_shape, config.task.name) == (
        "next-words",
        (PLACES,),
        "text",
    )
    assert WordList.from_json(words, size=config.classes).number("cat")
    public, state = load_public(fleet.folder, config), newest_state(fleet.folder)
    assert len(public) == 10
    assert state.arrays["next_words"].shape == (10 * PLACES, 16)
    assert state.students[FAMILY]["embedding.weight"].shape == (config.classes, 16)
    assert state.teacher["of_state.weight"].shape == ((60, 20) if whole else (384, 128))
    assert ("teacher's network 1 of 1" in told) == whole


def test_what_cannot_be_prepared_is_said(fleet: FleetFolder) -> None:
    with pytest.raises(ExamplesError, match="fewer words than a row of 400"):
        prepare_fleet(fleet, ASKED, data(fleet, places=400))
    with pytest.raises(ExamplesError, match=r"public\.txt: size: 20"):
        prepare_fleet(fleet, ASKED, data(fleet, words=20))
    (fleet.folder.parent / "public.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ExamplesError, match="seems to be UTF-16"):
        prepare_fleet(fleet, ASKED, data(fleet))
    np.testing.assert_equal(fleet.folder.joinpath("config.json").exists(), False)
