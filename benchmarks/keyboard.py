"""How good a keyboard's suggestions are on texts that devices held out.

"Own words" are those of a device's training texts; "as typed", each held-out text is counted, too, once it is
typed, as an agent does.

python benchmarks/keyboard.py --baseline                  # word trigrams of the public text, alone and
                                                          # with each device's own words
python benchmarks/keyboard.py --baseline --devices 229    # all speakers
python benchmarks/keyboard.py --baseline --folder texts/  # <user>.txt and public.txt
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedstill_proto.word_list import START, build_word_list
from fedstill_sim.data.keyboard import KeyboardData, load_keyboard
from fedstill_sim.keyboard.measures import Tally, changed, measure
from fedstill_sim.keyboard.personal import impersonal, personal
from fedstill_sim.keyboard.trigrams import WordTrigrams

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


def baseline(data: KeyboardData, *, words: int) -> dict[str, Any]:
    """Word trigrams on every device's held-out texts, and what its own words change."""
    started = time.perf_counter()
    word_list = build_word_list(data.public, size=words)
    trigrams = WordTrigrams(map(word_list.encode, data.public), words=len(word_list), start=START)
    plain = [measure(impersonal(word_list, trigrams), typist.test) for typist in data.typists]
    own, as_typed = (
        [
            measure(personal(word_list, trigrams, typist), typist.test, observes=observes)
            for typist in data.typists
        ]
        for observes in (False, True)
    )
    return {
        "data": data.name,
        "devices": len(data.typists),
        "entries": len(word_list),
        "words_measured": sum(tally.words for tally in plain),
        "new_words": sum(tally.new for tally in plain),
        "trigrams": _figures(plain),
        "own_words": {**_figures(own), "change_by_device": _change(plain, own)},
        "as_typed": {**_figures(as_typed), "change_by_device": _change(plain, as_typed)},
        "seconds": time.perf_counter() - started,
    }


def _figures(tallies: list[Tally]) -> dict[str, float]:
    """Mean over devices; perplexity over all words."""
    total = sum(tallies, Tally())
    means = {n: sum(getattr(t, n) for t in tallies) / len(tallies) for n in FIGURES if n != "new_word_recall"}
    return {**means, "perplexity": total.perplexity, "new_word_recall": total.new_word_recall}


def _change(before: list[Tally], after: list[Tally]) -> dict[str, Any]:
    shares = [name for name in FIGURES if name != "perplexity"]
    return {
        name: asdict(changed([getattr(t, name) for t in before], [getattr(t, name) for t in after]))
        for name in shares
    }


def show(found: dict[str, Any]) -> None:
    print(
        f"{found['data']}: {found['devices']} devices, {found['words_measured']} held-out words, "
        f"{found['new_words']} of them not among the {found['entries']} entries of the word list"
    )
    columns = {"trigrams": "trigrams", "own_words": "and own words", "as_typed": "... as typed"}
    print(f"{'':18}" + "".join(f"{title:>16}" for title in columns.values()))
    for name in FIGURES:
        print(f"{name:18}" + "".join(f"{found[column][name]:16.4f}" for column in columns))
    for column in ("own_words", "as_typed"):
        print(f"trigrams {columns[column]}, by device:")
        for name, change in found[column]["change_by_device"].items():
            print(
                f"  {name}: {100 * change['mean']:+.2f} points ({100 * change['low']:+.2f} to "
                f"{100 * change['high']:+.2f}), {100 * change['better']:.0f} % of devices gain over a point, "
                f"{100 * change['worse']:.0f} % lose over a point"
            )
    print(f"{found['seconds']:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--baseline", action="store_true", required=True)
    parser.add_argument("--devices", type=int, default=40)
    parser.add_argument("--words", type=int, default=10_000, help="entries of the word list, at most")
    parser.add_argument("--folder", type=Path, help="a folder of <user>.txt and public.txt")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    data = load_keyboard(asked.folder)
    found = baseline(data.of(min(asked.devices, len(data.typists))), words=asked.words)
    if asked.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)


if __name__ == "__main__":
    main()
