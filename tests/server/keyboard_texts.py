"""Texts of two small languages for tests of keyboards."""

from __future__ import annotations

import itertools
from pathlib import Path

ENGLISH = [
    f"{who} will {what} the {thing} {when}."
    for who, what, thing, when in itertools.product(
        ("we", "they", "you", "Anna"),
        ("bring", "find", "open", "keep"),
        ("garden", "window", "letter", "train"),
        ("tomorrow", "tonight", "again"),
    )
]
GERMAN = [
    f"{who} {what} das {thing} {when}."
    for who, what, thing, when in itertools.product(
        ("wir sehen", "sie finden", "heute kaufen wir", "Jörg und Anna suchen"),
        ("jetzt", "morgen", "wieder", "nicht"),
        ("Fenster", "Gemüse", "Mädchen", "Schloss"),
        ("gleich", "zusammen", "überall"),
    )
]


def write_languages(folder: Path) -> Path:
    """en.txt and a folder de/ of two files."""
    (folder / "de").mkdir(parents=True)
    (folder / "en.txt").write_text("\n".join(ENGLISH))
    (folder / "de" / "a.txt").write_text("\n".join(GERMAN[::2]))
    (folder / "de" / "b.txt").write_text("\n".join(GERMAN[1::2]))
    return folder
