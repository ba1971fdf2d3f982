"""The keyboard task: who speaks in Shakespeare's plays is a device, and says its next word.

348 speakers of 29 plays come with the package (shakespeare/, with its attribution). A device's text stays in
order, and the last fifth of it is held out. The public set is every third play, whole: no device speaks in
it. The same from a folder of one's own:

    <user>.txt    what a user typed, in order: a line is a text (a message, a sentence)
    public.txt    what everyone may read
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from fedstill_proto.text.text_files import read_lines

from fedstill_sim.data.fleet import FleetDataError

HELD_OUT = 0.2  # of a device's characters
PUBLIC_FILE, VOCABULARY_FILE = "public.txt", "vocabulary.json"
_PUBLIC_EVERY = 3  # plays
_FILE_LIMIT_BYTES = 64 << 20


@dataclass(frozen=True)
class Typist:
    """A device's own texts in the order in which they were typed."""

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]

    @classmethod
    def of(cls, name: str, texts: Sequence[str]) -> Typist:
        """Holds out the last texts, a fifth of all characters or just above it; raises FleetDataError."""
        if len(texts) < 2:
            raise FleetDataError(
                f"{name}: {len(texts)} texts; it takes one to learn from and one to hold out"
            )
        cut, held = len(texts), 0
        while cut > 1 and held < HELD_OUT * sum(map(len, texts)):
            cut -= 1
            held += len(texts[cut])
        return cls(name, tuple(texts[:cut]), tuple(texts[cut:]))


@dataclass(frozen=True)
class KeyboardData:
    """Texts of devices, and those that all may read."""

    name: str
    public: tuple[str, ...]
    typists: tuple[Typist, ...]

    def of(self, devices: int) -> KeyboardData:
        """With so many of the devices only, spread evenly over all of them; raises FleetDataError."""
        if not 1 <= devices <= len(self.typists):
            raise FleetDataError(f"devices: {devices}; {self.name} has 1 to {len(self.typists)}")
        chosen = [self.typists[number * len(self.typists) // devices] for number in range(devices)]
        return KeyboardData(self.name, self.public, tuple(chosen))


def load_keyboard(folder: Path | None = None) -> KeyboardData:
    """The plays that come with the package, or the texts in a folder; raises FleetDataError."""
    return _load_plays() if folder is None else _load_texts(folder)


def _load_plays() -> KeyboardData:
    packed = (resources.files(__package__) / "shakespeare" / "roles.json.gz").read_bytes()
    roles: dict[str, list[str]] = json.loads(gzip.decompress(packed))
    plays = sorted({role.split("/")[0] for role in roles})
    public = set(plays[::_PUBLIC_EVERY])
    by_play = sorted(roles.items())
    return KeyboardData(
        "shakespeare",
        tuple(text for role, texts in by_play if role.split("/")[0] in public for text in texts),
        tuple(Typist.of(role, texts) for role, texts in by_play if role.split("/")[0] not in public),
    )


def _load_texts(folder: Path) -> KeyboardData:
    if not folder.is_dir():
        raise FleetDataError(f"{folder}: not a folder")
    users = [file for file in sorted(folder.glob("*.txt")) if file.name != PUBLIC_FILE]
    if not users:
        raise FleetDataError(
            f"{folder}: holds no <user>.txt; each device needs one, and {PUBLIC_FILE} all of them"
        )
    public = read_lines(folder / PUBLIC_FILE, most_bytes=_FILE_LIMIT_BYTES, error=FleetDataError)
    if not public:
        raise FleetDataError(f"{folder / PUBLIC_FILE}: holds no text; the words of the student come from it")
    typists = []
    for file in users:
        texts = read_lines(file, most_bytes=_FILE_LIMIT_BYTES, error=FleetDataError)
        try:
            typists.append(Typist.of(file.stem, texts))
        except FleetDataError as error:
            raise FleetDataError(f"{file}: {error}") from None
    return KeyboardData(folder.resolve().name, tuple(public), tuple(typists))
