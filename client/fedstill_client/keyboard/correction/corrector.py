"""The words that letters may be the beginning of, with errors in them: a search of all beginnings at once.

The cheapest way from a beginning of a word to the letters typed is Damerau's distance (1964) with the costs
of channel.py, by the usual table of Wagner and Fischer (1974): a row for each letter of the word, a column
for each letter typed. Words that begin alike share their first rows, and so the rows are those of a tree of
beginnings (prefix_tree.py). It is walked down letter by letter, all beginnings of a length in one step of
numpy; those that can only have more errors than are allowed are left, and of the others the BEAM cheapest
are kept. The last column is what it costs that the letters typed are that beginning.

Why no library: of the two that were tried (`benchmarks/corrections.py`, 30,000 words of six languages),
symspellpy (6.5 MB) looks up whole words, as well as this does, but finds one word in eight of those that lack
two letters yet, where this finds three in four; rapidfuzz (12 MB, where a device may grow by 5) compares
beginnings one by one, in 8 to 13 ms for 99 of 100 keys against 2.6, and finds fewer. Both have one cost for
all letters, and know neither keys nor accents.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import IntArray

from fedstill_client.keyboard.correction.channel import EDIT, Channel, cost_of
from fedstill_client.keyboard.correction.layouts import KeyboardLayout
from fedstill_client.keyboard.correction.letters import expansions, is_letter
from fedstill_client.keyboard.correction.prefix_tree import PrefixTree, ranges

MAX_LETTERS = 24  # of what is corrected
MIN_LETTERS, TWO_EDITS_FROM = 3, 5  # letters, for one error and for two
BEAM = 200  # beginnings of one length that are followed
MOST_NATS = 11.5  # of all errors together: what is rarer than e^-11.5 = 1/100,000 is not looked for
_LAST = "\U0010ffff"
_DECIMALS = 3  # of a cost, that sums in another order are equal
_INFINITE = np.float32(np.inf)

Costs = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Meant:
    """The words that may have been meant.

    Args:
        places: Their places in the word list, in its order [n].
        likelihoods: p(typed | the word is being typed) of each, 1 where it begins so [n].
        edits: The errors of each; left-out accents and apostrophes are none [n].
        whole: Whether the letters are the whole word, and not the beginning of it [n].
    """

    places: IntArray
    likelihoods: npt.NDArray[np.float64]
    edits: IntArray
    whole: npt.NDArray[np.bool_]


def edits_allowed(typed: str) -> int:
    """How many errors may be in so many letters."""
    letters = sum(map(str.isalpha, typed))
    if letters < MIN_LETTERS or len(typed) > MAX_LETTERS:
        return 0
    return 2 if letters >= TWO_EDITS_FROM else 1


class Corrector:
    """Finds what may have been meant among the words of a list.

    Args:
        words: Different words in lower case, in the alphabet's order.
        channel: The costs of errors.
    """

    def __init__(self, words: Sequence[str], channel: Channel | None = None) -> None:
        self.words = words
        self._channel = Channel() if channel is None else channel
        others = {sign for sign in set().union(*words) if not is_letter(sign)}
        kept = [place for place, word in enumerate(words) if others.isdisjoint(word)]
        self._places = np.array(kept, np.int64)
        self._lengths = np.array([len(words[place]) for place in kept], np.int16)
        self._tree = PrefixTree([words[place] for place in kept])
        self._unfinished = np.float32(cost_of(self._channel.unfinished))
        alphabet = self._tree.alphabet
        self._skip = np.array([self._channel.left_out(m, is_double=False) for m in alphabet], np.float32)
        self._skip_double = np.array(
            [self._channel.left_out(m, is_double=True) for m in alphabet], np.float32
        )
        self._columns: dict[tuple[str, str], Costs] = {}  # of a layout and a letter typed

    def meant(self, typed: str, layout: KeyboardLayout, *, edits: int | None = None) -> Meant:
        """The words that `typed` may be the beginning of.

        Args:
            typed: Letters in lower case, at least one.
            layout: The keyboard that they were typed on.
            edits: How many errors they may have; edits_allowed(typed) where that is not given, and one
                where words begin as typed.
        """
        begin = bisect_left(self.words, typed)
        here = slice(begin, bisect_left(self.words, typed + _LAST, begin))
        most = edits
        if most is None:
            # Where words begin as typed, two errors are not likely enough to be looked for.
            most = min(edits_allowed(typed), 2 if here.start == here.stop else 1)
        costs, whole = np.full(len(self.words), _INFINITE), np.zeros(len(self.words), bool)
        if len(typed) <= MAX_LETTERS and self._tree.levels and all(map(is_letter, typed)):
            self._search(typed, layout, most, costs, whole)
        costs[here], whole[here] = 0.0, False
        if here.start < here.stop and self.words[begin] == typed:
            whole[begin] = True
        places = np.flatnonzero(costs < _INFINITE)
        found = np.round(costs[places].astype(np.float64), _DECIMALS)
        counts = np.floor(found / EDIT)
        likelihoods = np.exp(counts * EDIT - found)
        likelihoods[(counts == 0) & (found > 0)] *= self._channel.bare
        return Meant(places, likelihoods, counts.astype(np.int64), whole[places])

    def _search(
        self, typed: str, layout: KeyboardLayout, most: int, costs: Costs, whole_words: npt.NDArray[np.bool_]
    ) -> None:
        """Put the least cost of each word that is found into `costs` [words], and which are whole."""
        letters = len(typed)
        limit = np.float32(EDIT * most + MOST_NATS)
        replace = np.stack([self._column(letter, layout) for letter in typed], axis=1)  # [alphabet, letters]
        two_for_one = self._two_for_one(typed)
        extra = self._put_in(typed)  # [letters + 1], summed up
        first = np.float32(cost_of(self._channel.first))
        rows = extra[None, :] + np.where(np.arange(letters + 1) > 0, first, np.float32(0))
        parents, parent_letters = rows, np.zeros(1, np.int16)  # of the rows; there is none above the first
        beginnings = np.zeros(1, np.int64)
        ends: list[tuple[int, IntArray, Costs]] = []
        for depth, level in enumerate(self._tree.levels):
            if depth == 0:
                children = np.arange(len(level.start))
                above = np.zeros(len(children), np.int64)
            else:
                before = self._tree.levels[depth - 1]
                counts = before.children[beginnings].astype(np.int64)
                children = ranges(before.first_child[beginnings].astype(np.int64), counts)
                above = np.repeat(np.arange(len(beginnings)), counts)
            if not len(children):
                break
            letter = level.letter[children]
            grand, over = parents[above], rows[above]  # two letters before, one letter before
            swap = replace[letter]  # [children, letters]
            skip = np.where(level.is_double[children], self._skip_double[letter], self._skip[letter])
            new = over + (skip + first if depth == 0 else skip)[:, None]
            at_first = np.where(swap[:, :1] >= EDIT, first, np.float32(0)) if depth == 0 else np.float32(0)
            np.minimum(new[:, 1:], over[:, :-1] + swap + at_first, out=new[:, 1:])
            if depth and letters > 1:
                crossed = grand[:, :-2] + swap[:, :-1] + replace[parent_letters[above]][:, 1:]
                np.minimum(new[:, 2:], crossed + np.float32(self._channel.exchange), out=new[:, 2:])
            if two_for_one is not None:
                np.minimum(new[:, 2:], over[:, :-2] + two_for_one[letter], out=new[:, 2:])
            np.minimum.accumulate(new - extra, axis=1, out=new)
            new += extra
            whole = np.flatnonzero(new[:, -1] < limit)
            if len(whole):
                ends.append((depth + 1, children[whole], new[whole, -1]))
            least = new[:, :-1].min(axis=1)
            on = np.flatnonzero((least < limit) & (level.children[children] > 0))
            if len(on) > BEAM:
                on = np.sort(on[np.argpartition(least[on], BEAM)[:BEAM]])
            if not len(on):
                break
            beginnings, parents, rows, parent_letters = children[on], over[on], new[on], letter[on]
        if ends:
            self._collect(ends, costs, whole_words)

    def _collect(
        self, ends: Sequence[tuple[int, IntArray, Costs]], costs: Costs, whole_words: npt.NDArray[np.bool_]
    ) -> None:
        levels = self._tree.levels
        start = np.concatenate([levels[depth - 1].start[at] for depth, at, _ in ends]).astype(np.int64)
        stop = np.concatenate([levels[depth - 1].stop[at] for depth, at, _ in ends]).astype(np.int64)
        cost = np.concatenate([least for _, _, least in ends])
        depth = np.concatenate([np.full(len(at), depth) for depth, at, _ in ends])
        words = ranges(start, stop - start)
        cost, depth = np.repeat(cost, stop - start), np.repeat(depth, stop - start)
        # An error is the more likely one, the less is left to type: only a whole word gets no other chance.
        more = self._lengths[words] > depth
        cost += np.where((cost >= EDIT) & more, self._unfinished, np.float32(0))
        order = np.argsort(-cost, kind="stable")  # the cheapest last: where two meet, the last one stays
        places = self._places[words[order]]
        costs[places], whole_words[places] = cost[order], ~more[order]

    def _column(self, letter: str, layout: KeyboardLayout) -> Costs:
        """The cost of a letter typed for each of the alphabet [alphabet]."""
        key = (layout.name, letter)
        column = self._columns.get(key)
        if column is None:
            meant = self._tree.alphabet
            column = np.array([self._channel.substitution(letter, m, layout) for m in meant], np.float32)
            self._columns[key] = column
        return column

    def _put_in(self, typed: str) -> Costs:
        """The cost of the first letters if none of them was meant [letters + 1]."""
        single = [
            self._channel.put_in(letter, is_double=place > 0 and typed[place - 1] == letter)
            for place, letter in enumerate(typed)
        ]
        return np.concatenate([[0.0], np.cumsum(single)]).astype(np.float32)

    def _two_for_one(self, typed: str) -> Costs | None:
        """The cost of two letters typed for one of the alphabet [alphabet, letters - 1]; None if none is."""
        pairs = [typed[place : place + 2] for place in range(len(typed) - 1)]
        costs = np.full((len(self._tree.alphabet), len(pairs)), _INFINITE)
        cost = np.float32(cost_of(self._channel.accent_left_out))
        for code, letter in enumerate(self._tree.alphabet):
            for pair in expansions(letter):
                for place, typed_pair in enumerate(pairs):
                    if typed_pair == pair:
                        costs[code, place] = cost
        return costs if (costs < _INFINITE).any() else None
