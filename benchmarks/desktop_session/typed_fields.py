"""A window of text fields, and IBus's panel beside it, which shows nothing and tells what it would.

    python -m benchmarks.desktop_session.typed_fields

Commands come on stdin, a line each, and are answered by a line of JSON: "look" tells what stands in the
fields and in the panel, "focus NAME" moves the focus, "put NAME TEXT" has a field hold a text (with
_ for a space), "clear" empties the fields, "click N" clicks at a place
of the lookup table, and "quit" ends.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from fedstill_client.ibus.bindings import load_bindings

_SEEN_BY_IBUS = 3 << 24  # bits of the state of a key event that IBus gives back to the app
_DIRECTIONS = "\u202a\u202b\u202c\u2066\u2067\u2068\u2069"  # signs around a candidate that say how it runs
PURPOSES = {
    "line": "FREE_FORM",
    "page": "FREE_FORM",
    "password": "PASSWORD",
    "pin": "PIN",
    "hidden": "FREE_FORM",
    "mail": "EMAIL",
}


class KeyTiming:
    """How long after the last key the widget answered, and the lookup table changed last, in milliseconds."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}
        self._pressed = 0.0

    def press(self) -> None:
        """A key comes to the program."""
        self._pressed = time.perf_counter()
        self.told |= {"key_ms": None, "table_ms": None}

    def answer(self, *_: Any) -> None:
        """The text of the widget, or its preedit, changes."""
        if self._pressed and self.told["key_ms"] is None:
            self.told["key_ms"] = 1e3 * (time.perf_counter() - self._pressed)

    def preedit(self, field: Any, text: str) -> None:
        """The preedit of a widget changes."""
        self.told["preedit"] = text
        self.answer()

    def table(self) -> None:
        """The lookup table changes."""
        self.told["updates"] += 1
        if self._pressed:
            self.told["table_ms"] = 1e3 * (time.perf_counter() - self._pressed)


def recording_panel(ibus: Any, bus: Any, timing: KeyTiming) -> tuple[Any, dict[str, Any]]:
    """IBus's panel, and what it was told last."""
    told: dict[str, Any] = {
        "table": [],
        "cursor": None,
        "note": "",
        "preedit": "",
        "updates": 0,
        "key_ms": None,
        "table_ms": None,
    }
    timing.told = told

    class Panel(ibus.PanelService):  # type: ignore[misc]
        __gtype_name__ = "RecordingPanel"

        def do_update_lookup_table(self, table: Any, visible: bool) -> None:
            count = table.get_number_of_candidates() if visible else 0
            found = (table.get_candidate(place).get_text() for place in range(count))
            told["table"] = [text.strip(_DIRECTIONS) for text in found]
            told["cursor"] = table.get_cursor_pos() if count and table.is_cursor_visible() else None
            timing.table()

        def do_hide_lookup_table(self) -> None:
            told["table"], told["cursor"] = [], None
            timing.table()

        def do_update_auxiliary_text(self, text: Any, visible: bool) -> None:
            told["note"] = text.get_text() if visible else ""

        def do_hide_auxiliary_text(self) -> None:
            told["note"] = ""

    panel = Panel(connection=bus.get_connection(), object_path=ibus.PATH_PANEL)
    bus.request_name(ibus.SERVICE_PANEL, 0)
    return panel, told


class Fields:
    """The window."""

    def __init__(self, gtk: Any) -> None:
        self._fields: dict[str, Any] = {}
        self.window = gtk.Window(title="typed fields")
        self.window.set_default_size(600, 420)
        box = gtk.Box(orientation=gtk.Orientation.VERTICAL, spacing=8)
        self.window.add(box)
        for name, purpose in PURPOSES.items():
            made = gtk.TextView() if name == "page" else gtk.Entry()
            made.set_input_purpose(getattr(gtk.InputPurpose, purpose))
            if name in ("password", "hidden"):
                made.set_visibility(False)
            self._fields[name] = made
            box.pack_start(made, name == "page", True, 0)

    def texts(self) -> dict[str, str]:
        """What stands in each field, without a preedit."""
        texts = {name: str(made.get_text()) for name, made in self._fields.items() if name != "page"}
        buffer = self._fields["page"].get_buffer()
        return texts | {"page": str(buffer.get_text(*buffer.get_bounds(), False))}

    def focus(self, name: str) -> None:
        """Move the focus; the cursor stands behind what is there."""
        self._fields[name].grab_focus()
        if name != "page":
            self._fields[name].set_position(-1)

    def time(self, gdk: Any, gtk: Any, timing: KeyTiming) -> None:
        """Have all keys timed, from when they come from the screen: IBus takes them before any widget."""

        def on_event(event: Any) -> None:
            if event.type == gdk.EventType.KEY_PRESS and not event.key.state & _SEEN_BY_IBUS:
                timing.press()
            gtk.main_do_event(event)

        gdk.event_handler_set(on_event)
        for name, made in self._fields.items():
            made.connect("preedit-changed", timing.preedit)
            made.get_buffer().connect("changed" if name == "page" else "notify::text", timing.answer)

    def put(self, name: str, text: str) -> None:
        """Have a field hold a text, as an app does that opens a file."""
        self._fields[name].set_text(text)

    def clear(self) -> None:
        """Empty all fields."""
        for name, made in self._fields.items():
            made.get_buffer().set_text("", 0) if name == "page" else made.set_text("")


def main() -> None:
    """Show the window until "quit", or the end of stdin."""
    gtk, glib, ibus = load_bindings("Gtk", "3.0"), load_bindings("GLib", "2.0"), load_bindings("IBus")
    ibus.init()
    timing = KeyTiming()
    panel, told = recording_panel(ibus, ibus.Bus(), timing)
    fields = Fields(gtk)
    fields.time(load_bindings("Gdk", "3.0"), gtk, timing)

    def obey(words: list[str]) -> None:
        match words:
            case ["focus", name]:
                fields.focus(name)
            case ["put", name, text]:
                fields.put(name, text.replace("_", " "))
            case ["clear"]:
                fields.clear()
            case ["click", place]:
                panel.candidate_clicked(int(place), 1, 0)

    def on_line(source: Any, condition: Any) -> bool:
        words = sys.stdin.readline().split()
        if not words or words[0] == "quit":
            gtk.main_quit()
            return False
        obey(words)
        print(json.dumps({"texts": fields.texts(), **told}), flush=True)
        return True

    glib.io_add_watch(glib.IOChannel.unix_new(0), glib.PRIORITY_DEFAULT, glib.IOCondition.IN, on_line)
    fields.window.connect("destroy", gtk.main_quit)
    fields.focus("line")
    fields.window.show_all()
    gtk.main()


if __name__ == "__main__":
    main()
