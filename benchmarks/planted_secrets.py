"""Secrets as people type them, drawn from a seed, each in a sentence of one of several languages."""

from __future__ import annotations

import base64
import random
import string
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from fedstill_proto.text.unlearned.numbers import passes_luhn

_IBAN_LENGTHS = {"DE": 22, "GB": 22, "FR": 27, "ES": 24, "NL": 18, "IT": 27, "BE": 16, "PL": 28}
_ANY = (
    "please keep {} for me",
    "it was {} again",
    "bitte merk dir {} für mich",
    "garde {} pour moi",
    "guarda {} por favor",
    "bewaar {} even voor mij",
    "запомни {} пожалуйста",
    "tieni {} per me",
)
_TOLD = (
    "my password is {} ok",
    "password: {}",
    "mein Passwort ist {} glaube ich",
    "das Kennwort lautet {}",
    "mon mot de passe est {} je crois",
    "mi contraseña es {} creo",
    "mijn wachtwoord is {} geloof ik",
    "la mia password è {} credo",
    "minha senha é {} acho",
    "moje hasło to {}",
    "mitt lösenord är {}",
    "пароль {} наверное",
    "{} is my password",
    "pwd={}",
)
_CODE = (
    "the code is {}",
    "pin {} thanks",
    "der Code lautet {}",
    "le code est {}",
    "el código es {}",
    "de code is {}",
)
_USER = (
    "username {} at work",
    "my login is {}",
    "Benutzername: {}",
    "identifiant {}",
    "usuario: {}",
    "gebruikersnaam {}",
)
_STREETS = (
    *("{0} {1} Street", "{0} {1} road", "{1}straße {0}", "{1}weg {0}", "{0} rue {1}", "{0}, avenue de {1}"),
    *("calle {1} {0}", "avenida {1}, {0}", "{1}straat {0}", "{1}laan {0}", "via {1} {0}", "ul. {1} {0}"),
)
_ORDINARY = ("sunshine", "butterfly", "mountain", "kaffee", "regenbogen", "soleil", "mariposa", "zonnebloem")
_NAMES = ("Whitmore", "Kestrel", "Lindqvist", "Okonkwo", "Ferrante", "Delacroix", "Hernandez", "Vandersteen")


@dataclass(frozen=True)
class PlantedSecret:
    """A secret, what kind it is of, and the sentence that it stands in."""

    kind: str
    secret: str
    sentence: str

    @property
    def before(self) -> str:
        """What was typed before it."""
        return self.sentence[: self.sentence.index(self.secret)]


def planted_secrets(count: int = 500, seed: int = 0) -> list[PlantedSecret]:
    """So many secrets, as many of each kind as that leaves."""
    draw = random.Random(seed)
    kinds = sorted(_KINDS)
    found = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        make, sentences = _KINDS[kind]
        secret = make(draw)
        found.append(PlantedSecret(kind, secret, draw.choice(sentences).format(secret)))
    return found


def _of(draw: random.Random, letters: str, least: int, most: int | None = None) -> str:
    return "".join(draw.choice(letters) for _ in range(draw.randint(least, most or least)))


def _digits(draw: random.Random, least: int, most: int | None = None) -> str:
    return _of(draw, string.digits, least, most)


def _grouped(text: str, size: int, between: str = " ") -> str:
    return between.join(text[at : at + size] for at in range(0, len(text), size))


def _card(draw: random.Random) -> str:
    first = draw.choice(("4", "51", "55", "37", "6011")) + _digits(draw, 11)
    digits = (first + _digits(draw, 4))[:15]
    return next(digits + last for last in string.digits if passes_luhn(digits + last))


def _iban(draw: random.Random) -> str:
    country = draw.choice(sorted(_IBAN_LENGTHS))
    rest = _digits(draw, _IBAN_LENGTHS[country] - 4)
    if country in ("GB", "NL"):
        rest = _of(draw, string.ascii_uppercase, 4) + rest[4:]
    number = int("".join(str(int(sign, 36)) for sign in rest + country + "00"))
    return f"{country}{98 - number % 97:02d}{rest}"


def _password(draw: random.Random) -> str:
    """A pronounceable word with digits, and something behind them or a sign in it."""
    word = "".join(_of(draw, "bdfgklmnprst", 1) + _of(draw, "aeiou", 1) for _ in range(3))
    number, end = (
        _digits(draw, 1, 3),
        _of(draw, string.ascii_lowercase, 1) + _of(draw, string.ascii_uppercase, 1),
    )
    return draw.choice(
        (
            word + number + end,
            f"{word.title()}{draw.choice('!@#$%&')}{number}{end}",
            f"{number}{word}{number}",
        )
    )


def _drawn(draw: random.Random) -> str:
    letters = string.ascii_letters + string.digits
    return (
        _of(draw, string.ascii_lowercase, 3)
        + _digits(draw, 2)
        + _of(draw, letters, 5, 13)
        + _of(draw, string.ascii_uppercase, 1)
    )


def _key(draw: random.Random) -> str:
    alphanumeric = string.ascii_letters + string.digits
    return draw.choice(("sk-", "ghp_", "xoxb-", "AKIA", "AIza", "hf_", "glpat-")) + _of(
        draw, alphanumeric, 24, 36
    )


def _street(draw: random.Random) -> str:
    number, name = draw.randint(1, 399), draw.choice(_NAMES)
    form = draw.choice(_STREETS)
    return form.format(number, name)


def _plate(draw: random.Random) -> str:
    upper = string.ascii_uppercase
    return draw.choice(
        (
            f"{_of(draw, upper, 1, 3)}-{_of(draw, upper, 1, 2)} {_digits(draw, 3)}",
            f"{_of(draw, upper, 2)}{_digits(draw, 2)} {_of(draw, upper, 3)}",
            f"{_of(draw, upper, 2)}-{_digits(draw, 3)}-{_of(draw, upper, 2)}",
        )
    )


def _phone(draw: random.Random) -> str:
    code, rest = (
        draw.choice(("+49", "+44", "+33", "+34", "+31", "+1", "0049", "(030)", "06")),
        _digits(draw, 8, 9),
    )
    return f"{code} {_grouped(rest, draw.choice((2, 3, 4, 9)), draw.choice((' ', '-')))}"


def _date(draw: random.Random) -> str:
    day, month, year = draw.randint(10, 28), draw.randint(1, 12), draw.randint(1950, 2010)
    return draw.choice(
        (f"{day}.{month:02d}.{year}", f"{day}/{month:02d}/{year % 100:02d}", f"{year}-{month:02d}-{day}")
    )


_Made = tuple[Callable[[random.Random], str], tuple[str, ...]]
_KINDS: dict[str, _Made] = {
    "PIN": (lambda draw: _digits(draw, 4, 6), (*_ANY, *_CODE)),
    "PIN with spaces": (lambda draw: _grouped(_digits(draw, 4), draw.choice((1, 2))), (*_ANY, *_CODE)),
    "short code": (lambda draw: _digits(draw, 3), _CODE),
    "number with separators": (lambda draw: _grouped(_digits(draw, 6), 2, draw.choice("-. /")), _ANY),
    "card": (_card, _ANY),
    "card with spaces": (lambda draw: _grouped(_card(draw), 4, draw.choice(" -")), _ANY),
    "IBAN": (_iban, _ANY),
    "IBAN with spaces": (lambda draw: _grouped(_iban(draw), 4), _ANY),
    "e-mail": (
        lambda draw: (
            f"{draw.choice(_NAMES).lower()}.{_of(draw, 'abcdef', 3)}@{draw.choice(_NAMES).lower()}."
            f"{draw.choice(('com', 'de', 'org'))}"
        ),
        _ANY,
    ),
    "phone": (_phone, _ANY),
    "password": (_password, (*_ANY[1:], *_TOLD)),
    "drawn password": (_drawn, (*_ANY, *_TOLD)),
    "password that is a word": (lambda draw: draw.choice(_ORDINARY) + draw.choice(("", "x", "7")), _TOLD),
    "user": (lambda draw: draw.choice(_NAMES).lower() + _digits(draw, 2), _USER),
    "API key": (_key, _ANY),
    "base64": (lambda draw: base64.b64encode(draw.randbytes(draw.randint(16, 40))).decode(), _ANY),
    "hexadecimal": (lambda draw: draw.randbytes(draw.choice((8, 16, 20, 32))).hex(), _ANY),
    "UUID": (lambda draw: str(uuid.UUID(bytes=draw.randbytes(16))), _ANY),
    "hardware address": (lambda draw: draw.randbytes(6).hex(":"), _ANY),
    "network address": (lambda draw: ".".join(str(draw.randint(1, 254)) for _ in range(4)), _ANY),
    "wallet": (
        lambda draw: draw.choice(
            ("0x" + draw.randbytes(20).hex(), "bc1q" + _of(draw, "qpzry9x8gf2tvdw0s3jn54khce6mua7l", 38))
        ),
        _ANY,
    ),
    "licence key": (
        lambda draw: _grouped(_of(draw, string.ascii_uppercase + string.digits, 20), 5, "-"),
        _ANY,
    ),
    "backup code": (
        lambda draw: _grouped(_of(draw, string.ascii_lowercase, 8), 4, "-"),
        ("backup codes: {}", "recovery code: {}", "2fa code is {}"),
    ),
    "street": (_street, _ANY),
    "plate": (_plate, _ANY),
    "national number": (
        lambda draw: draw.choice(
            (
                f"{_digits(draw, 3)}-{_digits(draw, 2)}-{_digits(draw, 4)}",
                _digits(draw, 8) + "Z",
                f"QQ {_digits(draw, 2)} {_digits(draw, 2)} {_digits(draw, 2)} C",
            )
        ),
        _ANY,
    ),
    "link": (
        lambda draw: (
            f"https://{draw.choice(_NAMES).lower()}.example/reset?token="
            f"{_of(draw, string.ascii_lowercase, 12)}"
        ),
        _ANY,
    ),
    "birthday": (_date, _ANY),
    "SSH key": (
        lambda draw: (
            f"ssh-ed25519 {base64.b64encode(draw.randbytes(33)).decode()} {draw.choice(_NAMES).lower()}@host"
        ),
        _ANY,
    ),
}
