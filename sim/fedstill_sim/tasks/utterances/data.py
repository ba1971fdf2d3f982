"""The assistant task: what people say to their homes, and what they mean by it.

The default is drawn from the sentence templates of Home Assistant (see sentences.py): a device
speaks one language, in a home with rooms and names of its own, and its people say some things more often
than others. No text that is held out is said anywhere else. The same from a folder of one's own:

    <user>.csv     what was said on a device: the columns text and label
    public.csv     what everyone may read: text, and a label or nothing
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from fedstill_proto.text.ngrams import words_of
from fedstill_proto.text.utterances import UtterancesError, read_utterances

from fedstill_sim.data.fleet import FleetDataError
from fedstill_sim.data.pools import TEST_FRACTION, device_names
from fedstill_sim.data.splits import hold_out
from fedstill_sim.tasks.utterances.homes import Home, everyones_home, languages, own_home
from fedstill_sim.tasks.utterances.sentences import Templates

PUBLIC_FILE = "public.csv"
DEFAULT_ALPHA = 0.5
_CALIBRATION = 0.2  # of the labelled utterances in a folder
_MOST_DRAWS = 200  # for each text that is wanted


@dataclass(frozen=True)
class Utterance:
    """A text, and the number of its intent."""

    text: str
    intent: int


@dataclass(frozen=True)
class Speaker:
    """A device, and what was said on it."""

    name: str
    language: str  # "" where nobody knows
    train: tuple[Utterance, ...]
    test: tuple[Utterance, ...]


@dataclass(frozen=True)
class AssistantData:
    """Utterances: those that someone labelled, those that all may read, and each device's.

    Nothing is learned from `calibration`, which confidence is fitted to, nor from `test`.
    """

    name: str
    description: str
    intents: tuple[str, ...]
    labelled: tuple[Utterance, ...]
    calibration: tuple[Utterance, ...]
    test: tuple[Utterance, ...]  # of everyone's homes; none in a folder of one's own
    public: tuple[str, ...]  # unlabelled
    speakers: tuple[Speaker, ...]

    def __post_init__(self) -> None:
        if len(self.intents) < 2:
            raise FleetDataError(
                f"{self.name}: {len(self.intents)} intents; an assistant tells at least 2 apart"
            )
        if not self.speakers:
            raise FleetDataError(f"{self.name}: no device")


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """How many utterances are drawn."""

    labelled: int = 400  # of each language, as the next three
    calibration: int = 100
    test: int = 300
    public: int = 1500
    own: int = 60  # of each device, to learn from
    held_out: int = 20  # of each device

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 1 <= value <= 100_000:
                raise FleetDataError(f"{name}: {value}; give 1 to 100000 utterances")


def load_assistant(
    *,
    devices: int = 20,
    dirichlet: float | None = None,
    seed: int = 0,
    everyones_seed: int | None = None,
    speaking: Sequence[str] = (),
    amounts: Amounts | None = None,
) -> AssistantData:
    """Drawn from the templates; raises FleetDataError.

    everyones_seed: of all that is not said on devices, whose seed it is, too, if None.
    speaking: languages, dealt out to devices in turn; all that there are if none is given.
    dirichlet: skew of what a device's people mean; DEFAULT_ALPHA if None.
    """
    alpha, drawn = DEFAULT_ALPHA if dirichlet is None else dirichlet, amounts or Amounts()
    if devices < 1:
        raise FleetDataError(f"assistant: devices must be at least 1, not {devices}")
    if alpha <= 0:
        raise FleetDataError(
            f"dirichlet: alpha must be above 0, not {alpha}; 0.1 is strongly skewed, 100 hardly"
        )
    known = tuple(speaking) or languages()
    for language in known:
        if language not in languages():
            raise FleetDataError(
                f"assistant: no homes speak {language!r}; they speak {', '.join(languages())}"
            )
    templates = [Templates.load(language) for language in known]
    intents = tuple(sorted(set().union(*(each.intents for each in templates))))
    draws = [_Draw(each, intents) for each in templates]
    parts: dict[str, list[Utterance]] = {"labelled": [], "public": [], "calibration": [], "test": []}
    said: set[str] = set()
    for place, (name, part) in enumerate(parts.items()):
        but = frozenset(said) if name in ("calibration", "test") else frozenset()
        for number, draw in enumerate(draws):
            home, random = (
                everyones_home(draw.templates.language),
                np.random.default_rng([seed if everyones_seed is None else everyones_seed, number, place]),
            )
            part += draw.some(getattr(drawn, name), draw.evenly(), home, random, but=but)
        said |= {each.text for each in part}
    speakers = [
        draws[device % len(draws)].speaker(
            name, alpha=alpha, said=said, amounts=drawn, random=np.random.default_rng([seed, device])
        )
        for device, name in enumerate(device_names(devices))
    ]
    how = f"{len(known)} languages ({', '.join(known)}), intents by Dirichlet({alpha:g})"
    description = f"assistant (Home Assistant's sentences), {devices} devices; {how}"
    return AssistantData(
        "assistant",
        description,
        intents,
        labelled=tuple(parts["labelled"]),
        calibration=tuple(parts["calibration"]),
        test=tuple(parts["test"]),
        public=tuple(each.text for each in parts["public"]),
        speakers=tuple(speakers),
    )


@dataclass(frozen=True)
class _Draw:
    """Draws utterances of one language."""

    templates: Templates
    intents: tuple[str, ...]
    numbers: tuple[int, ...] = field(init=False)  # of the intents that the language has

    def __post_init__(self) -> None:
        known = tuple(n for n, name in enumerate(self.intents) if name in self.templates.intents)
        object.__setattr__(self, "numbers", known)

    def evenly(self) -> np.ndarray:
        return np.full(len(self.numbers), 1 / len(self.numbers))

    def some(
        self,
        count: int,
        mixture: np.ndarray,
        home: Home,
        random: np.random.Generator,
        *,
        but: frozenset[str] = frozenset(),
    ) -> list[Utterance]:
        """`count` different utterances at a home, none of them in `but`; fewer where there are no more."""
        found: dict[str, Utterance] = {}
        for _ in range(count * _MOST_DRAWS):
            if len(found) == count:
                break
            number = self.numbers[int(random.choice(len(self.numbers), p=mixture))]
            text = self.templates.say(self.intents[number], home, random)
            if text not in but and words_of(text):
                found.setdefault(text, Utterance(text, number))
        return list(found.values())

    def speaker(
        self, name: str, *, alpha: float, said: set[str], amounts: Amounts, random: np.random.Generator
    ) -> Speaker:
        """A device of this language."""
        language = self.templates.language
        home = own_home(language, random)
        mixture = random.dirichlet(np.full(len(self.numbers), alpha))
        train = self.some(amounts.own, mixture, home, random)
        elsewhere = frozenset(said | {each.text for each in train})
        test = self.some(amounts.held_out, mixture, home, random, but=elsewhere)
        if not train or not test:
            raise FleetDataError(f"{name}: too little can be said in {language!r}; use a larger --dirichlet")
        return Speaker(name, language, tuple(train), tuple(test))


def load_utterances(folder: Path, *, seed: int = 0) -> AssistantData:
    """The utterances in a folder of .csv files; raises FleetDataError with file, line and value."""
    if not folder.is_dir():
        raise FleetDataError(f"{folder}: not a folder")
    users = [file for file in sorted(folder.glob("*.csv")) if file.name != PUBLIC_FILE]
    if not users:
        raise FleetDataError(
            f"{folder}: holds no <user>.csv (text,label); each device needs one, all of them {PUBLIC_FILE}"
        )
    public = _rows(folder / PUBLIC_FILE, labels_needed=False)
    said = {file.stem: _rows(file, labels_needed=True) for file in users}
    intents = tuple(sorted({label for rows in (public, *said.values()) for _, label in rows if label}))
    number = {name: n for n, name in enumerate(intents)}

    def speaker(device: int, name: str) -> Speaker:
        each = [Utterance(text, number[label]) for text, label in said[name]]
        if len(each) < 2:
            raise FleetDataError(
                f"{folder / name}.csv: 1 utterance; it takes one to learn from and one to hold out"
            )
        train, test = hold_out(np.arange(len(each)), fraction=TEST_FRACTION, seed=(seed, device))
        return Speaker(name, "", tuple(each[at] for at in train), tuple(each[at] for at in test))

    name = folder.resolve().name
    labelled = [Utterance(text, number[label]) for text, label in public if label]
    learned, calibration = np.arange(len(labelled)), np.zeros(0, np.int64)
    if len(labelled) > 1:
        learned, calibration = hold_out(learned, fraction=_CALIBRATION, seed=(seed,))
    return AssistantData(
        name,
        f"{name}, {len(users)} devices, a quarter of each held out",
        intents,
        labelled=tuple(labelled[at] for at in learned),
        calibration=tuple(labelled[at] for at in calibration),
        test=(),
        public=tuple(text for text, label in public if not label),
        speakers=tuple(speaker(device, name) for device, name in enumerate(said)),
    )


def _rows(file: Path, *, labels_needed: bool) -> list[tuple[str, str]]:
    try:
        return read_utterances(file, labels_needed=labels_needed)
    except UtterancesError as error:
        raise FleetDataError(str(error)) from None
