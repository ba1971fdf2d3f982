"""Utterances: those drawn from Home Assistant's templates, and those in a folder of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fedstill_sim.data.fleet import FleetDataError
from fedstill_sim.tasks.utterances.data import Amounts, Utterance, load_assistant, load_utterances
from fedstill_sim.tasks.utterances.homes import everyones_home, languages, own_home
from fedstill_sim.tasks.utterances.sentences import Templates

FEW = Amounts(labelled=30, calibration=10, test=20, public=40, own=8, held_out=4)


def test_a_drawn_fleet() -> None:
    data = load_assistant(devices=4, seed=3, speaking=("en", "nl"), amounts=FEW)

    assert [speaker.language for speaker in data.speakers] == ["en", "nl", "en", "nl"]
    assert len(data.intents) == 42
    assert (len(data.labelled), len(data.public)) == (60, 80)
    said = {each.text for each in data.labelled} | set(data.public)
    for part in (data.calibration, data.test):
        texts = {each.text for each in part}
        assert len(texts) == len(part)
        assert not texts & said
        said |= texts
    for speaker in data.speakers:
        train, test = ({each.text for each in part} for part in (speaker.train, speaker.test))
        assert (len(train), len(test)) == (8, 4)
        assert not test & (train | said)  # what is held out is said nowhere else
    again = load_assistant(devices=4, seed=3, speaking=("en", "nl"), amounts=FEW)
    assert again == data
    assert load_assistant(devices=4, seed=4, speaking=("en", "nl"), amounts=FEW) != data
    others = load_assistant(devices=4, seed=4, everyones_seed=3, speaking=("en", "nl"), amounts=FEW)
    assert (others.labelled, others.public, others.test) == (data.labelled, data.public, data.test)
    assert others.speakers != data.speakers


def test_the_skew_of_what_people_mean() -> None:
    def most(alpha: float) -> float:
        amounts = Amounts(labelled=1, calibration=1, test=1, public=1, own=60, held_out=1)
        data = load_assistant(devices=4, dirichlet=alpha, speaking=("en",), amounts=amounts)
        counts = [np.bincount([each.intent for each in speaker.train]) for speaker in data.speakers]
        return float(np.mean([count.max() / count.sum() for count in counts]))

    assert most(0.1) > 2 * most(100)


@pytest.mark.parametrize("language", languages())
def test_each_intent_can_be_said(language: str) -> None:
    """With the packages' own lists and the words in homes.json: no slot is left without a word."""
    templates, random = Templates.load(language), np.random.default_rng(0)

    for home in (everyones_home(language), own_home(language, random)):
        for intent in templates.intents:
            for _ in range(4):
                text = templates.say(intent, home, random)
                assert text
                assert not set(text) & set("{}[]<>|")


def test_homes_have_names_of_their_own() -> None:
    shops = {name for names in everyones_home("en").things.values() for name in names}
    homes = [own_home("en", np.random.default_rng(seed)) for seed in range(6)]

    own = [{name for names in home.things.values() for name in names} - shops for home in homes]

    assert all(own)
    assert len({frozenset(names) for names in own}) == 6
    assert all(len(home.words["area"]) == 6 for home in homes)


def test_what_cannot_be_drawn_is_refused() -> None:
    for options, problem in (
        ({"devices": 0}, "devices must be at least 1"),
        ({"dirichlet": 0.0}, "alpha must be above 0"),
        ({"speaking": ("en", "xx")}, "no homes speak 'xx'"),
    ):
        with pytest.raises(FleetDataError, match=problem):
            load_assistant(**options)  # type: ignore[arg-type]
    with pytest.raises(FleetDataError, match="held_out: 0"):
        Amounts(held_out=0)


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / f"{name}.csv").write_text(content, encoding="utf-8")
    return folder


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    ann = "text,label\n" + "".join(f'"lamp {n}, on",on\n' for n in range(4)) + "no more,off\n"
    write(tmp_path, public="text,label\nlamp on,on\nlamp off,off\nlamp?,\n", ann=ann, bob=ann)

    data = load_utterances(tmp_path)

    assert data.intents == ("off", "on")
    assert {*data.labelled, *data.calibration} == {Utterance("lamp on", 1), Utterance("lamp off", 0)}
    assert len(data.calibration) == 1
    assert data.public == ("lamp?",)
    assert [(each.name, len(each.train), len(each.test)) for each in data.speakers] == [
        ("ann", 4, 1),
        ("bob", 4, 1),
    ]
    everything = {*data.speakers[0].train, *data.speakers[0].test}
    assert everything == {*(Utterance(f"lamp {n}, on", 1) for n in range(4)), Utterance("no more", 0)}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("words,label\na,b\n", r"ann\.csv: line 1: \['words', 'label'\] are no columns text and label"),
        ("text,label\nlamp on,on\n?!,off\n", r"ann\.csv: line 3: text '\?!' holds no word"),
        ("text,label\nlamp on,\n", r"ann\.csv: line 2: label is missing for 'lamp on'"),
        ("text,label\n" + "a" * 1001 + ",on\n", r"ann\.csv: line 2: text: 1001 characters"),
        ("text,label\nlamp," + "x" * 101 + "\n", r"ann\.csv: line 2: label .* 100 characters at most"),
        ('text,label\n"lamp" on,on\n', r"ann\.csv: line 2: "),
        ("text,label\n", r"ann\.csv: holds no utterance"),
        ("text,label\nlamp,on\n", r"ann\.csv: 1 utterance"),
        ("text,label\nlamp,on\nlight,on\n", "1 intents; an assistant tells at least 2 apart"),
    ],
)
def test_a_broken_file_is_named_with_line_and_value(tmp_path: Path, content: str, problem: str) -> None:
    write(tmp_path, public="text,label\nlamp,\n", ann=content)

    with pytest.raises(FleetDataError, match=problem):
        load_utterances(tmp_path)


def test_a_broken_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FleetDataError, match="not a folder"):
        load_utterances(tmp_path / "none")
    with pytest.raises(FleetDataError, match=r"holds no <user>\.csv"):
        load_utterances(tmp_path)
    write(tmp_path, ann="text,label\nlamp,on\n")
    with pytest.raises(FleetDataError, match=r"public\.csv: cannot be read"):
        load_utterances(tmp_path)
    (tmp_path / "public.csv").write_bytes(b"text,label\n\xff,on\n")
    with pytest.raises(FleetDataError, match="is not UTF-8"):
        load_utterances(tmp_path)
