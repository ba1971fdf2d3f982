"""How often a suggestion is spelt exactly as it was typed, capitals included.

    python benchmarks/casing.py texts/    # <language>.txt or .txt.gz, a text a line

Of each language, four texts in five are learned: a list of words, trigrams in Kneser and Ney's smoothing, and
the table of how words are written. The fifth is typed. Of its words, how many are among three suggestions
before a letter is typed: by their keys (without regard to capitals), as they are written, and as they would
be if all were in lower case. The bar: at most half a point is lost.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from fedstill_client.keyboard.casing import Casing, OwnCasing
from fedstill_proto.text.casing import CaseCounts, CaseTable
from fedstill_proto.text.tokens import MARK, WORD, tokenize
from fedstill_proto.text.vocabulary import START, UNKNOWN, WordList, build_word_list, key_of, split
from fedstill_server.tasks.text.ngrams import KneserNeyTrigrams

SHOWN, LEARNED_OF = 3, 5
BAR_POINTS = 0.5


@dataclass(frozen=True)
class Recall:
    """Words that are typed, and those of them that are shown before."""

    words: int = 0
    by_key: int = 0
    as_written: int = 0
    in_lower_case: int = 0

    def __add__(self, other: Recall) -> Recall:
        return Recall(
            self.words + other.words,
            self.by_key + other.by_key,
            self.as_written + other.as_written,
            self.in_lower_case + other.in_lower_case,
        )

    @property
    def points_lost(self) -> float:
        return 100 * (self.by_key - self.as_written) / max(self.words, 1)


class Typing:
    """Suggestions from counts of public texts, written as the table of the same texts says."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.words: WordList = build_word_list(texts, size=20_000)
        self._trigrams = KneserNeyTrigrams(map(self._numbers, texts), words=len(self.words))
        table = CaseTable.of(CaseCounts.of(texts), self.words.entries)
        self.table_bytes = sum(array.nbytes for array in table.to_arrays().values())
        self._casing = Casing(OwnCasing(), table, lambda key: self.words.number(key) or UNKNOWN)
        self._alone = np.zeros(len(self.words), bool)
        self._alone[[number for number, _ in self.words.words]] = True

    def recall(self, text: str) -> Recall:
        """Type a text."""
        keys = self._numbers(text)
        chances = self._trigrams.along([START, *keys])
        total, place = Recall(), 0
        last = ""
        for token in tokenize(text):
            key = key_of(token.text, token.kind)
            if not key or (token.kind is MARK and key == last):
                continue
            if token.kind is WORD:
                likely = np.argsort(-np.where(self._alone, chances[place], 0), kind="stable")[:SHOWN]
                shown = [self.words.entries[number] for number in likely]
                context = text[: token.begin]
                written = [self._casing.written(word, context, "") for word in shown]
                total += Recall(1, key in shown, token.text in written, token.text in shown)
            last, place = key, place + 1
        return total

    def _numbers(self, text: str) -> list[int]:
        return [self.words.number(key) or UNKNOWN for key in split(text)]


def read_texts(file: Path) -> list[str]:
    content = file.read_bytes()
    return (gzip.decompress(content) if file.suffix == ".gz" else content).decode().splitlines()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="<language>.txt or .txt.gz, a text a line")
    parser.add_argument(
        "--most", type=int, default=0, help="texts that are typed; all of the fifth by default"
    )
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    files = sorted(file for file in chosen.folder.iterdir() if file.name.endswith((".txt", ".txt.gz")))
    if not files:
        parser.error(f"{chosen.folder}: holds no <language>.txt")
    figures = {}
    for file in files:
        texts = read_texts(file)
        typing = Typing([text for number, text in enumerate(texts) if number % LEARNED_OF])
        found = Recall()
        for text in texts[::LEARNED_OF][: chosen.most or None]:
            found += typing.recall(text)
        figures[file.name.split(".")[0]] = {
            **asdict(found), "points_lost": found.points_lost, "table_bytes": typing.table_bytes
        }  # fmt: skip
        if not chosen.json:
            shares = [count / max(found.words, 1) for count in asdict(found).values()]
            met = "MET" if found.points_lost <= BAR_POINTS else "MISSED"
            print(
                f"{file.name}: {found.words} words; top-3 by key {shares[1]:.4f}, "
                f"as written {shares[2]:.4f}, in lower case {shares[3]:.4f}; "
                f"{found.points_lost:.2f} points lost, {met}; table {typing.table_bytes / 1000:.0f} kB",
                flush=True,
            )
    if chosen.json:
        print(json.dumps(figures, indent=1))
    return int(any(figure["points_lost"] > BAR_POINTS for figure in figures.values()))


if __name__ == "__main__":
    raise SystemExit(main())
