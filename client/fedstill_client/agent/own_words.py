"""The owner's own words: what was learned, and what the owner says about it.

Own words are those that neither the student's list nor its lexicon has. They are found in the texts of the
private store, and in the personal dictionary.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.private_text import LEFT_OUT, is_private_word
from fedstill_proto.text.tokens import WORD, tokenize
from fedstill_proto.text.vocabulary import WORD_LIMIT, is_word, key_of, normal, split

from fedstill_client.agent_types import OwnWord, WordsAction, WordsAnswer, check_words_action
from fedstill_client.keyboard.user_ngrams import UserNgrams
from fedstill_client.store import PrivateStore

_LARGEST_COUNT = 1 << 31


def answer_words(
    store: PrivateStore, ngrams: UserNgrams, action: WordsAction, words: Sequence[OwnWord | str]
) -> WordsAnswer:
    """What `Agent.words` promises, of one private store; `ngrams` knows which words are public."""
    action = check_words_action(action)
    if action in ("list", "export"):
        return _own_words(store, ngrams)
    if action == "blocked":
        return WordsAnswer(tuple(OwnWord(word, 0) for word in sorted(store.words.blocked())))
    given = [_checked(word, place) for place, word in enumerate(words)]
    if not given:
        raise InvalidValue("words", f"none; name those to {action}")
    if action == "forget":
        return store.forget_words([word.word for word in given])
    if action != "import":
        return WordsAnswer(changed=store.change_words(action, given))
    # An odd name is the owner's to bring; what else looks private, and what the package suppresses, is left
    # out here, too.
    learnable = [
        word
        for word in given
        if (word.word.isalpha() or not is_private_word(word.word))
        and not ngrams.suppressor.word(normal(word.word))
    ]
    changed = store.change_words(action, learnable)
    return WordsAnswer(changed=changed, left_out=len(given) - len(learnable))


def _own_words(store: PrivateStore, ngrams: UserNgrams) -> WordsAnswer:
    """All own words, the most frequent first, and how much was left out of the texts."""
    written: defaultdict[str, Counter[str]] = defaultdict(Counter)
    last: dict[str, float] = {}
    left_out = 0
    for text in store.texts():
        left_out += text.text.count(LEFT_OUT)
        for token in tokenize(text.text):
            key = key_of(token.text, token.kind)
            if token.kind is WORD and is_word(key) and _is_own(ngrams, key):
                written[key][token.text] += 1
                last[key] = max(text.observed_at, last.get(key, 0.0))
    imported = {normal(word.word): word for word in store.words.imported()}
    blocked = store.words.blocked()
    found = {
        key: OwnWord(_as_written(forms, imported.get(key)), forms.total(), last[key], key in imported)
        for key, forms in written.items()
    }
    words = {**imported, **found}
    ordered = sorted((key for key in words if key not in blocked), key=lambda key: (-words[key].count, key))
    return WordsAnswer(tuple(words[key] for key in ordered), left_out=left_out)


def _is_own(ngrams: UserNgrams, token: str) -> bool:
    number = ngrams.word_list.number(token)
    if number is None and ngrams.lexicon is not None:
        number = ngrams.lexicon.number(token)
    return number is None


def _as_written(forms: Counter[str], imported: OwnWord | None) -> str:
    return forms.most_common(1)[0][0] if imported is None else imported.word


def _checked(given: OwnWord | str, place: int) -> OwnWord:
    """A word that somebody names; raises InvalidValue."""
    word = given if isinstance(given, OwnWord) else OwnWord(given)
    written = word.word.strip()
    keys = split(written)
    if len(keys) != 1 or not is_word(keys[0]) or len(written) > WORD_LIMIT:
        raise InvalidValue(
            f"words[{place}]", f"{word.word!r:.60} is not one word of {WORD_LIMIT} letters at most"
        )
    if not 0 <= word.count < _LARGEST_COUNT:
        raise InvalidValue(f"words[{place}].count", f"{word.count} is not 0 to {_LARGEST_COUNT - 1}")
    return replace(word, word=written)
