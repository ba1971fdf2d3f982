"""Which language texts are in, by how many of their words are among its most frequent ones (wordfreq)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fedstill_proto.text.vocabulary import is_word, split

_FREQUENT = 300  # words of a language
_LOOKED_AT = 20_000  # words of the texts
_LEAST, _LEAD = 0.2, 1.15  # share of words that are frequent ones; how far it is ahead of the next language


def detected_language(texts: Sequence[str]) -> str:
    """The code of wordfreq's language that texts are in; "" where none is, or wordfreq is not installed."""
    try:
        import wordfreq
    except ImportError:
        return ""
    counts: Counter[str] = Counter()
    stride = max(1, len(texts) // _LOOKED_AT)
    for text in texts[::stride]:
        counts.update(token for token in split(text) if is_word(token))
        if counts.total() >= _LOOKED_AT:
            break
    if not counts:
        return ""
    shares = {
        language: sum(counts[word] for word in wordfreq.top_n_list(language, _FREQUENT, wordlist="small"))
        for language in wordfreq.available_languages()
    }
    (best, most), (_, second) = sorted(shares.items(), key=lambda item: -item[1])[:2]
    return best if most >= _LEAST * counts.total() and most >= _LEAD * second else ""


def frequency_language(code: str) -> str:
    """wordfreq's name of a language: nb of no, sh of hr; the primary language of pt-BR."""
    language = code.partition("-")[0].lower()
    instead = {
        "no": "nb",
        "nn": "nb",
        "hr": "sh",
        "bs": "sh",
        "sr": "sh",
        "tl": "fil",
        "in": "id",
        "iw": "he",
    }
    return instead.get(language, language)
