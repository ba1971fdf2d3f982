"""Codes of languages as BCP 47 writes them (RFC 5646): en, pt-BR, zh-Hant, fil.

Of the registry those with two letters are known here, and those with three that keyboards have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from fedstill_proto.errors import InvalidValue


def _words(text: str) -> Iterable[str]:
    return text.split()


_TWO_LETTERS = frozenset(
    _words("""
    aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de
    dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id
    ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu
    lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu
    rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to
    tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
    """)
)
_THREE_LETTERS = frozenset(
    _words("""
    ast bar bho ceb chr ckb csb dsb fil frp fur gsw haw hil hmn hsb ilo kab kok ksh lad lij lmo lzh mai
    mni nan nap nds new nso pap pms rom sah sat scn sco sgs smj sma srn syr szl tpi tzm vec vls war wuu
    yue zgh
    """)
)
# What people write instead: names of languages, and codes of three letters where one of two is right.
_MEANT = {
    **dict.fromkeys(("eng", "english"), "en"),
    **dict.fromkeys(("deu", "ger", "german", "deutsch"), "de"),
    **dict.fromkeys(("fra", "fre", "french", "francais", "français"), "fr"),
    **dict.fromkeys(("spa", "spanish", "espanol", "español"), "es"),
    **dict.fromkeys(("nld", "dut", "dutch", "nederlands"), "nl"),
    **dict.fromkeys(("ita", "italian", "italiano"), "it"),
    **dict.fromkeys(("por", "portuguese", "portugues", "português"), "pt"),
    **dict.fromkeys(("rus", "russian"), "ru"),
    **dict.fromkeys(("pol", "polish", "polski"), "pl"),
    **dict.fromkeys(("swe", "swedish", "svenska"), "sv"),
    **dict.fromkeys(("dan", "danish", "dansk", "dk"), "da"),
    **dict.fromkeys(("nor", "norwegian", "norsk"), "nb"),
    **dict.fromkeys(("fin", "finnish", "suomi"), "fi"),
    **dict.fromkeys(("tur", "turkish"), "tr"),
    **dict.fromkeys(("ukr", "ukrainian", "ua"), "uk"),
    **dict.fromkeys(("ces", "cze", "czech", "cz"), "cs"),
    **dict.fromkeys(("ell", "gre", "greek", "gr"), "el"),
    **dict.fromkeys(("ara", "arabic"), "ar"),
    **dict.fromkeys(("hin", "hindi"), "hi"),
    **dict.fromkeys(("jpn", "japanese", "jp"), "ja"),
    **dict.fromkeys(("kor", "korean"), "ko"),
    **dict.fromkeys(("zho", "chi", "chinese", "cn"), "zh"),
}
_FORM = re.compile(
    r"(?P<language>[A-Za-z]{2,3})(?:-(?P<script>[A-Za-z]{4}))?(?:-(?P<region>[A-Za-z]{2}|\d{3}))?"
    r"(?P<variants>(?:-(?:[A-Za-z0-9]{5,8}|\d[A-Za-z0-9]{3}))*)"
)


def language_code(name: str) -> str:
    """The code in its usual capitals: "PT-br" is pt-BR, and "en_GB" en-GB; raises InvalidValue for none."""
    match = _FORM.fullmatch(name.replace("_", "-"))
    language = match["language"].lower() if match else ""
    if match is None or language not in _TWO_LETTERS | _THREE_LETTERS or language in _MEANT:
        raise InvalidValue("language", f"{name!r:.60} is no code of a language{_hint(name)}")
    script, region = match["script"], match["region"]
    return "-".join(
        [
            language,
            *([script.title()] if script else []),
            *([region.upper()] if region else []),
            *match["variants"].lower().split("-")[1:],
        ]
    )


def is_language_code(name: str) -> bool:
    """Whether `language_code` takes it."""
    try:
        language_code(name)
    except InvalidValue:
        return False
    return True


def primary(code: str) -> str:
    """The language alone: pt of pt-BR."""
    return code.partition("-")[0]


def _hint(name: str) -> str:
    usual = " (BCP 47, such as en, de or pt-BR)"
    plain = name.casefold()
    near = get_close_matches(plain, [*_MEANT, *_TWO_LETTERS], n=1, cutoff=0.75)
    meant = _MEANT.get(plain) or _MEANT.get(plain.replace("_", "-").partition("-")[0])
    if meant is None and near and len(plain) > len("xx"):
        meant = _MEANT.get(near[0])
    return f"{usual}; is {meant} meant?" if meant else usual
