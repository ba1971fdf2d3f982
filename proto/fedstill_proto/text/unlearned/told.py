"""What somebody says is a secret: what follows on "my password is", "PIN:", "contraseña", "code", "user".

Behind such a word, with "is", ":" or "=" between, the next word is the secret, however ordinary it looks
("my password is sunshine"); without these, what holds digits or signs, or has capitals inside. What stands
before "is my password" is one, too. Behind a passphrase or the words of a wallet, all words up to the end of
the sentence are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fedstill_proto.text.unlearned.parts import PrivatePart
from fedstill_proto.text.unlearned.shapes import secret_shape, surprise
from fedstill_proto.text.unlearned.telling_words import (
    BEFORE_PHRASE,
    IS,
    LINKS,
    NAMED,
    NAMES,
    NUMBER_WORDS,
    ORDINARY_BEHIND,
    PAIRS,
    PHRASES,
    PREPOSITIONS,
    STRONG,
    SUBJECTS,
    WEAK,
)

_MOST_BETWEEN, _MOST_AHEAD, _MOST_PHRASE = 3, 10, 26  # words
_OPEN_QUOTES = dict(zip("\"'“‘«„`‹", "\"'”’»“`›", strict=True))
_AROUND = "\"'“”‘’«»„`‹›()[]{}<>.,;!?…。！？*_~|"
_WORD = re.compile(r"[^\s:=]+[:=]?|[:=]+")
_MOST_HYPHENS = 2
_STRANGE = 3.3  # bits a pair of letters, right behind a word that names a secret
_NO_COPULA = "\u0400"  # from these scripts on, languages say "password X" for "the password is X"
_UP_TO_SPACE, _BACK_TO_SPACE = re.compile(r"[^\s]{0,200}"), re.compile(r"[^\s]*\Z")
_GROUPS = re.compile(r"[a-z0-9]{4,8}(?:-[a-z0-9]{4,8})+")
_SENTENCE_END = (".", "!", "?", "…", "。", "！", "？", "।", "؟", ";")
# Where no spaces stand between words.
_UNSPACED = re.compile(
    r"(?:密码|密碼|口令|验证码|驗證碼|パスワード|暗証番号|ピン番号|비밀번호|รหัสผ่าน|รหัส)"
    r"[^\w\n]{0,3}(?:是|为|為|は|が|는|은|คือ)?[^\w\n]{0,3}([!-~]{2,64})"
)


@dataclass(frozen=True, slots=True)
class _Word:
    begin: int
    end: int
    key: str  # in lower case, without marks around it
    written: str
    names_value: bool  # whether ":" or "=" stands behind it
    ends_sentence: bool


def told_secrets(text: str) -> Iterator[PrivatePart]:
    """The parts of a text of which it says that they are secret."""
    if not text.isascii():
        for match in _UNSPACED.finditer(text):
            yield PrivatePart(match.start(1), match.end(1), "told to be secret")
    if _TELLING.isdisjoint(_BARE.findall(text.lower())):
        return
    words = [_word_of(match) for match in _WORD.finditer(text)]
    for place in range(len(words)):
        strength = _strength(words, place)
        if strength:
            yield from _behind(text, words, place, strength)
            yield from _before(text, words, place, strength)


def _strength(words: list[_Word], place: int) -> str:
    key = _without_possessive(words[place].key)
    if key in PHRASES or (
        key in ("phrase", "frase", "words") and place and words[place - 1].key in BEFORE_PHRASE
    ):
        return "phrase"
    if key in STRONG or (place and (words[place - 1].key, key) in PAIRS and key not in NAMES):
        return "name" if key in ("d'utilisateur", "utente", "usuario", "adı") else "strong"
    if key in NAMES or (key in NAMED and words[place].names_value):
        return "name"
    return "weak" if key in WEAK else ""


def _behind(text: str, words: list[_Word], place: int, strength: str) -> Iterator[PrivatePart]:
    told, between, found = words[place].names_value, 0, 0
    key = words[place].key
    if (strength == "strong" and key[0] >= _NO_COPULA) or key != _without_possessive(key):
        told = True
    if words[place].ends_sentence and not told:
        return
    before = words[place]
    for ahead, word in enumerate(words[place + 1 : place + 1 + _MOST_AHEAD + _MOST_PHRASE]):
        if (not found and ahead >= _MOST_AHEAD) or found >= _MOST_PHRASE:
            return
        if not word.key or (word.key in IS and not (found and told)):
            told, found = told or word.key in IS or word.written.strip(":=") == "", 0
        elif not told and before.key in PREPOSITIONS:
            between += 1
        elif (told or not between) and (quoted := _quoted(text, word)):
            yield PrivatePart(word.begin, quoted, "told to be secret")
            return
        elif (
            _is_odd(word.written, capitals=told or strength != "weak")
            or (told and _is_group(word.key))
            or (strength != "weak" and not between and len(word.key) > 4 and surprise(word.key) > _STRANGE)
        ):
            if between and not (strength != "weak" and told) and not (word.key.isdigit() and between < 3):
                return
            yield _part(text, word)
            found += 1
        elif found:
            if strength != "phrase" and word.key not in NUMBER_WORDS:
                if told:
                    return
                between += 1
            else:
                yield _part(text, word)
                found += 1
        elif told and word.key in NUMBER_WORDS:
            yield _part(text, word)
            found += 1
        elif word.key in LINKS:
            pass
        elif told and (word.key in ORDINARY_BEHIND or strength == "weak"):
            return
        elif told and not between:
            yield _part(text, word)
            found += 1
        else:
            between += 1
        if between > (1 if strength == "weak" else _MOST_BETWEEN):
            return
        told = told or word.names_value
        if word.ends_sentence and not (word.names_value and not found):
            return
        before = word


def _before(text: str, words: list[_Word], place: int, strength: str) -> Iterator[PrivatePart]:
    """ "hunter2xQ is my password" """
    at = place - 1
    while at > 0 and words[at].key in LINKS and words[at].key not in IS and place - at < 6:
        at -= 1
    if at < 1 or words[at].key not in IS or words[at - 1].ends_sentence:
        return
    word = words[at - 1]
    starts = at - 1 == 0 or words[at - 2].ends_sentence
    if (
        _is_odd(word.written)
        or word.key.isdigit()
        or (strength == "strong" and starts and not ({word.key} & (SUBJECTS | LINKS | ORDINARY_BEHIND)))
    ):
        yield _part(text, word, whole=True)


def _without_possessive(key: str) -> str:
    return key[:-2] if key.endswith(("'s", "’s")) else key


def _is_odd(written: str, *, capitals: bool = True) -> bool:
    """Whether a word is written as no ordinary one is: digits, signs, many hyphens, and capitals inside."""
    word = written.strip(_AROUND + ":=")
    if len(word) < 2:
        return word.isdigit()
    if not word.replace("'", "").replace("’", "").replace("-", "").isalpha():
        return any(map(str.isalnum, word)) or len(word) > 3
    if secret_shape(word) or word.count("-") > _MOST_HYPHENS:
        return True
    if not capitals:
        return False
    inner = word[1:]
    return not inner.islower() and not inner.isupper() and word.isascii() and any(map(str.isupper, inner))


def _is_group(key: str) -> bool:
    """Whether it is groups of letters of one length, as codes for an emergency are: abcd-efgh."""
    return _GROUPS.fullmatch(key) is not None and len({len(group) for group in key.split("-")}) == 1


def _quoted(text: str, word: _Word) -> int:
    """Where the quotation that a word begins ends; 0 where it begins none."""
    close = _OPEN_QUOTES.get(word.written[0])
    if close is None:
        return 0
    end = text.find(close, word.begin + 1, word.begin + 200)
    return end + 1 if end > word.begin + 1 else 0


def _part(text: str, word: _Word, *, whole: bool = False) -> PrivatePart:
    """The secret that a word begins, up to the next space; `whole`: from the space before it on."""
    written = word.written
    begin = word.begin + (len(written) - len(written.lstrip("\"'“”‘’«»„`‹›([{<")))
    to_space = _UP_TO_SPACE.match(text, word.end)
    end = word.end if to_space is None else to_space.end()
    end = begin + len(text[begin:end].rstrip("\"'“”‘’«»„`‹›)]}>.,;:!?…"))
    if whole:
        since_space = _BACK_TO_SPACE.search(text[max(0, begin - 64) : begin])
        begin -= 0 if since_space is None else len(since_space.group())
    return PrivatePart(begin, max(end, begin + 1), "told to be secret")


def _word_of(match: re.Match[str]) -> _Word:
    written = match.group()
    names_value = written[-1] in ":="
    bare = written.rstrip(":=") if names_value else written
    key = bare.strip(_AROUND).lower()
    ends = written.rstrip("\"'”’»)]}").endswith(_SENTENCE_END)
    return _Word(
        match.start(), match.end(), key or (written if names_value else ""), written, names_value, ends
    )


_BARE = re.compile(r"[^\W_]+")
_NAMING = {*STRONG, *NAMES, *WEAK, *PHRASES, *(last for _, last in PAIRS), "phrase", "frase", "words"}
_TELLING = {part for key in _NAMING for part in _BARE.findall(key) if len(part) > 2 or part == key}
