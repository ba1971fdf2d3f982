"""The list of words of public texts in one or more languages.

Each language has its share of the list, up to a number of entries. Of words that a text says once, those are
taken that the language is known to have (wordfreq); what is not known must stand there twice, for most of the
rest are mistyped. A word of several languages is one entry.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from fedstill_proto.text.vocabulary import (
    CONTINUES,
    ENTRY_LIMIT,
    MARKS,
    SPECIAL,
    WordList,
    build_word_list,
    split,
)

from fedstill_server.tasks.text.languages.public_texts import LanguageTexts

KnownWords = Callable[[str], Collection[str]]
"""The words that a language, by its code, is known to have."""


def word_list_of(languages: Sequence[LanguageTexts], *, size: int, known: KnownWords) -> WordList:
    """The words of all languages, of each `size` entries at most; raises InvalidValue."""
    most = min(size, ENTRY_LIMIT // len(languages))
    lists = [
        build_word_list(_with_known_twice(one.texts, known(one.language)), size=most) for one in languages
    ]
    return lists[0] if len(lists) == 1 else _union(lists)


def _with_known_twice(texts: Sequence[str], known: Collection[str]) -> list[str]:
    """Texts, and behind them once more each word that is known: seen once, it counts as seen twice."""
    if not known:
        return list(texts)
    said = dict.fromkeys(token for text in texts for token in split(text))
    return [*texts, *(token for token in sorted(said) if token in known)]


def _union(lists: Sequence[WordList]) -> WordList:
    """Marks and pieces first; then words, the most frequent of each language first, then the next of each."""
    pieces = dict.fromkeys(
        entry for one in lists for entry in one.entries if entry.startswith(CONTINUES) or len(entry) == 1
    )
    ranked = [[entry for _, entry in one.words] for one in lists]
    words = dict.fromkeys(
        rank[place] for place in range(max(map(len, ranked))) for rank in ranked if place < len(rank)
    )
    return WordList(tuple(dict.fromkeys([*SPECIAL, *MARKS, *pieces, *words]))[:ENTRY_LIMIT])
