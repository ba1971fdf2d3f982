"""Colours by name in English, German, French, Spanish and Dutch: what they are called, and how they shine."""

from __future__ import annotations

from dataclasses import dataclass

from fedstill_proto.text.spoken_numbers import folded


@dataclass(frozen=True)
class Color:
    """A colour: its English name in CSS or of a white light, and its red, green and blue as "#rrggbb"."""

    name: str
    hex: str


# name, hex: words of it, folded, with * where German, French, Spanish and Dutch inflect
_COLORS = {
    ("white", "#ffffff"): "white weiss* blanc blanche blanco blanca wit witte",
    ("black", "#000000"): "black schwarz* noir noire negro negra zwart zwarte",
    ("gray", "#808080"): "gray grey grau* gris grijs grijze",
    ("red", "#ff0000"): "red rot* rouge rojo roja rood rode",
    ("orange", "#ffa500"): "orange orang* naranja anaranjado anaranjada oranje",
    ("yellow", "#ffff00"): "yellow gelb* jaune amarillo amarilla geel gele",
    ("green", "#008000"): "green grun* gruen* vert verte verde groen groene",
    ("blue", "#0000ff"): "blue blau* bleu bleue azul blauw blauwe",
    ("purple", "#800080"): "purple lila violett* pourpre morado morada purpura paars paarse",
    ("violet", "#ee82ee"): "violet violette violeta",
    ("brown", "#a52a2a"): "brown braun* marron brun brune cafe bruin bruine",
    ("pink", "#ffc0cb"): "pink rosa rosafarben* rose rosado rosada roze",
    ("turquoise", "#40e0d0"): "turquoise turkis* tuerkis* turquesa turkoois turquoise",
    ("cyan", "#00ffff"): "cyan cian cyaan",
    ("magenta", "#ff00ff"): "magenta fuchsia fucsia",
    ("gold", "#ffd700"): "gold golden gold* dore doree dorado dorada goud gouden",
    ("lime", "#00ff00"): "lime limettengrun limoengroen",
    ("beige", "#f5f5dc"): "beige",
    ("crimson", "#dc143c"): "crimson purpurrot* cramoisi carmesi karmijn",
    ("navy", "#000080"): "navy marineblau* marineblauw marine",
    ("lightblue", "#add8e6"): "lightblue hellblau* lichtblauw lichtblauwe celeste",
    ("darkblue", "#00008b"): "darkblue dunkelblau* donkerblauw donkerblauwe",
    ("lightgreen", "#90ee90"): "lightgreen hellgrun* lichtgroen",
    ("darkgreen", "#006400"): "darkgreen dunkelgrun* donkergroen",
    ("warm white", "#ffd6aa"): "warmweiss* warmwit",
    ("cold white", "#e1ecff"): "kaltweiss* koudwit koelwit",
    ("daylight", "#fffaf0"): "daylight tageslicht* daglicht",
    ("candle light", "#ff9329"): "candlelight kerzenlicht kerzenschein kaarslicht",
}
_PAIRS = {
    "warm white": "warm white|warmes weiss|blanc chaud|blanco calido|blanca calida|warm wit",
    "cold white": "cold white|cool white|kaltes weiss|blanc froid|blanco frio|blanca fria|koud wit|koel wit",
    "daylight": "day light|lumiere du jour|luz del dia|luz de dia",
    "candle light": "candle light|lumiere de bougie|luz de vela|luz de velas",
    "lightblue": "light blue|bleu clair|azul claro",
    "darkblue": "dark blue|bleu fonce|azul oscuro",
    "lightgreen": "light green|vert clair|verde claro",
    "darkgreen": "dark green|vert fonce|verde oscuro",
}
_ENDINGS = ("", "e", "er", "es", "en", "em")


def _words() -> dict[tuple[str, ...], Color]:
    known: dict[tuple[str, ...], Color] = {}
    for (name, code), words in _COLORS.items():
        for word in words.split():
            forms = [word[:-1] + end for end in _ENDINGS] if word.endswith("*") else [word, f"{word}s"]
            for form in forms:
                known.setdefault((form,), Color(name, code))
    codes = dict(_COLORS.keys())
    for name, phrases in _PAIRS.items():
        known |= {tuple(phrase.split()): Color(name, codes[name]) for phrase in phrases.split("|")}
    return known


_KNOWN = _words()
MOST_COLOR_WORDS = max(map(len, _KNOWN))


def color_of_words(words: tuple[str, ...]) -> Color | None:
    """The colour that words, each folded, are the name of."""
    return _KNOWN.get(words)


def color_named(text: str) -> Color | None:
    """The colour of a name as it is said, with capitals and accents; None where there is none."""
    return _KNOWN.get(tuple(folded(text).replace("-", " ").replace("'", " ").split()))
