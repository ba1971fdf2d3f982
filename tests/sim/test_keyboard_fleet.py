"""A fleet of keyboards: its data, what may be asked of it, and a whole small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.text.vocabulary import START, WordList
from fedstill_server.tasks.text.keyboard import KeyboardPlan
from fedstill_server.tasks.text.training import TextPlan
from fedstill_sim.config import requested_data, resolve
from fedstill_sim.data.fleet import FleetDataError, load_fleet, save_fleet
from fedstill_sim.progress import SilentProgress
from fedstill_sim.request import RequestError, RunRequest
from fedstill_sim.runner.run import continue_run, start_run
from fedstill_sim.tasks.text import fleet as keyboard_fleet
from fedstill_sim.tasks.text import start
from fedstill_sim.tasks.text.evaluation import Suggestions, lines_of
from fedstill_sim.tasks.text.fleet import PLACES, load_keyboard_fleet

FAMILY = "gru-4-6"


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Public sentences of 17 words and more, and two users who write about other things."""
    folder = tmp_path / "texts"
    folder.mkdir()
    subjects, verbs = ("the cat", "a dog", "my friend", "nobody"), ("sees", "likes", "hears")
    said = [
        f"{one} {verb} {other}, and then {other} {verb} the house and the garden, or so they say."
        for one in subjects
        for verb in verbs
        for other in subjects
    ]
    (folder / "public.txt").write_text("\n".join(said))
    (folder / "ada.txt").write_text("\n".join(f"{line} quillfeather." for line in said[:12]))
    (folder / "bo.txt").write_text("\n".join(said[20:32]))
    return folder


def test_devices_have_rows_of_words_and_the_public_set_beginnings(texts: Path, tmp_path: Path) -> None:
    data = load_keyboard_fleet(texts, families=(FAMILY, "gru-8-8"))

    words = WordList.from_json(data.files["vocabulary.json"], size=data.classes)
    assert "quillfeather" not in words  # it stands in no public text
    assert data.device_names == ("ada", "bo")
    assert data.families == (FAMILY, "gru-8-8")
    assert data.x.shape == data.y.shape == (data.train.counts.sum() + data.test.counts.sum(), PLACES)
    np.testing.assert_array_equal(data.x[data.train[0]][:, 1:], data.y[data.train[0]][:, :-1])
    assert (data.public_x[:, 0] == START).all()
    assert words.decode(data.public_x[0]).startswith("the cat sees")
    save_fleet(data, tmp_path / "saved")
    again = load_fleet(tmp_path / "saved")
    assert again.files == data.files
    np.testing.assert_array_equal(again.x, data.x)


def test_texts_that_are_too_short_are_refused(texts: Path) -> None:
    (texts / "bo.txt").write_text("one\ntwo\nthree")
    with pytest.raises(FleetDataError, match="bo has fewer words"):
        load_keyboard_fleet(texts)
    (texts / "bo.txt").unlink()
    (texts / "public.txt").write_text("so short\n" * 20)
    with pytest.raises(FleetDataError, match="none has 16 words"):
        load_keyboard_fleet(texts)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"method": "fedstill"}, "--method: 'fedstill' is not of text; there are local, "),
        ({"dirichlet": 0.1}, "a keyboard's devices are writers"),
        ({"families": ("cnn",)}, "'cnn' is of arrays, and the devices learn text; there are gru"),
        ({"engine": "flower"}, "runs no fleet of text"),
        ({"baselines": ("fedmd",)}, "--baselines: 'fedmd'"),
    ],
)
def test_what_does_not_fit_a_keyboard_is_refused(asked: dict[str, object], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        RunRequest(**{"dataset": "keyboard", "method": "next-words", **asked})  # type: ignore[arg-type]


def test_a_run_of_a_keyboard_measures_its_suggestions(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyboard_fleet, "PLACES", 4)  # a graph has nodes for each place
    tiny = TextPlan(epochs=2, learning_rate=0.03, batch_size=8, places=8)
    monkeypatch.setattr(
        start,
        "keyboard_plan",
        lambda families: KeyboardPlan(
            families=families, networks=1, width=4, state_width=6, teaching=tiny, distilling=tiny
        ),
    )
    monkeypatch.setattr(start, "cache_folder", lambda: tmp_path / "cache")
    request = RunRequest(
        data=str(texts), method="next-words", families=(FAMILY,), rounds=1, baselines=(), processes=0
    )
    config = resolve(request, requested_data(request))
    assert config.fleet.task.options["teacher_state_width"] == 6
    start_run(request, tmp_path / "run", force=False)

    result = continue_run(tmp_path / "run", SilentProgress(), report=True)

    assert result.final.personal_accuracy is not None
    assert result.final.uplink_bytes_per_device_round > 0
    found = Suggestions.from_json(result.evaluation)
    assert list(found.figures) == [
        "trigrams",
        "classical",
        "counted",
        "teacher",
        "student",
        "mixed",
        "this_text",
        "own_words",
        "as_typed",
        "personal",
        "fleets",
    ]
    assert found.new_words > 0
    assert found.figures["as_typed"]["new_word_recall"] > 0 == found.figures["student"]["new_word_recall"]
    assert "student to personal, by device:" in lines_of(found)
    assert continue_run(tmp_path / "run", SilentProgress(), report=False) == result
