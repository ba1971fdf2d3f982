"""Which fields are written in: where somebody types words, and the keyboard may suggest and learn.

The numbers are those of IBus's InputPurpose and InputHints, which desktops take from GTK's and Wayland's.
"""

from __future__ import annotations

from dataclasses import dataclass

FREE_FORM, ALPHA, DIGITS, NUMBER, PHONE, URL, EMAIL, NAME, PASSWORD, PIN, TERMINAL = range(11)
PRIVATE = 1 << 11
HIDDEN_TEXT = 1 << 12  # of newer versions of IBus
# In all others are numbers, addresses, secrets, or (in a terminal) commands and passwords that nothing marks.
_WRITTEN_IN = frozenset({FREE_FORM, ALPHA, NAME})


@dataclass(frozen=True)
class Field:
    """What an app says of the field that has the focus."""

    purpose: int = FREE_FORM
    hints: int = 0

    @property
    def is_written_in(self) -> bool:
        """Whether words are suggested, and what is typed is learned; every key passes elsewhere."""
        return self.purpose in _WRITTEN_IN and not self.hints & (PRIVATE | HIDDEN_TEXT)
