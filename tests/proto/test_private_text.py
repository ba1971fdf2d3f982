"""What must not be learned of a text, and what must stay."""

from __future__ import annotations

import time

import pytest
from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.private_text import (
    LEFT_OUT,
    is_private_word,
    learnable,
    private_parts,
    without_words,
)
from fedstill_proto.text.unlearned.identifiers import passes_iban_check
from fedstill_proto.text.unlearned.numbers import passes_luhn
from fedstill_proto.text.unlearned.shapes import secret_shape, surprise

from benchmarks.planted_secrets import planted_secrets

SECRETS = {
    "H23, numbers": (
        "my pin is [4821]",
        "pin: [48 21]",
        "pin=[4821]",
        "code [4 8 2 1]",
        "it cost [4,821] and [4.821] and [4'821]",
        "call [+49 170 1234567] or [(0170) 123-4567]",
        "sort code [12-34-56]",
        "my pin is [four] [eight] [two] [one]",
        "born [12.05.1984]",
        "[４８２１] it is",
        "मेरा पिन [४८२१]",
        "الرمز [٤٨٢١]",
        "pin [4\u200b8\u200b2\u200b1]",
        "the code is [482]",
        "[PIN4821]",
    ),
    "H23, passwords": (
        "password [hunter2xQ]",
        "my password is [sunshine] and I love it",
        "[sunshine] is my password",
        "wifi password is ['BlueHorse']",
        "Passwort: [geheim123]",
        "das Kennwort lautet [Apfel]",
        "le mot de passe est [soleil]",
        "mi contraseña es [caballo]",
        "mijn wachtwoord is [zonneschijn]",
        "moje hasło to [krowa]",
        "пароль [яблоко]",
        "密码是 [hunter2]",
        "password [correct-horse-battery-staple]",
        "try [Tr0ub4dor&3] or [P@ssw0rd] or [pa$$word]",
        "[a1b2c3d4] [xkqvzwtrp] [QmZkLpWx]",
        "I use [zO89;{mCa;2MH@] and [wky*f%I-VQ] there",
        "password [loZ=_hXU] ok",
        "seed phrase: [witch] [collapse] [practice] [feed] [shame] [open]",
    ),
    "cards, accounts and keys": (
        "card [4111 1111 1111 1111] exp [12/27] cvv [123]",
        "IBAN [GB29 NWBK 6016 1331 9268 19] thanks",
        "[de89370400440532013000]",
        "[sk-abcdefghijklmnopqrstuvwx]",
        "token: [abcdefghij]",
        "[eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.abc]",
        "[aGVsbG8gd29ybGQhIQ==]",
        "[550e8400-e29b-41d4-a716-446655440000]",
        "[W269N-WFGWX-YVC9B-4J6C9-T83GX]",
        "[0x52908400098527886E0F7030069857D2E4169EE7]",
        "backup codes: [abcd-efgh] [ijkl-mnop]",
        "[ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGx me@home] ok",
        "[RSSMRA85T10A562S]",
    ),
    "addresses": (
        "mail [anna.smith@example.com] now",
        "[anna (at) example.de]",
        "I live at [221B Baker Street] now",
        "in [Lindenstraße 5a]",
        "[12, rue Victor Hugo], Paris",
        "[calle Mayor 12] en Madrid",
        "op [Prinsengracht 263-267]",
        "[via Garibaldi, 12]",
        "[10 Downing Street] [SW1A 2AA]",
        "plate [B-MW 123] and [AB12 CDE]",
        "[192.168.0.1] [00:1a:2b:3c:4d:5e]",
        "[https://user:pw@host.example/x] [https://x.example/?token=abc]",
        "username [jsmith99], my username's [jsmith]",
    ),
}
ORDINARY = (
    "the password is wrong, try again",
    "what is the password for the router?",
    "I forgot my password",
    "the code is broken and the key is under the mat",
    "mein Passwort ist falsch",
    "user12 I bought an iPhone15 and mp3 h264 at 3pm, 2nd covid19 ps5",
    "10:30 24/7 19.99 10-15 the 1990s 1080p",
    "COVID-19 B2B 4x4 50%off 1st R2D2 C3PO AC/DC",
    "WiFi LaTeX GitHub OpenOffice McDonald MySQL YouTube",
    "bcm43xx wlan0 x86_64 i386 ctrl+alt+F1",
    "Schifffahrtsgesellschaft Rechtsschutzversicherungsgesellschaften Angstschweiß",
    "hahaha hmmmmm aaaaaaaah zzzzzzzz rhythm strengths",
    "Flugzeug Aufmerksamkeit neighborhood przypadku nejvýznamnější yhdysvaltain büyükşehir",
    "we walked down Baker Street for 20 minutes",
    "3 cups of tea on the road",
    "http://example.org/docs",
    "it was Room 101 in building 5",
    "I'll ping you at half past 9, o'er and out; to-morrow's",
)


@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_are_left_out_and_the_words_around_stay(kind: str) -> None:
    for marked in SECRETS[kind]:
        text = marked.replace("[", "").replace("]", "")
        pieces = [piece.partition("]") for piece in marked.split("[")]
        kept = "".join(f"{LEFT_OUT}{after}" if bracket else before for before, bracket, after in pieces)
        assert learnable(text).text.split() == kept.split(), marked


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays(text: str) -> None:
    assert learnable(text).text == text
    assert private_parts(text) == ()


def test_parts_say_where_and_why() -> None:
    (part,) = private_parts("my pin is 4821!")
    assert (part.begin, part.end, part.reason) == (10, 14, "number")
    assert learnable("card 4111111111111111, pin 12345").reasons == {"card": 1, "number": 1}
    assert is_private_word("hunter2xQ")
    assert not is_private_word("hunter")


def test_what_was_left_out_once_stays_so() -> None:
    for planted in planted_secrets(200, seed=3):
        once = learnable(planted.sentence).text
        assert learnable(once).text == once


def test_check_digits() -> None:
    assert passes_luhn("4111111111111111")
    assert not passes_luhn("4111111111111112")
    assert passes_iban_check("GB29NWBK60161331926819")
    assert not passes_iban_check("GB28NWBK60161331926819")


def test_letters_that_no_language_puts_together() -> None:
    assert surprise("the") < 3 < 4.5 < surprise("xkqvzw")
    assert surprise("слово") == surprise("x") == 0
    assert secret_shape("hunter2xQ") == "password"
    assert secret_shape("user12") is None


def test_words_are_taken_out_of_a_text() -> None:
    found: set[str] = set()
    assert without_words("Damn it, DAMN! damned", {"damn", "other"}, found=found) == (
        f"{LEFT_OUT} it, {LEFT_OUT}! damned"
    )
    assert found == {"damn"}
    assert without_words("as it is", set()) == "as it is"


@pytest.mark.parametrize(
    "piece",
    [
        *("1", "1 ", "a1", "@", "a@", "1-", "12 ", "password ", "password is ", "(", "12 a ", "calle "),
        *("1 a a a a ", "a.b", "aa:", "GB82 ", "W", "http://a/", "-----BEGIN A-----", "1 rue de la ", "é1"),
        *(
            "1, 2, ",
            'password "',
            "Aa1!",
            "abc-",
            "a_",
            "1a.",
            LEFT_OUT,
            "a-",
            "a b street ",
            "\u200b4",
            "密码",
        ),
    ],
)
def test_hostile_texts_take_no_time(piece: str) -> None:
    text = (piece * 100_000)[:100_000]
    started = time.process_time()
    learnable(text)
    assert time.process_time() - started < 5.0
    with pytest.raises(InvalidValue, match="100001 characters"):
        learnable(text + "x")
