"""Where somebody lives: a number with a street, as they are written in some languages; a post office box.

"12 Baker Street", "Lindenstraße 5a", "12, rue Victor Hugo", "calle Mayor 12", "via Roma 3", "Kerkstraat 7".
A street without a number is ordinary, and so is a number without a street, if it is short.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fedstill_proto.text.unlearned.parts import PrivatePart

_NUMBER = r"\d{1,5}(?:[ -]?[A-Za-z](?!\w))?(?:[-/]\d{1,4}(?:[A-Za-z](?!\w))?)?"
_W = r"[^\W\d_][\w'’.-]{0,30}"
_CAP = r"[A-ZÀ-ÖØ-ÞА-ЯŁŚŻŹĆŞİĞČŠŽŘ][\w'’.-]{0,30}"
_FEW = (
    r"years?|days?|hours?|minutes?|miles?|more|of|the|in|down|on|a|an|to|and|or|up|at|from|people|"
    r"times?|weeks?|months?|blocks?|cars?|is|are|was|per|for|off|out|high|main"
)
_FLAT = (
    r"(?:,? ?(?:apt|apartment|flat|unit|suite|app|wohnung|whg|appt|piso|int|"
    r"кв)\.? ?#?\d{1,4}[A-Za-z]?)?"
)
_ENGLISH_TYPES = (
    r"street|str|road|rd|avenue|ave|lane|ln|boulevard|blvd|terrace|crescent|parkway|pkwy|highway|hwy"
)
_ENGLISH_NAMED = (
    r"St|Drive|Dr|Court|Ct|Square|Sq|Place|Pl|Way|Close|Gardens|Row|Mews|Hill|Grove|Walk|"
    r"Circle|Cir|Trail|Park|View|Green"
)
_ARTICLES = (
    r"(?:(?:de la|de l['’]|de los|de las|del|della|dei|degli|delle|des|du|da|do|dos|de|d['’]|di|"
    r"l['’]|la|le|les|el|los|las|al|the) ?)"
)
_ENGLISH = (
    rf"(?<![\w.]){_NUMBER},? (?:[NSEW]\.? |(?:north|south|east|"
    rf"west) )?(?:(?!(?i:{_FEW})\b){_W} ){{1,3}}?(?i:{_ENGLISH_TYPES})\b\.?"
)
_ENGLISH_2 = rf"(?<![\w.]){_NUMBER},? (?:[NSEW]\.? )?(?:{_CAP} ){{1,3}}?(?:{_ENGLISH_NAMED})\b\.?"
_SUFFIXES = (
    r"straße|strasse|str\.|gasse|allee|chaussee|straat|laan|gracht|singel|steeg|gatan|vägen|gränd|gade|"
    r"gata|vej|"
    r"veien|vegen|katu|kuja|utca|weg|platz|ufer|damm|steig|plein|dijk|dreef|ntie"
)
_SUFFIXED = (
    rf"(?<!\w)[^\W\d_][\w.-]{{2,30}}?(?:{_SUFFIXES}) {_NUMBER}(?![\w:.,]\d|\s?(?:uhr|uur|km|min|prozent|"
    rf"%|€))"
)
_SUFFIXED_APART = (
    rf"(?<!\w)[^\W\d_][\w.-]{{2,30}}[ -](?:straße|strasse|str\.|platz|allee|weg|ring) {_NUMBER}(?!\w)"
)
_FRENCH = (
    r"(?<!\w)\d{1,4}(?: ?(?:bis|ter|quater))?,? (?i:rue|avenue|av\.|boulevard|bd|impasse|allée|quai|chemin) "
    rf"{_ARTICLES}{{0,3}}(?:{_CAP}(?:[ -]{_ARTICLES}?{_CAP}){{0,3}}|{_W}(?: {_W}(?=[,.]|\Z))?)"
)
_FRENCH_2 = (
    rf"(?<!\w)\d{{1,4}}(?: ?(?:bis|ter))?,? (?:place|route|cours|passage|"
    rf"square) {_ARTICLES}{{0,3}}{_CAP}(?:[ -]{_CAP}){{0,3}}"
)
_NUMBER_BEHIND = (
    r"(?<!\w)(?:(?:calle|avda|avenida|paseo|plaza|carrera|camino|ronda|rua|travessa|praça|alameda|viale|"
    r"piazza|corso|vicolo|"
    r"ulica|aleja|ulice|strada|bulevardul|улица|проспект|пр-т|переулок|вулиця|οδός|jalan) |(?:c/|avda\.|"
    r"ul\.|al\.|ул\.|пр\.|"
    rf"пер\.|вул\.|jl\.) ?){_ARTICLES}{{0,3}}{_W}(?: {_ARTICLES}?{_W}){{0,3}}?,? (?:n[.ºo°]{{1,2}} ?|"
    rf"nr\.? ?|numero |número |"
    rf"дом |д\. ?)?{_NUMBER}(?:,? ?(?:кв|apt|int|piso)\.? ?\d{{1,4}})?"
)
_ITALIAN = (
    rf"(?<!\w)(?:[Vv]ia|[Ll]argo|"
    rf"[Cc]orso) {_ARTICLES}{{0,2}}{_CAP}(?: {_ARTICLES}?{_CAP}){{0,3}},? (?:n[.°] ?)?{_NUMBER}"
)
_TURKISH = rf"(?<!\w){_W} (?:sokak|sokağı|caddesi|cad\.|bulvarı|mahallesi) (?:no: ?)?{_NUMBER}"
_BOX = (
    r"(?<!\w)(?:p\.? ?o\.? box|postfach|postbus|boîte postale|apartado(?: de correos)?|"
    r"casella postale) \d{1,6}"
)
_ALL = tuple(
    re.compile(form + _FLAT, flags)
    for form, flags in (
        (_ENGLISH, 0),
        (_ENGLISH_2, 0),
        (_SUFFIXED, re.IGNORECASE),
        (_SUFFIXED_APART, re.IGNORECASE),
        (_FRENCH, 0),
        (_FRENCH_2, 0),
        (_NUMBER_BEHIND, re.IGNORECASE),
        (_ITALIAN, 0),
        (_TURKISH, re.IGNORECASE),
        (_BOX, re.IGNORECASE),
    )
)
_DIGIT = re.compile(r"\d")


def private_places(text: str) -> Iterator[PrivatePart]:
    """The addresses of a text."""
    if not _DIGIT.search(text):
        return
    for pattern in _ALL:
        for match in pattern.finditer(text):
            yield PrivatePart(match.start(), match.end(), "address")
