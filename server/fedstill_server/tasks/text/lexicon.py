"""The lexicon of a keyboard: a dictionary, how frequent words are, and pruned counts of public text.

How frequent words are in general comes from the package wordfreq (Speer, 2022; its data is under CC BY-SA
4.0, and the attribution travels in the lexicon); where that is not installed, public text alone says it.
Kneser and Ney's counts end in these frequencies instead of in an even share of all words:

    p(w) = (c(w) - D(c(w)) + freed wordfreq(w)) / n,    c(w): after how many different words it was seen

Counts of pairs and triples that were seen once are left out where there are more than `most_counts`. The
weights of the mix make public texts likeliest that neither the student nor the counts have learned
(expectation maximization; Jelinek and Mercer, 1980).
"""

from __future__ import annotations

import functools
import itertools
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.casing import CaseCounts, CaseTable
from fedstill_proto.text.lexicon import (
    CLASSES,
    NEVER,
    Chances,
    FollowingWords,
    Lexicon,
    Numbers,
    following,
    quantized,
)
from fedstill_proto.text.vocabulary import (
    CONTINUES,
    MARKS,
    START,
    UNKNOWN,
    WORD_LIMIT,
    WordList,
    is_word,
    split,
)

from fedstill_server.tasks.text.languages.sharp_s import LANGUAGE, with_sharp_s
from fedstill_server.tasks.text.ngrams import discounts

ATTRIBUTION = (
    "Word frequencies from wordfreq (Robyn Speer, 2022), https://github.com/rspeer/wordfreq, CC BY-SA 4.0 "
    "(https://creativecommons.org/licenses/by-sa/4.0/), which combines Wikipedia, subtitles by OPUS "
    "OpenSubtitles and SUBTLEX, news, books (Google Books Ngrams), web text (OSCAR), Twitter and Reddit. "
    "Changed: mixed with counts of this fleet's public text."
)
DICTIONARY_WORDS = 30_000
_LETTER_FREQUENCY = 1e-3  # from which on a single letter is a word: "a", "I", "y", "à"
_LEAST_FREQUENCY = 1e-9
_GENERAL_WORDS = 100_000  # of a language, the most frequent ones
_BEHIND_LATIN = "\u0250"
# Public texts held out are more like those learned than what others write (sentences that differ in a name):
# they overrate a student. On writers of chat, one half is better than the two thirds that they say.
_MOST_WEIGHT = 0.5
_MIX_PRIOR, _MIX_PRIOR_WORDS, _ITERATIONS = 0.5, 200.0, 50
_ORDER = 3

Student = Callable[[Sequence[int]], npt.NDArray[np.floating[Any]]]
"""Probabilities [n + 1, V] after START and after each of a text's n numbers."""
Notice = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class LexiconPlan:
    """What goes into a lexicon.

    Attributes:
        languages: Such as ("en", "nl"), in wordfreq's codes.
        dictionary: Words beyond the student's list, at most.
        most_counts: Next words of pairs, and of triples; where there are more, those seen once are left out.
    """

    languages: tuple[str, ...] = ()
    dictionary: int = DICTIONARY_WORDS
    most_counts: int = 150_000

    def __post_init__(self) -> None:
        for name in ("dictionary", "most_counts"):
            if getattr(self, name) < 0:
                raise InvalidValue(name, f"{getattr(self, name)}; give 0 or more")


def build_lexicon(
    texts: Sequence[str],
    words: WordList,
    plan: LexiconPlan,
    *,
    student: Student | None = None,
    held_out: Sequence[str] = (),
    on_notice: Notice = lambda notice: None,
) -> Lexicon:
    """The lexicon beside a student's list of words.

    Args:
        texts: The public texts, those of `held_out` too.
        words: The student's list.
        plan: What goes into it.
        student: What it predicts, to weigh it against the counts.
        held_out: Public texts that the student has not learned; the mix is fitted on them.
        on_notice: Told what is missing.
    """
    counts = Counter(token for text in texts for token in split(text) if is_word(token))
    general = general_frequencies(plan.languages, on_notice=on_notice)
    if LANGUAGE in plan.languages:
        general = with_sharp_s(general, counts)
    dictionary = _dictionary(counts, general, words, most=plan.dictionary)
    numbers = WordNumbers(words, dictionary)
    prior = _prior(counts, general, words, dictionary)
    apart = frozenset(held_out)
    mix = np.full(CLASSES, _MIX_PRIOR, np.float32)
    if student is not None and held_out:
        learned = [text for text in texts if text not in apart]
        trying = _counted(learned, numbers, prior, plan, dictionary)
        mix = _fitted(trying, numbers, held_out, student)
    lexicon = _counted(texts, numbers, prior, plan, dictionary)
    return replace(
        lexicon,
        mix=mix,
        attribution=ATTRIBUTION if general else "",
        casing=CaseTable.of(CaseCounts.of(texts), (*words.entries, *dictionary)),
    )


class WordNumbers:
    """Numbers of whole words and marks: of the list, and of the dictionary behind it."""

    def __init__(self, words: WordList, dictionary: Sequence[str]) -> None:
        self.word_list = words
        self.words = len(words) + len(dictionary)
        self._numbers = {word: len(words) + place for place, word in enumerate(dictionary)}

    def of(self, token: str) -> int:
        """A token's number; UNKNOWN where neither has it."""
        number = self.word_list.number(token)
        return self._numbers.get(token, UNKNOWN) if number is None else number

    def encode(self, text: str) -> list[int]:
        return [self.of(token) for token in split(text)]


def general_frequencies(
    languages: Sequence[str], *, on_notice: Notice = lambda notice: None
) -> dict[str, float]:
    """How frequent words are in general, by key: the mean over languages; empty where nothing is known."""
    if not languages:
        return {}
    try:
        import wordfreq
    except ImportError:
        on_notice(
            "wordfreq is not installed: list and dictionary hold the public text's own words only, and of "
            "100 words that people type 7 stay unknown instead of 3; pip install 'fedstill[keyboard]' adds "
            "those of 40 languages"
        )
        return {}
    found: dict[str, float] = {}
    known = [language for language in languages if language in wordfreq.available_languages()]
    for language in languages:
        if language not in known:
            on_notice(f"wordfreq has no words of {language!r}; its dictionary is the public text's own")
    for language in known:
        for word, frequency in _frequencies_of(language).items():
            found[word] = found.get(word, 0.0) + frequency / len(known)
    return found


@functools.lru_cache(maxsize=8)
def _frequencies_of(language: str) -> Mapping[str, float]:
    """wordfreq's most frequent words of a language that are words here, too."""
    import wordfreq

    most = itertools.islice(wordfreq.get_frequency_dict(language).items(), _GENERAL_WORDS)
    return {
        word: frequency
        for word, frequency in most
        if len(word) <= WORD_LIMIT
        and (_is_latin(word) or (_has_letters_only(word) and split(word) == [word]))
    }


def _is_latin(word: str) -> bool:
    """Whether a word is small Latin letters alone: then it is one, as most are."""
    return word.isalpha() and word.islower() and max(word) < _BEHIND_LATIN


def _dictionary(
    counts: Mapping[str, int], general: Mapping[str, float], words: WordList, *, most: int
) -> tuple[str, ...]:
    """Words that the list lacks: those of the public text first, then the most frequent in general."""
    own = sorted((word for word in counts if word not in words), key=lambda word: (-counts[word], word))
    others = sorted(
        (word for word in general if word not in words and word not in counts),
        key=lambda word: (-general[word], word),
    )
    chosen = [word for word in (*own, *others) if len(word) <= WORD_LIMIT and not _is_bare(word, general)]
    return tuple(chosen[:most])


def _has_letters_only(word: str) -> bool:
    """Whether a word has letters, and no digits and signs but apostrophes and hyphens."""
    kinds = {unicodedata.category(letter)[0] for letter in word if letter not in "'-"}
    return "L" in kinds and kinds <= {"L", "M"}


def _is_bare(word: str, general: Mapping[str, float]) -> bool:
    """Whether a word is one letter, which is none by itself."""
    return (
        len(word) == 1
        and unicodedata.category(word) in ("Ll", "Lm")
        and general.get(word, 0.0) < _LETTER_FREQUENCY
    )


def _prior(
    counts: Mapping[str, int], general: Mapping[str, float], words: WordList, dictionary: Sequence[str]
) -> Chances:
    """How frequent words and marks are without the public text's counts: [V + D] of sum 1, 0 for no words."""
    total = max(sum(counts.values()), 1)
    in_text = {word: count / total for word, count in counts.items()}
    even = 1 / max(len(words) + len(dictionary), 1)
    prior = np.zeros(len(words) + len(dictionary))
    for number, entry in enumerate((*words.entries, *dictionary)):
        if number in (UNKNOWN, START) or entry.startswith(CONTINUES):
            continue
        if _is_bare(entry, general if general else in_text):
            continue
        # Marks, and words of the public text alone, have their counts; they need no more than a little.
        prior[number] = max(general.get(entry, 0.0), _LEAST_FREQUENCY) if general else even
        if entry in MARKS:
            prior[number] = even
    return np.asarray(prior / max(float(prior.sum()), 1e-300))


def _counted(
    texts: Sequence[str],
    numbers: WordNumbers,
    prior: Chances,
    plan: LexiconPlan,
    dictionary: tuple[str, ...],
) -> Lexicon:
    """Kneser and Ney's counts of texts, over a prior of single words."""
    words = numbers.words
    rows = [np.array([START, START, *encoded], np.int64) for encoded in map(numbers.encode, texts) if encoded]
    none = np.zeros(0, np.int64)
    first = np.concatenate([row[:-2] for row in rows] or [none])
    second = np.concatenate([row[1:-1] for row in rows] or [none])
    word = np.concatenate([row[2:] for row in rows] or [none])
    counted = prior[word] > 0  # what is no word is never next
    first, second, word = first[counted], second[counted], word[counted]
    triples, times = np.unique((first * words + second) * words + word, return_counts=True)
    pairs, before_pair = np.unique(triples % (words * words), return_counts=True)
    single, before_word = np.unique(pairs % words, return_counts=True)
    base = prior.copy()
    if len(single):
        discount = discounts(before_word)[np.minimum(before_word, _ORDER)]
        base *= discount.sum() / before_word.sum()
        base[single] += (before_word - discount) / before_word.sum()
    often = np.unique(second * words + word, return_counts=True)[1]  # how often each pair was seen
    log_base = np.where(base > 0, np.log(np.maximum(base, 1e-40)), NEVER)
    return Lexicon(
        plan.languages,
        dictionary,
        np.maximum(log_base, NEVER).astype(np.float16),
        _table(pairs, before_pair, often, words, plan.most_counts),
        _table(triples, times, times, words, plan.most_counts),
    )


def _table(keys: Numbers, counts: Numbers, times: Numbers, words: int, most: int) -> FollowingWords:
    """Shares after each history, discounted; singletons are left out where there are more than `most`.

    times: how often each was seen, by which it is left out.
    """
    if not len(keys):
        return FollowingWords.empty()
    _, begins, of_history = np.unique(keys // words, return_index=True, return_inverse=True)
    total = np.add.reduceat(counts, begins)
    discount = discounts(counts)[np.minimum(counts, _ORDER)]
    shares = (counts - discount) / total[of_history]
    kept = times > 1 if len(keys) > most else np.ones(len(keys), bool)
    if kept.sum() > most:
        kept = np.zeros(len(keys), bool)
        kept[np.argsort(-times, kind="stable")[:most]] = True
    if not kept.any():
        return FollowingWords.empty()
    histories, begins = np.unique((keys // words)[kept], return_index=True)
    bounds = np.append(begins, kept.sum())
    return following(histories, bounds, (keys % words)[kept], quantized(shares[kept]))


def _fitted(
    lexicon: Lexicon, numbers: WordNumbers, held_out: Sequence[str], student: Student
) -> npt.NDArray[np.float32]:
    """The student's weight for each class of histories, by expectation maximization."""
    evidence: list[list[tuple[float, float]]] = [[] for _ in range(CLASSES)]
    for text in held_out:
        for history_class, predicted, counted in _evidence(lexicon, numbers, text, student):
            evidence[history_class].append((predicted, counted))
    mix = np.full(CLASSES, _MIX_PRIOR)
    for history_class, pairs in enumerate(evidence):
        if pairs:
            predicted, counted = np.array(pairs).T
            for _ in range(_ITERATIONS):
                part = mix[history_class] * predicted
                share = part / np.maximum(part + (1 - mix[history_class]) * counted, 1e-300)
                towards = _MIX_PRIOR_WORDS * _MIX_PRIOR + share.sum()
                mix[history_class] = towards / (_MIX_PRIOR_WORDS + len(share))
    return np.asarray(np.minimum(mix, _MOST_WEIGHT), np.float32)


def _evidence(
    lexicon: Lexicon, numbers: WordNumbers, text: str, student: Student
) -> Iterator[tuple[int, float, float]]:
    """At each word that is known: the class of its history, and what student and counts said of it."""
    tokens = split(text)
    pieces = [numbers.word_list.numbers_of(token) for token in tokens]
    said = student([number for piece in pieces for number in piece])
    place, context = 0, [START, START]
    for token, piece in zip(tokens, pieces, strict=True):
        number = numbers.of(token)
        if number != UNKNOWN and lexicon.stands_alone(number):
            history_class, chances = lexicon.counted(context)
            predicted = lexicon.of_all_words(said[place])
            yield history_class, float(predicted[number]), float(chances[number])
        place += len(piece)
        context = [context[-1], number]
