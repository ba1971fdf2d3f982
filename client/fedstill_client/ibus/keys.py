"""Keys as the typing logic knows them, made of the key symbols of X11 that IBus sends."""

from __future__ import annotations

import enum
import unicodedata
from dataclasses import dataclass, field


class KeyKind(enum.Enum):
    """What a key is for."""

    CHARACTER = enum.auto()  # a letter, a digit, a mark or the space
    BACKSPACE = enum.auto()
    TAB = enum.auto()
    ENTER = enum.auto()
    ESCAPE = enum.auto()
    UP = enum.auto()
    DOWN = enum.auto()
    MOVE = enum.auto()  # the cursor, elsewhere
    DELETE = enum.auto()
    CHOICE = enum.auto()  # of a place in the lookup table, by a key that types nothing
    DEAD = enum.auto()  # an accent, which the next letter takes
    COMPOSE = enum.auto()  # begins a sequence of keys that the app puts together
    MODIFIER = enum.auto()
    OTHER = enum.auto()


@dataclass(frozen=True)
class Key:
    """A key that was pressed.

    Attributes:
        kind: What it is for.
        character: What it types; of a dead key, the combining accent; of a choice, its digit.
        is_shortcut: Whether Ctrl, Alt or Super is held with it.
        symbol: The key symbol.
    """

    kind: KeyKind
    character: str = ""
    is_shortcut: bool = False
    symbol: int = field(default=0, compare=False)


# Bits of a key event's state (X11's masks, and IBus's own).
_CONTROL, _ALT, _MOD4 = 1 << 2, 1 << 3, 1 << 6
_SUPER, _HYPER, _META, _RELEASE = 1 << 26, 1 << 27, 1 << 28, 1 << 30
_SHORTCUT = _CONTROL | _ALT | _MOD4 | _SUPER | _HYPER | _META

_KINDS = {
    0xFF08: KeyKind.BACKSPACE,
    **dict.fromkeys((0xFF09, 0xFF89), KeyKind.TAB),
    **dict.fromkeys((0xFF0D, 0xFF8D, 0xFF0A), KeyKind.ENTER),
    0xFF1B: KeyKind.ESCAPE,
    **dict.fromkeys((0xFF52, 0xFF97), KeyKind.UP),
    **dict.fromkeys((0xFF54, 0xFF99), KeyKind.DOWN),
    # Home, Left, Right, Page Up, Page Down, End, Begin, and those of the number block.
    **dict.fromkeys((0xFF50, 0xFF51, 0xFF53, *range(0xFF55, 0xFF59)), KeyKind.MOVE),
    **dict.fromkeys((0xFF95, 0xFF96, 0xFF98, *range(0xFF9A, 0xFF9E)), KeyKind.MOVE),
    **dict.fromkeys((0xFFFF, 0xFF9F), KeyKind.DELETE),
    0xFF20: KeyKind.COMPOSE,
    **dict.fromkeys((*range(0xFFE1, 0xFFEF), 0xFF7E, 0xFF7F), KeyKind.MODIFIER),
    **dict.fromkeys(range(0xFE01, 0xFE14), KeyKind.MODIFIER),  # shifts and locks of levels and groups
}
_DEAD = {
    0xFE50: "\u0300",  # grave
    0xFE51: "\u0301",  # acute
    0xFE52: "\u0302",  # circumflex
    0xFE53: "\u0303",  # tilde
    0xFE54: "\u0304",  # macron
    0xFE55: "\u0306",  # breve
    0xFE56: "\u0307",  # dot above
    0xFE57: "\u0308",  # diaeresis
    0xFE58: "\u030a",  # ring above
    0xFE59: "\u030b",  # double acute
    0xFE5A: "\u030c",  # caron
    0xFE5B: "\u0327",  # cedilla
    0xFE5C: "\u0328",  # ogonek
    0xFE60: "\u0323",  # dot below
    0xFE61: "\u0309",  # hook
    0xFE62: "\u031b",  # horn
}
SPACING = dict(
    zip(
        "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327\u0328",
        "`´^~¯˘˙¨°˝ˇ¸˛",
        strict=True,
    )
)
"""How an accent stands by itself, where it does."""
_DEAD_SYMBOLS = range(0xFE50, 0xFEA0)
_ISO_LEFT_TAB = 0xFE20
_F_KEYS = range(0xFFBE, 0xFFC7)  # F1 to F9


def is_release(state: int) -> bool:
    """Whether a key event is that of a key that is let go."""
    return bool(state & _RELEASE)


def key_of(symbol: int, state: int, character: str) -> Key:
    """The key of an event.

    Args:
        symbol: The key symbol ("keyval").
        state: The modifiers that are held, as bits.
        character: What the symbol types; empty where it types nothing.
    """
    is_shortcut = bool(state & _SHORTCUT)
    kind = _KINDS.get(symbol)
    if kind is not None:
        return Key(kind, "", is_shortcut, symbol)
    if symbol in _F_KEYS:
        return Key(KeyKind.CHOICE, str(_F_KEYS.index(symbol) + 1), is_shortcut, symbol)
    if symbol in _DEAD_SYMBOLS:
        accent = _DEAD.get(symbol, "")
        return Key(KeyKind.DEAD if accent else KeyKind.COMPOSE, accent, is_shortcut, symbol)
    if symbol != _ISO_LEFT_TAB and character and not unicodedata.category(character).startswith("C"):
        return Key(KeyKind.CHARACTER, character, is_shortcut, symbol)
    return Key(KeyKind.OTHER, "", is_shortcut, symbol)
