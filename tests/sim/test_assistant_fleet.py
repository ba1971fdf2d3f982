"""A fleet of assistants: its data, what may be asked of it, and a whole small run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.text.ngrams import NgramHashing
from fedstill_server.config.fleet import ConfigError
from fedstill_server.methods import completed
from fedstill_server.methods.checks import checked_fleet
from fedstill_server.tasks import training_of
from fedstill_sim.config import data_request, requested_data, resolve
from fedstill_sim.progress import SilentProgress
from fedstill_sim.request import RequestError, RunRequest
from fedstill_sim.runner.run import continue_run, start_run
from fedstill_sim.tasks import simulation_of
from fedstill_sim.tasks.utterances.data import load_utterances
from fedstill_sim.tasks.utterances.fleet import load_assistant_fleet

THINGS = ("lamp", "radio", "heater", "fan", "tv", "kettle", "oven", "pump")
VERBS = {"clean": "clean the {}", "off": "turn off the {}", "on": "turn on the {}"}


@pytest.fixture
def said(tmp_path: Path) -> Path:
    """Three devices whose owners say two of three things each."""
    folder = tmp_path / "said"
    folder.mkdir()
    lines = {label: [f"{verb.format(thing)},{label}" for thing in THINGS] for label, verb in VERBS.items()}
    for user, known in (("ann", ("on", "off")), ("bo", ("clean", "on")), ("cy", ("off", "clean"))):
        own = [line.replace("the", f"{user}s") for label in known for line in lines[label]]
        (folder / f"{user}.csv").write_text("\n".join(["text,label", *own]))
    public = [line for label in VERBS for line in lines[label]]
    (folder / "public.csv").write_text("\n".join(["text,label", *public]))
    return folder


def test_an_utterance_is_a_row_with_one_label(said: Path) -> None:
    utterances, data = load_utterances(said, seed=5), load_assistant_fleet(said, seed=5)

    assert data.device_names == ("ann", "bo", "cy")
    assert (data.classes, data.input_shape) == (3, (128,))
    first = utterances.speakers[1].train[0]
    row = data.train[1][0]
    np.testing.assert_array_equal(data.x[row], NgramHashing().encode(first.text))
    assert data.y[row] == first.intent
    assert len(data.global_x) == sum(len(speaker.test) for speaker in utterances.speakers)
    assert data.public_y is not None
    assert len(data.public_x) == len(utterances.labelled)


def test_without_all_labels_the_public_set_has_none(said: Path) -> None:
    with (said / "public.csv").open("a") as file:
        file.write("\nwhat is that,")

    data = load_assistant_fleet(said)

    assert data.public_y is None
    assert len(data.public_x) == 3 * len(THINGS) + 1


def test_numbers_are_names_and_get_no_noise(said: Path) -> None:
    request = RunRequest(method="fedstill", data=str(said))

    fleet = resolve(request, requested_data(request)).fleet

    assert fleet.task.name == "utterances"
    assert fleet.families == ("ngrams", "ngrams-small")
    assert training_of(fleet).teacher().embedding.weight.shape == (8192, 64)  # type: ignore[union-attr, operator]
    noisy = dataclasses.replace(fleet.teacher, input_noise=0.1)
    for change, problem in (
        ({"teacher": noisy}, "teacher.input_noise: 0.1 is not 0"),
        (
            {"method": completed("fedstill", {"student_noise": 0.3}, of_names=True)},
            "method.student_noise: 0.3 is not 0",
        ),
        ({"families": ("ngrams", "mlp-small")}, "'mlp-small' is not one of ngrams"),
    ):
        with pytest.raises(ConfigError, match=problem):
            checked_fleet(dataclasses.replace(fleet, **change))  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="--families"):
        RunRequest(method="fedstill", dataset="assistant", families=("mlp-small",))


def test_what_the_sentence_model_taught_is_what_rounds_start_from(said: Path) -> None:
    """Of Home Assistant's sentences; a folder of one's own starts from its labels, without that model."""
    own = RunRequest(method="fedstill", data=str(said))
    config = resolve(own, requested_data(own))
    simulation = simulation_of(config.fleet.task.name)

    assert not simulation.is_made(own=True, distilled=True)
    assert simulation.is_made(own=False, distilled=True)
    assert not simulation.is_made(own=False, distilled=False)
    assert simulation.start(said, config.fleet, data_request(config), lambda what, done, total: None) is None


def test_a_run_from_utterances_to_students(said: Path, tmp_path: Path) -> None:
    request = RunRequest(
        method="fedstill",
        data=str(said),
        rounds=2,
        epochs=20,
        families=("ngrams-small",),
        baselines=(),
        tradeoff=False,
        processes=0,
    )
    start_run(request, tmp_path / "run", force=False)

    result = continue_run(tmp_path / "run", SilentProgress(), report=False)

    assert result.final.personal_accuracy > 0.8
    assert result.final.global_accuracy > 0.6  # of whose utterances a device hears two thirds
    assert result.students["ngrams-small"].max_abs_logit_difference < 1e-4
    assert 0 < result.rounds[0].uplink_bytes < 20_000
