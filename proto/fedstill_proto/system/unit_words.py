"""Words of a systemd unit: quoted, so that a path with blanks, '%' or '$' stays what it is.

See systemd.syntax(7) and systemd.unit(5), "Specifiers".
"""

from __future__ import annotations

import re

from fedstill_proto.errors import InvalidValue

_PLAIN = re.compile(r"[A-Za-z0-9_@:./+=,%-]+", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,255}", re.ASCII)


def unit_text(field: str, value: object) -> str:
    """Text to the end of a line, such as a description: '%' doubled, since systemd puts names in its place.

    Args:
        field: What it is, for the error.
        value: The text.

    Raises:
        InvalidValue: It holds a line break or another sign that cannot be printed.
    """
    text = str(value)
    if not text.isprintable():
        raise InvalidValue(field, f"{text!r} holds signs that a unit cannot; rename it")
    return text.replace("%", "%%")


def unit_path(field: str, path: object) -> str:
    """One of the paths in a list of them, quoted where it must be; arguments and errors are as above."""
    text = unit_text(field, path)
    if _PLAIN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unit_argument(field: str, value: object) -> str:
    """A word of a command line, in which '$' is doubled, too; arguments and errors are as above."""
    return unit_path(field, value).replace("$", "$$")


def unit_user(field: str, name: str) -> str:
    """The name or number of a user; arguments and errors are as above."""
    if not _USER.fullmatch(name):
        raise InvalidValue(field, f"{name!r} is no user's name")
    return name
