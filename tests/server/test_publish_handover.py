"""A student that was made elsewhere becomes a fleet's: of a distillation, of arrays and of text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.arrays import Parameters, parameter_specs
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import StudentManifest, StudentPackage, save_package
from fedstill_proto.text.vocabulary import WordList, build_word_list
from fedstill_server.families import initial_parameters
from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.folder import FleetFolder, FleetSettings
from fedstill_server.fleet.handover import hand_over
from fedstill_server.methods.public_shift import LOGITS
from fedstill_server.publish.errors import PublishError
from fedstill_server.publish.students import newest_state
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.state import FleetState

from tests.server.scripted_fleet import CLASSES, PUBLIC, SHAPE, fleet_config, write_run
from tests.server.text_fleet import PLACES, text_config

FAMILY = "mlp-small"
WORD_LIST: WordList = build_word_list(["the cat sat"], size=100, least=1)


def package(family: str, shape: tuple[int, ...], classes: int, *, seed: int = 7) -> StudentPackage:
    parameters = initial_parameters(family, shape, classes, seed)
    manifest = StudentManifest(
        family=family,
        classes=classes,
        input_shape=shape,
        parameters=parameter_specs(parameters),
        optimizer=Optimizer.SGD,
        soft_labels="none",
        opset=21,
    )
    return StudentPackage(manifest, b"a graph, which is made anew", parameters)


def committed(folder: Path, family: str, parameters: Parameters, *, rounds: int = 1) -> None:
    store = RunStore(folder)
    for number in range(rounds + 1):
        arrays = {"round": np.array([number]), LOGITS: np.zeros((PUBLIC, CLASSES), np.float32)}
        state = FleetState(teacher={}, students={family: parameters}, arrays=arrays)
        store.commit(number, state)
    store.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    folder = tmp_path / "fleet"
    folder.mkdir()
    write_run(folder, fleet_config())
    committed(folder, FAMILY, initial_parameters(FAMILY, SHAPE, CLASSES, 0))
    return folder


def given(folder: Path, made: StudentPackage) -> Path:
    save_package(folder, made)
    return folder


def test_a_distilled_student_is_the_fleet_s_from_then_on(fleet: Path, tmp_path: Path) -> None:
    made = package(FAMILY, SHAPE, CLASSES)
    given(tmp_path / "small" / "student", made)  # as fedstill-server distill --out small writes it

    assert hand_over(fleet, [tmp_path / "small"]) == [FAMILY]

    state = newest_state(fleet)
    assert state.arrays["round"] == 1  # all else is as the last round left it
    for name, array in made.parameters.items():
        np.testing.assert_array_equal(state.students[FAMILY][name], array)
    store = RunStore(fleet)
    try:
        assert store.last_round() == 1
        assert store.state_after(0) is not None
        store.commit(2, state)  # the next round goes on from it, and cleans up behind it
        assert store.state_after(1) is not None
        assert store.state_after(0) is None
    finally:
        store.close()


def test_what_the_fleet_has_no_place_for_is_refused(fleet: Path, tmp_path: Path) -> None:
    cases = {
        "of the family 'cnn', and the fleet has mlp-small": package("cnn", SHAPE, CLASSES),
        r"input shape \(5,\), the fleet's is \(4,\)": package(FAMILY, (5,), CLASSES),
        "classes 4, the fleet's is 3": package(FAMILY, SHAPE, 4),
    }
    for number, (message, made) in enumerate(cases.items()):
        with pytest.raises(PublishError, match=message):
            hand_over(fleet, [given(tmp_path / str(number), made)])
    twice = given(tmp_path / "twice", package(FAMILY, SHAPE, CLASSES))
    with pytest.raises(PublishError, match="a second student of 'mlp-small'"):
        hand_over(fleet, [twice, twice])
    with pytest.raises(PublishError, match="cannot read"):
        hand_over(fleet, [tmp_path / "nowhere"])
    first = initial_parameters(FAMILY, SHAPE, CLASSES, 0)
    np.testing.assert_array_equal(newest_state(fleet).students[FAMILY]["hidden.bias"], first["hidden.bias"])


def test_a_fleet_that_is_up_keeps_its_students(tmp_path: Path) -> None:
    settings = FleetSettings(host="127.0.0.1", port=8443, superlink_port=8000)
    folder = FleetFolder.create(tmp_path / "fleet", settings)
    write_run(folder.folder, fleet_config())
    committed(folder.folder, FAMILY, initial_parameters(FAMILY, SHAPE, CLASSES, 0))
    made = given(tmp_path / "made", package(FAMILY, SHAPE, CLASSES))

    with folder.held(), pytest.raises(FleetError, match="is up already"):
        hand_over(folder.folder, [made])
    assert hand_over(folder.folder, [made]) == [FAMILY]


def test_a_student_of_text_brings_the_fleet_s_words(tmp_path: Path) -> None:
    words = len(WORD_LIST)
    config = text_config(classes=words)
    folder = tmp_path / "fleet"
    folder.mkdir()
    write_run(folder, config)
    (folder / "vocabulary.json").write_bytes(WORD_LIST.to_json())
    committed(folder, "gru", initial_parameters("gru", (PLACES,), words, 0))
    made = package("gru", (PLACES,), words)
    others = WordList((*WORD_LIST.entries[:-1], "dog"))

    for number, vocabulary in enumerate((None, others.to_json())):
        with pytest.raises(PublishError, match="its words are not the fleet's"):
            hand_over(folder, [given(tmp_path / str(number), replace(made, vocabulary=vocabulary))])
    own = given(tmp_path / "own", replace(made, vocabulary=WORD_LIST.to_json()))
    assert hand_over(folder, [own]) == ["gru"]
    table = "embedding.weight"
    np.testing.assert_array_equal(newest_state(folder).students["gru"][table], made.parameters[table])
