"""What a fleet's keyboards are worth on the texts that devices held out, before and after they were personal.

trigrams    word trigrams with backoff of the public texts, the same on all devices
classical   the strongest keyboard of counts: Kneser and Ney's trigrams of the public texts, which end in the
            frequencies of the lexicon (wordfreq's, where that is installed and the language is known)
counted     the same with its owner's own trigrams and a cache, while each held-out text is counted, too
teacher     what the students were distilled from
student     the student that a device starts from, as it is
mixed       the student and the lexicon's counts: what a device suggests before it knows any own words
this_text   the same with what stands before in the text that is being typed
own_words   the same with the device's own training texts (see fedstill_client.keyboard): nothing is trained
as_typed    the same while each held-out text is counted, too, once it is typed, as an agent does
personal    as_typed, of the student that the device has in the end
fleets      as_typed, of the fleet's student in the end, which no device has trained for itself
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from fedstill_client.keyboard.next_word_model import NextWordModel
from fedstill_proto.text.lexicon import Lexicon
from fedstill_proto.text.vocabulary import START, WordList
from fedstill_server.tasks.text.lexicon import LexiconPlan, build_lexicon

from fedstill_sim.tasks.text.data import KeyboardData, Typist
from fedstill_sim.tasks.text.measures import Change, Tally, changed, measure
from fedstill_sim.tasks.text.personal import attentive, classical, counts_alone, impersonal, personal
from fedstill_sim.tasks.text.trigrams import WordTrigrams

FIGURES = (
    "top1",
    "top3",
    "token_top1",
    "token_top3",
    "perplexity",
    "keystrokes_saved",
    "new_word_recall",
)
"""top1, top3: of words before a letter is typed; token_*: of words and marks."""
SHARES = tuple(name for name in FIGURES if name != "perplexity")
_ROWS = (
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
)
COMPARED = (
    ("classical", "mixed"),
    ("counted", "as_typed"),
    ("trigrams", "student"),
    ("student", "this_text"),
    ("student", "own_words"),
    ("student", "as_typed"),
    ("student", "personal"),
    ("as_typed", "personal"),
    ("as_typed", "fleets"),
    ("trigrams", "personal"),
)


@dataclass(frozen=True, kw_only=True)
class Suggestions:
    """How good the suggestions of a fleet are. figures: by model, mean over devices (perplexity: over words).

    changes: of a pair of models, as in "student to personal", by figure.
    """

    devices: int
    entries: int  # of the word list
    words: int  # held out, and typed to measure
    new_words: int  # ... that the list lacks
    figures: dict[str, dict[str, float]]
    changes: dict[str, dict[str, Change]]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Suggestions:
        """What `to_json` gave."""
        changes = {
            pair: {name: Change(**change) for name, change in of_pair.items()}
            for pair, of_pair in document["changes"].items()
        }
        return cls(**{**document, "changes": changes})


@dataclass(frozen=True)
class Models:
    """What says next words on one device: what it starts from, what it and the fleet have in the end."""

    start: NextWordModel
    own: NextWordModel | None = None
    fleets: NextWordModel | None = None


Done = Callable[[int, int], None]  # told of devices measured, and how many there are


def evaluate_suggestions(
    data: KeyboardData,
    word_list: WordList,
    models: Callable[[int], Models],
    *,
    teacher: NextWordModel | None = None,
    lexicon: Lexicon | None = None,
    counts: Lexicon | None = None,
    brief: bool = False,
    on_device: Done = lambda done, devices: None,
) -> Suggestions:
    """Type every device's held-out texts with each of the models; `models` gives a device's by its number.

    Args:
        data: The devices' texts, and public ones.
        word_list: The students' words.
        models: What says next words on a device.
        teacher: What the students were distilled from.
        lexicon: Beside the list of words; without, one of the public texts alone.
        counts: That of the classical keyboard, if it is another one.
        brief: Only the classical keyboard and what stands beside it.
        on_device: Told of devices measured.
    """
    lexicon = lexicon or build_lexicon(data.public, word_list, LexiconPlan())
    counts = counts_alone(lexicon if counts is None else counts)
    trigrams = WordTrigrams(map(word_list.encode, data.public), words=len(word_list), start=START)
    tallies: dict[str, list[Tally]] = {}
    for device, typist in enumerate(data.typists):
        here = models(device)
        of_device = _beside_counts(word_list, here, typist, lexicon, counts)
        if not brief:
            of_device |= _of_device(word_list, trigrams, teacher, here, typist, lexicon)
        for name, tally in of_device.items():
            tallies.setdefault(name, []).append(tally)
        on_device(device + 1, len(data.typists))
    plain = tallies["classical"]
    return Suggestions(
        devices=len(data.typists),
        entries=len(word_list),
        words=sum(tally.words for tally in plain),
        new_words=sum(tally.new for tally in plain),
        figures={name: figures_of(tallies[name]) for name in _ROWS if name in tallies},
        changes={
            f"{before} to {after}": changes_of(tallies[before], tallies[after])
            for before, after in COMPARED
            if before in tallies and after in tallies
        },
    )


def _beside_counts(
    words: WordList, models: Models, typist: Typist, lexicon: Lexicon, counts: Lexicon
) -> dict[str, Tally]:
    """The classical keyboard, before and after its owner's words, and the product at both places."""
    own = personal(words, models.start, typist, lexicon)
    return {
        "classical": measure(classical(words, counts), typist.test),
        "counted": measure(classical(words, counts, typist), typist.test, observes=True),
        "mixed": measure(impersonal(words, models.start, lexicon), typist.test),
        "as_typed": measure(own, typist.test, observes=True),
    }


def _of_device(
    words: WordList,
    trigrams: WordTrigrams,
    teacher: NextWordModel | None,
    models: Models,
    typist: Typist,
    lexicon: Lexicon,
) -> dict[str, Tally]:
    """All others."""
    texts = typist.test
    tallies = {"trigrams": measure(impersonal(words, trigrams), texts)}
    if teacher is not None:
        tallies["teacher"] = measure(impersonal(words, teacher), texts)
    tallies["student"] = measure(impersonal(words, models.start), texts)
    tallies["this_text"] = measure(attentive(words, models.start, lexicon), texts)
    tallies["own_words"] = measure(personal(words, models.start, typist, lexicon), texts)
    if models.own is not None:
        trained = personal(words, models.own, typist, lexicon)
        tallies["personal"] = measure(trained, texts, observes=True)
    if models.fleets is not None:
        fleets = personal(words, models.fleets, typist, lexicon)
        tallies["fleets"] = measure(fleets, texts, observes=True)
    return tallies


def figures_of(tallies: Sequence[Tally]) -> dict[str, float]:
    """Mean over devices; perplexity, and the recall of new words, over all words."""
    total = sum(tallies, Tally())
    means = {name: float(np.mean([getattr(tally, name) for tally in tallies])) for name in FIGURES}
    return {**means, "perplexity": total.perplexity, "new_word_recall": total.new_word_recall}


def changes_of(before: Sequence[Tally], after: Sequence[Tally]) -> dict[str, Change]:
    """How each share changed, over devices."""
    return {
        name: changed([getattr(one, name) for one in before], [getattr(one, name) for one in after])
        for name in SHARES
    }


def lines_of(found: Suggestions) -> list[str]:
    """As a table in plain words."""
    lines = [
        f"{found.devices} devices, {found.words} held-out words, {found.new_words} of them not among the "
        f"{found.entries} entries of the word list",
        " " * 18 + "".join(f"{name:>11}" for name in found.figures),
    ]
    lines += [
        f"{name:18}" + "".join(f"{figures[name]:11.4f}" for figures in found.figures.values())
        for name in FIGURES
    ]
    for pair, changes in found.changes.items():
        lines.append(f"{pair}, by device:")
        lines += [f"  {name}: {in_words(change)}" for name, change in changes.items()]
    return lines


def in_words(change: Change) -> str:
    """A change of a share, by device."""
    return (
        f"{100 * change.mean:+.2f} points ({100 * change.low:+.2f} to {100 * change.high:+.2f}), "
        f"{100 * change.better:.0f} % of devices gain over a point, {100 * change.worse:.0f} % lose over one"
    )
