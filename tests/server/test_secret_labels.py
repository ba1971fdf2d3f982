"""Labels of a few public examples that only the server's fold knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.codec.api import encode_task
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.secret_labels import secret_labels
from fedstill_server.methods import build_method
from fedstill_server.methods.fedstill import Fedstill
from fedstill_server.rounds.preparation import prepare

from tests.server.scripted_fleet import CLASSES, PUBLIC, fleet_config, public_examples

Y = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2, 2])


def asked(words: str) -> dict[str, int]:
    return secret_labels(words, public_y=Y, rows=len(Y), classes=CLASSES, seed=1)


def test_classes_are_as_alike_in_number_as_they_can_be() -> None:
    found = asked("7")
    assert {row: int(Y[int(row)]) for row in found} == found
    assert sorted(found.values()) == [0, 0, 0, 1, 1, 2, 2]
    assert asked("7") == found


def test_a_file_names_rows_and_their_classes(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("3,0\n07,1\n")
    assert asked(str(tmp_path / "labels.csv")) == {"3": 0, "7": 1}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("3;0", "line 1: '3;0' is not a row and a class"),
        ("3,0\n3,1", "line 2: row 3 has a class already"),
        ("10,0", "'10' is no row of the public set"),
        ("3,3", "row 3 has class 3; there are 3"),
        ("", "it holds no label"),
    ],
)
def test_what_such_a_file_cannot_hold_is_refused_by_its_line(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=problem):
        asked(str(path))


@pytest.mark.parametrize("words", ["0", "11", "nowhere.csv"])
def test_a_count_beyond_the_set_and_a_missing_file_are_refused(words: str) -> None:
    with pytest.raises(ConfigError, match=f"--secret-labels: {words}"):
        asked(words)


def test_they_trust_devices_and_change_nothing_that_is_sent_or_learned() -> None:
    public = public_examples()
    assert public.y is not None
    secret = {str(row): int(public.y[row]) for row in range(0, PUBLIC, 3)}
    told, untold = (
        fleet_config("fedstill", use_public_labels=False, secret_labels=labels) for labels in (secret, {})
    )
    tasks = []
    for config in (told, untold):
        method = build_method(config, public)
        state = prepare(config, public, method)
        task = method.task(state, round_number=1, family="mlp-small", newcomer=True)
        tasks.append(encode_task(task, codec=config.downlink))
    assert tasks[0] == tasks[1]
    method = build_method(told, public)
    assert isinstance(method, Fedstill)
    assert method.labels is None
    assert method.known_labels is not None
    assert method.known_labels.rows.tolist() == [int(row) for row in secret]


def test_they_belong_to_fleets_that_use_no_public_labels() -> None:
    with pytest.raises(ConfigError, match="without use_public_labels: false"):
        fleet_config("fedstill", secret_labels={"0": 1})
