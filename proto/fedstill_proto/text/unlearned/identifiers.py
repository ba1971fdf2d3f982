"""What has the form of an identifier: e-mail, secret links, IBANs, keys, UUIDs, MAC and IP addresses, plates.

Forms are those of ISO 13616 (IBAN), RFC 9562 (UUID), RFC 4716 and OpenSSH (keys), BIP 173 (wallets), and of
number plates, postcodes and national numbers of some countries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fedstill_proto.text.unlearned.parts import PrivatePart, word_set
from fedstill_proto.text.unlearned.shapes import secret_shape

_IBAN = re.compile(r"(?<![^\W_])[A-Za-z]{2}\d{2}(?:[ \u00a0-]?[A-Za-z0-9]){11,30}", re.ASCII)
_IBAN_LENGTHS = {
    entry[:2]: int(entry[2:])
    for entry in word_set(
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 "
        "EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 "
        "IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 "
        "NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 "
        "SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
    )
}
_LEAST_IBAN_DIGITS = 8  # of what is one by its form
_FORMS = (
    ("e-mail", r"(?<![\w.%+-])[\w.%+-]{1,64}+(?:@|\s?[(\[](?:at|AT)[)\]]\s?)(?:[^\W_]|"
        r"-){1,63}+(?:\.(?:[^\W_]|-){1,63}+){0,8}"),
    ("e-mail", r"(?<![^\W_])[^\W\d_]{1,30}[\d._+-][\w.+-]{0,64}+ (?:at|AT|chez|"
        r"arroba) [\w-]{2,63}+ (?:dot|DOT|punkt|point|punto|punt) (?:com|org|net|de|fr|es|nl|uk|io|eu)\b"),
    ("key", r"(?<![\w+/=-])[\w+/-]{15,}+={1,2}(?![\w=])"),
    ("key", r"-----BEGIN [A-Z0-9 ]{1,40}-----[\s\S]*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)"),
    ("key", r"\b(?:ssh-(?:rsa|dss|ed25519)|ecdsa-sha2-nistp\d{3}|"
        r"sk-ssh-ed25519@openssh\.com)[ \t]+[\w+/=]{8,}+(?:[ \t]+\S+@\S+)?"),
    ("key", r"\b(?:SHA256:[\w+/=]{20,}+|MD5(?::[0-9a-fA-F]{2}){16})"),
    (
        "key",
        r"(?<![^\W_])(?:sk|pk|rk|whsec|ghp|gho|ghu|ghs|ghr|github_pat|glpat|gldt|xox[abeoprs]|npm|hf|"
        r"dop_v1|shpat|"
        r"pypi|sq0\w{3}|rzp|AGE-SECRET-KEY)[-_](?:\w{16,}+|(?=[\w-]{0,40}\d)[\w-]{16,}+)|\b(?:AKIA|ASIA|AROA|AIza|"
        r"ya29\.|SG\.|eyJ)[\w.+/=-]{12,}+",
    ),
    ("UUID", r"(?<![0-9a-fA-F])[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}(?![0-9a-fA-F])"),
    ("hardware address", r"(?<![0-9a-fA-F:.-])(?:[0-9a-fA-F]{2}([:-])(?:[0-9a-fA-F]{2}\1)"
        r"{4}[0-9a-fA-F]{2}|(?:[0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4})(?![0-9a-fA-F])"),
    ("network address", r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?:[:/]\d{1,5})?(?![\d.]\d)"),
    ("network address", r"(?<![\w:])(?=[0-9a-fA-F:]{0,40}[0-9])(?:[0-9a-fA-F]{1,4}:{1,2})"
        r"{2,7}(?:[0-9a-fA-F]{1,4})?(?:%\w{1,15})?(?:/\d{1,3})?(?![\w:])"),
    ("wallet", r"\b(?:bc1|tb1|ltc1|addr1|cosmos1)[0-9a-z]{20,}+|"
        r"\b[13LMDXr][1-9A-HJ-NP-Za-km-z]{25,34}+\b|\b0x[0-9a-fA-F]{8,}+"),
    ("number plate", r"(?<![\w-])[A-ZÄÖÜ]{1,3}-[A-Z]{1,2}[ -]?\d{1,4}[EH]?(?!\w)"),
    ("number plate", r"(?<![\w-])(?:[A-Z]{2}\d{2} ?[A-Z]{3}|[a-z]{2}\d{2} ?[a-z]{3}|"
        r"[A-Z]{2}[- ]?\d{3}[- ]?[A-Z]{2}|[a-z]{2}-\d{3}-[a-z]{2}|\d[A-Z]{3}\d{3}|"
        r"[A-Z]{3}[- ]\d{3,4})(?![\w-])"),
    ("number plate", r"(?<![\w-])(?=[A-Za-z-]{0,6}\d)(?:[A-Za-z]{1,3}|\d{1,3})-(?:\d{2,3}|"
        r"[A-Za-z]{2,3})-(?:\d{1,2}|[A-Za-z]{1,2})(?![\w-])"),
    ("national number", r"(?<![^\W_])"
        r"[A-Za-z]{2}"
        r" ?\d{2} ?\d{2} ?\d{2} ?[A-Da-d](?![^\W_])"),
    ("postcode", r"(?<![\w.-])(?:[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|[a-z]{1,2}\d[a-z\d]? \d[a-z]{2}|"
        r"[A-Z]\d[A-Z][ -]?\d[A-Z]\d|[a-z]\d[a-z] \d[a-z]\d|[1-9]\d{3} ?[A-Z]{2})(?![\w-])"),
)  # fmt: skip
_PATTERNS = tuple((reason, re.compile(form)) for reason, form in _FORMS)
# What stands in whatever has the form: others are not looked for.
_SIGNS = {
    "e-mail": "@ (at [at (AT [AT dot DOT punkt point punto punt",
    "UUID": "-",
    "hardware address": ": - .",
}
_NEEDED = {reason: tuple(signs.split()) for reason, signs in _SIGNS.items()}
_WITH_DIGITS = frozenset({"number plate", "national number", "postcode", "network address", "UUID", "wallet"})
_DIGIT = re.compile(r"\d")
_LINK = re.compile(r"(?i:\b[a-z][a-z0-9+.-]{1,15}://|\bwww\.)[^\s<>\"«»“”]{1,4000}+")
_MAY_HOLD = re.compile(
    r"[\d@]|-----|://|www\.|[(\[]at[)\]]|ssh-|[-_]\w{16}|eyJ|AIza|AKIA|bc1|[0-9a-fA-F]:[0-9a-fA-F]",
    re.IGNORECASE,
)
_PART_OF_LINK = re.compile(r"[^/?#&=:.,;@]+")


def private_identifiers(text: str) -> Iterator[PrivatePart]:
    """The parts of a text that have the form of an identifier."""
    if not _MAY_HOLD.search(text):
        return
    for match in _LINK.finditer(text):
        if _is_secret_link(match.group()):
            yield PrivatePart(match.start(), match.end(), "link")
    for match in _IBAN.finditer(text):
        end = _end_of_iban(text, match.start(), match.end())
        if end:
            yield PrivatePart(match.start(), end, "IBAN")
    has_digit = _DIGIT.search(text) is not None
    for reason, pattern in _PATTERNS:
        needed = _NEEDED.get(reason)
        if (reason in _WITH_DIGITS and not has_digit) or (
            needed and not any(sign in text for sign in needed)
        ):
            continue
        for match in pattern.finditer(text):
            yield PrivatePart(match.start(), match.end(), reason)


def passes_iban_check(iban: str) -> bool:
    """Whether the check digits of an IBAN without spaces are right (ISO 7064, modulo 97 of 10)."""
    return int("".join(str(int(sign, 36)) for sign in iban[4:] + iban[:4])) % 97 == 1


def _end_of_iban(text: str, begin: int, end: int) -> int:
    """Where the IBAN ends that a text begins with, by its country's length; 0 where it is none."""
    length = _IBAN_LENGTHS.get(text[begin : begin + 2].upper(), 0)
    signs = [place for place in range(begin, end) if text[place].isalnum()][:length]
    if not length or len(signs) < length or text[signs[-1] + 1 : signs[-1] + 2].isalnum():
        return 0
    iban = "".join(text[place] for place in signs).upper()
    by_form = sum(map(str.isdigit, iban)) >= _LEAST_IBAN_DIGITS
    return signs[-1] + 1 if by_form or passes_iban_check(iban) else 0


def _is_secret_link(link: str) -> bool:
    """Whether a link names a person, asks with values, or holds what looks like a key."""
    _, _, rest = link.partition("://")
    rest = rest or link
    host, _, path = rest.partition("/")
    if "@" in host or "?" in rest or "@" in path:
        return True
    return any(
        secret_shape(part.group()) or re.search(r"\d{4}", part.group())
        for part in _PART_OF_LINK.finditer(path)
    )
