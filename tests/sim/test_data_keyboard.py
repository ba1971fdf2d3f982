"""Who types: speakers of plays, or users of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from fedstill_sim.data.fleet import FleetDataError
from fedstill_sim.tasks.text.data import KeyboardData, Typist, load_keyboard


@pytest.fixture(scope="module")
def plays() -> KeyboardData:
    return load_keyboard()


def test_a_speaker_is_a_device_and_public_plays_are_whole(plays: KeyboardData) -> None:
    names = [typist.name for typist in plays.typists]

    assert len(names) == len(set(names)) == 230
    assert "hamlet/Ham" in names
    assert len({name.split("/")[0] for name in names}) == 19  # of 29 plays
    everything = set(plays.public)
    shared = sum(text in everything for t in plays.typists for text in t.train + t.test if len(text) > 60)
    assert shared == 0
    assert sum(map(len, plays.public)) > 900_000


def test_the_last_fifth_is_held_out_in_order(plays: KeyboardData) -> None:
    for typist in plays.typists:
        held = sum(map(len, typist.test))
        total = held + sum(map(len, typist.train))
        assert held - len(typist.test[0]) < 0.2 * total
        assert typist.train
        assert typist.test
    typist = Typist.of("a", ["x" * 40, "y" * 40, "z" * 10, "w" * 10])
    assert (typist.train, typist.test) == (("x" * 40, "y" * 40), ("z" * 10, "w" * 10))
    assert Typist.of("a", ["x", "y" * 99]).train == ("x",)


def test_fewer_devices_are_spread_over_all(plays: KeyboardData) -> None:
    some = plays.of(19)

    assert len({typist.name.split("/")[0] for typist in some.typists}) > 12
    assert some.public == plays.public
    with pytest.raises(FleetDataError, match="231; shakespeare has 1 to 230"):
        plays.of(231)


def test_the_attribution_ships_beside_the_texts() -> None:
    import fedstill_sim.tasks.text

    folder = Path(fedstill_sim.tasks.text.__file__).parent / "shakespeare"
    assert "Open Knowledge Foundation" in (folder / "ATTRIBUTION.md").read_text()


def test_a_folder_of_texts(tmp_path: Path) -> None:
    (tmp_path / "public.txt").write_text("hello there\n\n general\n")
    (tmp_path / "ada.txt").write_text("one two\nthree\nfour\nfive\nsix", encoding="utf-8")
    (tmp_path / "bo.txt").write_text("ja\nnø")
    (tmp_path / "notes.md").write_text("not this")

    data = load_keyboard(tmp_path)

    assert data.public == ("hello there", "general")
    assert [typist.name for typist in data.typists] == ["ada", "bo"]
    assert data.typists[0].test == ("five", "six")
    assert data.typists[1] == Typist("bo", ("ja",), ("nø",))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no <user>.txt"),
        ({"ada.txt": b"a\nb"}, "public.txt: cannot be read"),
        ({"ada.txt": b"a\nb", "public.txt": b"\n"}, "public.txt: holds no text"),
        ({"ada.txt": b"a", "public.txt": b"p"}, "ada.txt: ada: 1 texts"),
        ({"ada.txt": b"a\n\xff", "public.txt": b"p"}, "ada.txt: is not UTF-8"),
        ({"ada.txt": b"a\n" + b"b" * 100_001, "public.txt": b"p"}, "a line has 100001 characters"),
    ],
)
def test_a_folder_that_is_refused(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FleetDataError, match=words):
        load_keyboard(tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FleetDataError, match="not a folder"):
        load_keyboard(tmp_path / "none")
