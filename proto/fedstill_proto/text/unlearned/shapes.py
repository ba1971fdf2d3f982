"""What looks like a password or a key by its letters, digits and signs alone.

- letters and digits that change too often: a1b2c3, hunter2xQ; a name or product with a number behind it stays
  (user12, mp3, iPhone15), and so does a number with its unit (3pm, 2nd, 100mb);
- signs between letters and digits: Tr0ub4dor&3, P@ssw0rd;
- long runs of several classes, as base64 and hexadecimal digits have them, and groups of licence keys;
- letters that no language puts together (xkqvbtzr), by a model of pairs of letters;
- the passwords that most people have, with a number behind them (password1).

The model of letters: -2 log2 p(letter | the one before), a step a letter of the alphabet from "a" for 0, of
the language where the pair is likeliest: counted over the 20,000 most frequent words of each of 27 languages
in Latin letters, without accents. These words are those of the package wordfreq (Robyn Speer; its data under
CC BY-SA 4.0).
"""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby, pairwise

from fedstill_proto.text.unlearned.parts import word_set

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_LEAST_LETTERS, _LEAST_CAPITALS = 8, 6  # of a word, and of one with capitals inside
_SURPRISE = {8: 4.3, 9: 4.1, 10: 3.9, 11: 3.75, 12: 3.6, 13: 3.5, 14: 3.4}  # bits a pair, by letters
_STRANGE = 3.9  # the same, of letters that digits stand behind
_USUAL = word_set(
    "password passwort passwd passw pass pwd qwerty qwertz azerty qwert asdf asdfgh asdfghjkl zxcvbn "
    "qazwsx letmein iloveyou welcome admin abc xyz abcdef login monkey dragon master sunshine "
    "princess football baseball superman batman shadow trustno changeme secret hallo hello "
    "motdepasse contrasena senha wachtwoord hunter test root qwer asd zaq jesus michael charlie"
)
_DIGIT, _UPPER, _LOWER, _OTHER = "digit", "upper", "lower", "other"
_GROUPED = re.compile(r"[A-Za-z0-9]{3,8}(?:-[A-Za-z0-9]{3,8}){2,12}")
_SPECIAL_INSIDE = re.compile(r"[^\W_][!@#$%^&*~?]+[^\W_]")
_INNER_SIGN = re.compile(r"[^\W_][!@#$%^&*~?+]+[^\W_]")
_DRAWN_SIGNS = frozenset("!@#$%^&*=+?;:<>|\\~{}[]`")
_OPTION = re.compile(r"^--?[a-z]|[a-z]{3,}=|[$][A-Z_]{2,}|[(){}]{2}")
_PERCENT = re.compile(r"\d+%")
_LETTERS_AND_MONEY = re.compile(r"[^\W\d_]+(?:[@$!]{1,8}[^\W\d_]+)+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_ALNUM = re.compile(r"[^\W_]+")
_PRODUCT = re.compile(r"[^\W\d_]+\d{1,3}[^\W\d_]?")
_MEASURE = re.compile(r"\d{1,3}[x×]\d{1,3}")


def secret_shape(word: str) -> str | None:
    """Why a word without spaces looks like a secret; None where it does not.

    Numbers alone are no secret here, see numbers.py.
    """
    if word.isalpha():
        return "password" if _is_odd_word(word) else None
    if len(word) < 6:
        return None
    if _BASE64.fullmatch(word) and is_dense(word):
        return "key"
    if _GROUPED.fullmatch(word) and _is_licence(word):
        return "key"
    has_digit = any(map(str.isdigit, word))
    if (
        has_digit
        and any(map(str.isalpha, word))
        and _SPECIAL_INSIDE.search(word)
        and not _PERCENT.match(word)
    ):
        return "password"
    if _INNER_SIGN.search(word) and any(_has_odd_capitals(part.group()) for part in _ALNUM.finditer(word)):
        return "password"
    if _LETTERS_AND_MONEY.fullmatch(word) and not {*word}.isdisjoint("@$"):
        return "password"
    for part in _ALNUM.finditer(word):
        if _is_mixed(part.group()):
            return "password"
    return None


def has_many_signs(chunk: str) -> bool:
    """Whether signs stand among letters and digits, or odd capitals, as in drawn passwords: Ge8!k;q=Z."""
    if not 7 <= len(chunk) <= 64:
        return False
    signs = {sign for sign in chunk[1:-1] if sign in _DRAWN_SIGNS}
    letters = "".join(filter(str.isalpha, chunk))
    if len(signs) < 2 or len(letters) < 2 or "://" in chunk:
        return False
    has_digit = any(map(str.isdigit, chunk))
    mixed = not letters.islower() and not letters.isupper()
    changes = sum(a.isalnum() != b.isalnum() for a, b in pairwise(chunk))
    return mixed and changes >= (3 if has_digit else 4) and _OPTION.search(chunk) is None


def surprise(word: str) -> float:
    """The mean surprise of a word's letters, in bits a pair; 0 where it has other letters than Latin ones."""
    plain = word if word.isascii() else _without_accents(word)
    plain = plain.lower()
    bits = [_BITS.get(pair, -1.0) for pair in map("".join, pairwise(plain))]
    return sum(bits) / len(bits) if bits and min(bits) >= 0 else 0.0


def _without_accents(word: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFD", word) if not unicodedata.combining(sign))


def _is_odd_word(word: str) -> bool:
    """Whether letters alone look drawn at random."""
    if len(word) < _LEAST_CAPITALS:
        return False
    bits = surprise(word)
    if len(word) >= _LEAST_LETTERS and bits > _SURPRISE[min(len(word), max(_SURPRISE))]:
        return True
    # Capitals anywhere: names of things have them where their words begin (LibreOffice).
    changes = sum(a.islower() and b.isupper() for a, b in pairwise(word))
    return changes >= 2 and changes * 4 >= len(word) and bits > (3.0 if len(word) >= _LEAST_LETTERS else 3.5)


def _is_mixed(word: str) -> bool:
    """Whether letters and digits change too often for the name of something."""
    runs = [(kind, len(list(signs))) for kind, signs in groupby(word, str.isdigit)]
    if len(runs) == 1:
        return not runs[0][0] and _is_odd_word(word)
    if len(runs) == 2:
        letters = word.strip("0123456789")
        if letters.lower() in _USUAL and runs[1][0]:
            return True
        if len(letters) > 4 and (_has_odd_capitals(letters) or surprise(letters) > _STRANGE):
            return True
        return _is_odd_word(letters)
    if _MEASURE.fullmatch(word):
        return False
    if len(runs) >= 4:
        return len(word) >= 6
    if _PRODUCT.fullmatch(word):
        letters = word[: runs[0][1]]
        return letters.lower() in _USUAL or (len(word) >= 8 and surprise(letters) > _STRANGE)
    return len(word) >= 8 or (len(word) >= 6 and (runs[0][0] or _has_odd_capitals(word)))


def _has_odd_capitals(word: str) -> bool:
    """Whether capitals stand elsewhere than at the beginnings of a name's words: hUnTer, Qx."""
    if word in (word.upper(), word.lower()):
        return False
    if word[0].islower() and sum(a.islower() and b.isupper() for a, b in pairwise(word)) > 1:
        return True
    return (
        re.fullmatch(r"[^\W\d_]?(?:[A-Z]+[a-z]+|[A-Z]{2,}[a-z]*)+[A-Z]*\d*[a-z]?|[A-Z]?[a-z]+\d*", word)
        is None
    )


def is_dense(word: str) -> bool:
    """Whether classes of signs change as often as they do in a drawn key."""
    kinds = [_class_of(sign) for sign in word if sign.isalnum()]
    if not {_DIGIT} < set(kinds):
        return "=" in word and word.strip("=") != word and _is_odd_word("".join(filter(str.isalpha, word)))
    changes = sum(a != b for a, b in pairwise(kinds))
    return changes * 10 >= 3 * len(kinds)


def _is_licence(word: str) -> bool:
    """Whether groups of the same length hold digits, or capitals alone."""
    groups = word.split("-")
    if len({len(group) for group in groups}) > 1:
        return False
    has_letter = any(map(str.isalpha, word))
    return has_letter and (any(map(str.isdigit, word)) or (word.isupper() and len(groups[0]) > 3))


def _class_of(sign: str) -> str:
    if sign.isdigit():
        return _DIGIT
    if sign.isupper():
        return _UPPER
    return _LOWER if sign.islower() else _OTHER


_TABLE = (
    "fjfgnjgigihfhdjjqefeghjqii",  # a
    "dhlncsmpdjnepifrufjlfopuhp",  # b
    "eqhpdtrbbhdjkgepqidhgpttie",  # c
    "dlmjcomndjljngdlshhiflmxie",  # d
    "glhghjhjfhhfhemkpdegjillij",  # e
    "ensidgjnejmhogdqtgjghomtjo",  # f
    "dkskbohgejhgmhdiufhgemnueo",  # g
    "cokhdprockigkhdttgkfghltis",  # h
    "gjghdlghighghdgjkgfghimkii",  # i
    "cnmhcklpenejkidnrkhidlnrll",  # j
    "cmlpdooefihgmjepshgfgllsgp",  # k
    "dmmhdllidfkfjggnuqihfloyhp",  # l
    "chnkdmomelnjhjfgvmhkgprxho",  # m
    "dnhfeldgdghikffpppgdglosfj",  # n
    "iijhhiijfghfhdgipeefgffpii",  # o
    "colndikfflnglkdfwdkignrwkm",  # p
    "gmooooomioommomooomoaglooo",  # q
    "eklhdkkleihijiflpjhhgimrif",  # r
    "eofnemmheifhkjhiolgdgklyid",  # s
    "dnnpdpmfekkjiifozghgfiiqgj",  # t
    "hjhffiijfgheeefhseefgjikih",  # u
    "cpolbqlpdlnimhfnrijlhkrrfk",  # v
    "bnlldmqiepllnigoqkjmiqqqfo",  # w
    "fkglelpkepljojhepppegjmkjp",  # x
    "bgegejgihifhgedhpfffghhphj",  # y
    "bkiidpkicligjgfkmligeiipff",  # z
)
_BITS = {
    first + then: _LETTERS.index(step) / 2
    for first, row in zip(_LETTERS, _TABLE, strict=True)
    for then, step in zip(_LETTERS, row, strict=True)
}
