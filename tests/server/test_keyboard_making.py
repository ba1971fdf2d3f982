"""A keyboard of two languages: the same after a kill, better with more minutes, in one package."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_proto.text.lexicon import Lexicon
from fedstill_proto.text.vocabulary import WordList
from fedstill_server.config.run_options import RunOptions
from fedstill_server.data.errors import ExamplesError
from fedstill_server.fleet.folder import FleetFolder, FleetSettings
from fedstill_server.fleet.next_generation import Changes, prepare_next
from fedstill_server.fleet.preparing import PublicData, prepare_fleet
from fedstill_server.publish.package import build_package
from fedstill_server.publish.students import newest_state
from fedstill_server.run_folder import read_fleet_config
from fedstill_server.state import digest_of
from fedstill_server.tasks import load_public, task_of
from fedstill_server.tasks.text.languages.mixes import MIXES_FILE, lexicon_of_family
from fedstill_server.tasks.text.task import TextTask

from tests.server.keyboard_texts import write_languages

FAMILY = "gru-16-24"
TASK = TextTask(
    places=4,
    public_rows=10,
    words=300,
    dictionary=500,
    teacher_width=8,
    teacher_state_width=8,
    teacher_epochs=1,
    student_epochs=1,
    minutes=0.0001,
)
SETTINGS = FleetSettings(host="127.0.0.1", port=8443, superlink_port=8000)
KILLED = """
import os, signal, sys
from pathlib import Path
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.fleet.preparing import prepare_fleet
from tests.server.test_keyboard_making import ASKED, given

def kill(what, done, total):
    if what.startswith("student") and done > 0.7 * total:
        os.kill(os.getpid(), signal.SIGKILL)

folder = Path(sys.argv[1])
prepare_fleet(FleetFolder.open(folder / "fleet"), ASKED, given(folder), on_progress=kill)
"""
ASKED = RunOptions(families=(FAMILY,), rounds=1, seed=3)


def given(folder: Path) -> PublicData:
    return PublicData(public=folder / "public", task=TASK)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fleet that is prepared, and of its public texts."""
    folder = tmp_path_factory.mktemp("made")
    write_languages(folder / "public")
    told: list[str] = []
    prepared = prepare_fleet(
        FleetFolder.create(folder / "fleet", SETTINGS),
        ASKED,
        given(folder),
        on_progress=lambda what, done, total: told.append(what),
    )
    assert list(dict.fromkeys(told)) == [
        "reading the public texts",
        "counting words",
        f"student {FAMILY}, of texts alone",
        "weighing students and counts",
    ]
    assert any("students learn from the texts alone" in notice for notice in prepared.notices)
    assert any("words are few" in notice for notice in prepared.notices)
    return folder


def test_what_was_killed_goes_on_bit_for_bit(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "public", tmp_path / "public")
    fleet = FleetFolder.create(tmp_path / "fleet", SETTINGS)
    (fleet.folder / "server" / "keyboard").mkdir(parents=True)
    choices = made / "fleet" / "server" / "keyboard" / "choices.json"
    shutil.copy(choices, fleet.folder / "server" / "keyboard")  # both have as fast a machine

    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    assert list(fleet.folder.glob("server/keyboard/*/alone-*.checkpoint"))
    prepare_fleet(fleet, ASKED, given(tmp_path))

    whole, resumed = newest_state(made / "fleet"), newest_state(fleet.folder)
    assert digest_of(resumed.students[FAMILY]) == digest_of(whole.students[FAMILY])
    assert (fleet.folder / MIXES_FILE).read_bytes() == (made / "fleet" / MIXES_FILE).read_bytes()


def test_a_package_of_two_languages_suggests_words_of_both(made: Path, tmp_path: Path) -> None:
    config = read_fleet_config(made / "fleet")
    students, public = newest_state(made / "fleet").students, load_public(made / "fleet", config)
    files = task_of(config).package_files(made / "fleet", config, FAMILY, students[FAMILY], None)
    package = build_package(
        config, FAMILY, students[FAMILY], package_version=1, public_x=public.x, files=files
    )
    home = AgentHome(tmp_path / "home")
    home.create()
    home.description.write_text(json.dumps({"name": "phone", "family": FAMILY}))
    with PrivateStore.create(home) as store:
        install(home, store, package)

    with Agent.open(home.folder, precision="int8") as agent:
        english = [each.word for each in agent.suggest("we will bring the")]
        german = [each.word for each in agent.suggest("heute kaufen wir jetzt das")]
        begun = [each.word.casefold() for each in agent.suggest("sie finden", "üb")]

    assert set(english) & {"garden", "window", "letter", "train"}
    assert {word.casefold() for word in german} & {"fenster", "gemüse", "mädchen", "schloss"}
    assert "überall" in begun


@pytest.fixture
def again(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "again")
    return tmp_path / "again"


def test_more_minutes_stage_better_students(again: Path) -> None:
    fleet, before = FleetFolder.open(again / "fleet"), newest_state(again / "fleet")

    staged = prepare_next(fleet, Changes(public=again / "public", task={"minutes": 10_000.0})).staged

    state = newest_state(staged.folder)
    assert not np.array_equal(
        state.students[FAMILY]["embedding.weight"], before.students[FAMILY]["embedding.weight"]
    )
    assert state.teacher["of_state.weight"].shape == (24, 8)  # its own, where a student stood for it before
    assert before.teacher["of_state.weight"].shape == (72, 24)
    assert FAMILY in json.loads((staged.folder / MIXES_FILE).read_bytes())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "is no object"),
        (b'{"gru-16-24": 1}', "is no list of 7 weights"),
        (b'{"gru-16-24": [2, 0, 0, 0, 0, 0, 0]}', "weights, 0 to 1"),
        (b'{"gru-16-24": [NaN, 0, 0, 0, 0, 0, 0]}', "weights, 0 to 1"),
        (b"{", "prepare the fleet anew"),
        (None, "cannot be read"),
    ],
)
def test_damaged_mixes_are_refused(again: Path, content: bytes | None, message: str) -> None:
    fleet = again / "fleet"
    words = WordList.from_json((fleet / "vocabulary.json").read_bytes())
    lexicon = lexicon_of_family(fleet, FAMILY, words)
    assert lexicon is not None
    weights = json.loads((fleet / MIXES_FILE).read_bytes())[FAMILY]
    np.testing.assert_allclose(Lexicon.from_bytes(lexicon, words).mix, weights, rtol=1e-6)
    (fleet / MIXES_FILE).unlink() if content is None else (fleet / MIXES_FILE).write_bytes(content)

    with pytest.raises(ExamplesError, match=message):
        lexicon_of_family(fleet, FAMILY, words)
