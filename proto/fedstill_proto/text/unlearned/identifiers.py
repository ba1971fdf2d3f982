"""What has the form of an identifier: e-mail, secret links, IBANs, keys, UUIDs, MAC and IP addresses, plates.

Forms are those of ISO 13616 (IBAN), RFC 9562 (UUID), RFC 4716 and OpenSSH (keys), BIP 173 (wallets), and of
number plates, postcodes and national numbers of some countries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fedstill_proto.text.unlearned.parts import PrivatePart, word_set
from fedstill_proto.text.unlearned.shapes import secret_shape

_IBAN = re.compile(r"(?<![^\W_])([A-Za-z]{2})(\d{2})((?:[ \u00a0-]?[A-Za-z0-9]){10,30}+)", re.ASCII)
_IBAN_GROUPED = re.compile(
    r"(?<![^\W_])[A-Za-z]{2}\d{2}(?:[ \u00a0-][A-Za-z0-9]{4}){2,7}(?:[ \u00a0-][A-Za-z0-9]{1,4})?(?![^\W_])"
)
_IBAN_COUNTRIES = word_set(
    "AD AE AL AT AZ BA BE BG BH BR BY CH CR CY CZ DE DJ DK DO EE EG ES FI FK FO FR GB GE GI GL GR GT "
    "HR HU IE IL IQ IS IT JO KW KZ LB LC LI LT LU LV LY MC MD ME MK MN MR MT MU NI NL NO OM PK PL PS "
    "PT QA RO RS RU SA SC SD SE SI SK SM SO ST SV TL TN TR UA VA VG XK YE"
)
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
        r"pypi|sq0\w{3}|rzp|key|tok|token|AGE-SECRET-KEY)[-_][\w-]{16,}+|\b(?:AKIA|ASIA|AROA|AIza|"
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
    ("number plate", r"(?<![\w-])(?:[A-Za-z]{2}|[A-Za-z]{1,3}|\d{1,3})-(?:\d{2,3}|"
        r"[A-Za-z]{2,3})-(?:\d{1,2}|[A-Za-z]{1,2})(?![\w-])(?<=[\d-]..|.[\d-].)"),
    ("national number", r"(?<![^\W_])"
        r"[A-CEGHJ-PR-TW-Za-ceghj-pr-tw-z][A-CEGHJ-NPR-TW-Za-ceghj-npr-tw-z]"
        r" ?\d{2} ?\d{2} ?\d{2} ?[A-Da-d](?![^\W_])"),
    ("postcode", r"(?<![\w.-])(?:[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|[a-z]{1,2}\d[a-z\d]? \d[a-z]{2}|"
        r"[A-Z]\d[A-Z][ -]?\d[A-Z]\d|[a-z]\d[a-z] \d[a-z]\d|[1-9]\d{3} ?[A-Z]{2})(?![\w-])"),
)  # fmt: skip
_PATTERNS = tuple((reason, re.compile(form)) for reason, form in _FORMS)
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
    for match in _IBAN_GROUPED.finditer(text):
        if _is_iban(match.group(), by_shape=True):
            yield PrivatePart(match.start(), match.end(), "IBAN")
    for match in _IBAN.finditer(text):
        for length in (len(match.group()), *_word_ends(match.group())):
            if _is_iban(match.group()[:length], by_shape=False):
                yield PrivatePart(match.start(), match.start() + length, "IBAN")
                break
    for reason, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            yield PrivatePart(match.start(), match.end(), reason)


def passes_iban_check(iban: str) -> bool:
    """Whether the check digits of an IBAN without spaces are right (ISO 7064, modulo 97 of 10)."""
    return int("".join(str(int(sign, 36)) for sign in iban[4:] + iban[:4])) % 97 == 1


def _is_iban(written: str, *, by_shape: bool) -> bool:
    iban = re.sub(r"[ \u00a0-]", "", written).upper()
    if iban[:2] not in _IBAN_COUNTRIES or not 14 <= len(iban) <= 34:
        return False
    return (by_shape and sum(map(str.isdigit, iban)) >= 8) or passes_iban_check(iban)


def _word_ends(written: str) -> list[int]:
    """The places of spaces, the last first: words may follow on an IBAN."""
    return [place for place in range(len(written) - 1, 13, -1) if not written[place].isalnum()]


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
