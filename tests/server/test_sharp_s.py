"""German words of wordfreq have their ß back."""

from __future__ import annotations

import pytest
from fedstill_server.tasks.text.languages.sharp_s import with_sharp_s

SEEN = {
    "große": 3,
    "heißt": 2,
    "straße": 1,
    "außer": 2,
    "wissen": 4,
    "fluss": 1,
    "weisse": 3,
    "weiße": 2,
    "maß": 1,
}


@pytest.mark.parametrize(
    ("general", "word"),
    [
        ("grosse", "große"),
        ("heisst", "heißt"),
        ("strasse", "straße"),
        ("grossartig", "großartig"),
        ("grossmutter", "großmutter"),
        ("strassenbahn", "straßenbahn"),
        ("ausserdem", "außerdem"),
        ("heissen", "heißen"),
        ("wissen", "wissen"),
        ("wissenschaft", "wissenschaft"),
        ("fluss", "fluss"),
        ("aussehen", "aussehen"),
        ("masse", "masse"),
        ("weisse", "weisse"),
        ("haus", "haus"),
    ],
)
def test_what_the_public_text_writes_with_it_has_it(general: str, word: str) -> None:
    assert with_sharp_s({general: 0.5}, SEEN) == {word: 0.5}


def test_frequencies_of_both_forms_add_up() -> None:
    assert with_sharp_s({"grosse": 0.25, "große": 0.5}, SEEN) == {"große": 0.75}
    assert with_sharp_s({}, SEEN) == {}
