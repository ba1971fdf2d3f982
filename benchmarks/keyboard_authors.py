"""What a keyboard is worth on the texts of real people: the product beside the strongest classical one.

python benchmarks/keyboard.py --authors authors.json.gz --public public.txt.gz [more.txt.gz] --language en
python benchmarks/keyboard.py --authors authors.json.gz --public ... --skip 80      # all but the first 80
python benchmarks/keyboard.py --folder texts/ --language en                         # <user>.txt, public.txt

authors.json holds {author: [text, ...]}, each in the order of time; an author is a device, and the last fifth
of its texts is held out. A student learns the public texts alone, in minutes; both sides have the same public
texts, wordfreq where it is installed and a language is given, and the same list of words.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fedstill_proto.arrays import Parameters
from fedstill_proto.text.lexicon import Lexicon
from fedstill_proto.text.vocabulary import WordList
from fedstill_server.tasks.text.keyboard import KeyboardPlan, held_out_texts, make_students
from fedstill_server.tasks.text.languages.public_texts import LanguageTexts
from fedstill_server.tasks.text.languages.word_list import word_list_of
from fedstill_server.tasks.text.lexicon import LexiconPlan, build_lexicon, general_frequencies
from fedstill_server.training.networks import one_deterministic_thread
from fedstill_sim.folder import cache_folder
from fedstill_sim.tasks.text.data import KeyboardData, Typist
from fedstill_sim.tasks.text.evaluation import Models, evaluate_suggestions, lines_of
from fedstill_sim.tasks.text.measures import Change
from fedstill_sim.tasks.text.models import RecurrentWords

from benchmarks.bars import Bar

FAMILY, WORDS, EPOCHS, CANDIDATES = "gru-96-256", 20_000, 8, 1000
_KNOWN_FREQUENCY = 1e-7
_FEWEST_TEXTS = 5
_ALL_COUNTS = 1 << 40  # the classical keyboard leaves none out


def load_authors(authors: Path, public: Sequence[Path], *, skip: int, most: int | None) -> KeyboardData:
    """The devices of a file of authors, by name, without the first ones, and public texts."""
    texts: dict[str, list[str]] = json.loads(_read(authors))
    chosen = sorted(name for name, own in texts.items() if len(own) >= _FEWEST_TEXTS)[skip:][:most]
    lines = tuple(line for path in public for line in _read(path).splitlines() if line.strip())
    return KeyboardData(authors.name, lines, tuple(Typist.of(name, texts[name]) for name in chosen))


def _read(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()


def made_keyboard(
    public: Sequence[str],
    languages: tuple[str, ...],
    *,
    family: str,
    epochs: int,
    told: Callable[[str], None],
) -> tuple[WordList, Parameters, Lexicon]:
    """The list of words, the student of the public texts alone, and the lexicon."""
    known = {w for w, f in general_frequencies(languages, on_notice=told).items() if f >= _KNOWN_FREQUENCY}
    words = word_list_of(
        [LanguageTexts(language=",".join(languages), texts=tuple(public), words=0)],
        size=WORDS,
        known=lambda language: known,
    )
    usual = KeyboardPlan()
    alone = replace(usual.alone, epochs=epochs, candidates=CANDIDATES, output_dropout=0.4, input_dropout=0.3)
    plan = replace(usual, families=(family,), alone=alone)
    students = make_students(
        public,
        plan,
        cache_folder() / "keyboards",
        words=words,
        on_progress=lambda what, done, total: told(f"{what}: {done} of {total}"),
    )
    student = RecurrentWords(family, students[family], words=len(words))
    with one_deterministic_thread():
        lexicon = build_lexicon(
            public,
            words,
            LexiconPlan(languages=languages),
            student=student.after_each,
            held_out=held_out_texts(public, words, plan),
            on_notice=told,
        )
    return words, students[family], lexicon


def measured(
    data: KeyboardData,
    languages: tuple[str, ...],
    *,
    family: str,
    epochs: int,
    told: Callable[[str], None],
) -> tuple[dict[str, Any], list[Bar]]:
    """Type what the devices held out with the product and with counts, and compare them with the bars."""
    words, parameters, lexicon = made_keyboard(
        data.public, languages, family=family, epochs=epochs, told=told
    )
    student = RecurrentWords(family, parameters, words=len(words))
    with one_deterministic_thread():
        found = evaluate_suggestions(
            data,
            words,
            lambda device: Models(student),
            lexicon=lexicon,
            counts=build_lexicon(
                data.public, words, LexiconPlan(languages=languages, most_counts=_ALL_COUNTS)
            ),
            brief=True,
            on_device=lambda done, devices: told(f"device {done} of {devices}"),
        )
    before, typed = found.changes["classical to mixed"], found.changes["counted to as_typed"]
    bars = [
        *_bars_of("before own words", before["top3"], "top-3", 2.0),
        *_bars_of("before own words", before["keystrokes_saved"], "characters saved", 1.5),
        *_bars_of("as typed", typed["top3"], "top-3", 3.0),
        *_bars_of("as typed", typed["keystrokes_saved"], "characters saved", 1.5),
        Bar.least("as typed: recall of new words", found.figures["as_typed"]["new_word_recall"], 0.2),
    ]
    lines = [
        f"{data.name}: {family}, {sum(array.size for array in parameters.values())} parameters, {epochs} "
        f"passes over {len(data.public)} public texts; a lexicon of {len(lexicon.dictionary)} more words, "
        f"{len(lexicon.pairs)} pairs and {len(lexicon.triples)} triples, {len(lexicon.to_bytes())} bytes",
        *lines_of(found),
    ]
    return {"lines": lines, **found.to_json(), "bars": [asdict(bar) for bar in bars]}, bars


def _bars_of(when: str, change: Change, what: str, points: float) -> list[Bar]:
    """What a change against the classical keyboard has to be."""
    return [
        Bar.least(f"{when}, against counts: points of {what}", 100 * change.mean, points),
        Bar.least("... lower end of the 95 % interval", 100 * change.low, 0.0),
        Bar.most("... % of devices that lose over a point", 100 * change.worse, 5.0),
    ]
