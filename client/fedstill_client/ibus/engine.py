"""The engine that IBus calls: its signals become a session's calls, and IBus shows what the session does."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedstill_proto.errors import FedstillError

from fedstill_client.agent_types import Suggestion
from fedstill_client.ibus.bindings import load_bindings
from fedstill_client.ibus.component import BUS_NAME, ENGINE
from fedstill_client.ibus.composition import CompositionSettings
from fedstill_client.ibus.field import Field
from fedstill_client.ibus.keys import Key, is_release, key_of
from fedstill_client.ibus.session import TypingSession

_TABLE_PAGE = 9  # places at most, as many as there are keys that choose one
_SURROUNDING_TEXT = 1 << 5  # what an app may be able to do


class IBusUnavailable(FedstillError):
    """No IBus daemon answers in this session, or it has gone away."""


@dataclass(frozen=True)
class EngineOptions:
    """How the engine runs.

    Attributes:
        home: The agent's home.
        count: How many suggestions are shown, 1 to 9.
        typing: What the owner has chosen.
        by_ibus: Whether the IBus daemon has started it, and knows it already.
    """

    home: Path | None
    count: int
    typing: CompositionSettings
    by_ibus: bool


def run_engine(options: EngineOptions) -> None:
    """Serve the IBus daemon of this session until it ends, or SIGTERM.

    Raises:
        BindingsMissing: IBus's bindings are not installed.
        IBusUnavailable: No daemon answers, or it has gone away.
    """
    ibus, glib = load_bindings("IBus"), load_bindings("GLib", "2.0")
    ibus.init()
    bus = ibus.Bus()
    if not bus.is_connected():
        raise IBusUnavailable(
            "no IBus daemon answers in this session; start one (ibus-daemon --daemonize --xim), "
            "in the desktop session that you type in, and then this again."
        )
    loop, lost = glib.MainLoop(), []

    def on_lost(gone: Any) -> None:
        lost.append(gone)
        loop.quit()

    def on_signal() -> bool:
        loop.quit()
        return False

    bus.connect("disconnected", on_lost)
    for number in (signal.SIGTERM, signal.SIGINT):
        glib.unix_signal_add(glib.PRIORITY_HIGH, number, on_signal)
    sessions: list[TypingSession] = []
    factory = ibus.Factory.new(bus.get_connection())
    factory.add_engine(ENGINE, _engine_type(ibus, glib, options, sessions))
    _register(ibus, bus, by_ibus=options.by_ibus)
    print("fedstill-ibus: ready", file=sys.stderr, flush=True)
    loop.run()
    for session in sessions:
        session.close()
    if lost:
        raise IBusUnavailable("the IBus daemon has gone away; what was not committed is not learned.")


def _register(ibus: Any, bus: Any, *, by_ibus: bool) -> None:
    if by_ibus:
        bus.request_name(BUS_NAME, 0)
        return
    component = ibus.Component.new(BUS_NAME, "fedstill", "1", "Apache-2.0", "fedstill", "", "", "fedstill")
    description = "Suggestions of the device's own agent"
    component.add_engine(
        ibus.EngineDesc.new(ENGINE, ENGINE, description, "other", "Apache-2.0", "fedstill", "", "default")
    )
    bus.register_component(component)


def _engine_type(ibus: Any, glib: Any, options: EngineOptions, sessions: list[TypingSession]) -> Any:
    """The class of engines, which IBus makes itself; it exists once the bindings are loaded."""

    def later(call: Callable[[], None]) -> None:
        def once() -> bool:
            call()
            return False

        glib.idle_add(once, priority=glib.PRIORITY_DEFAULT)

    class FedstillEngine(ibus.Engine):  # type: ignore[misc]
        __gtype_name__ = "FedstillEngine"

        def __init__(self, **properties: Any) -> None:
            super().__init__(**properties)
            self._typing = TypingSession(
                _IBusScreen(ibus, self, options.count),
                options.typing,
                home=options.home,
                count=options.count,
                later=later,
                log=_log,
            )
            sessions.append(self._typing)

        def do_process_key_event(self, symbol: int, code: int, state: int) -> bool:
            if is_release(state):
                return False
            return self._typing.press(key_of(symbol, state, _character(ibus, symbol)))

        def do_enable(self) -> None:
            self.get_surrounding_text()  # tells the app that it is wanted

        def do_focus_in(self) -> None:
            self.get_surrounding_text()

        def do_focus_out(self) -> None:
            self._typing.leave_field()

        def do_disable(self) -> None:
            self._typing.leave_field()

        def do_reset(self) -> None:
            self._typing.reset()

        def do_set_content_type(self, purpose: int, hints: int) -> None:
            self._typing.enter_field(Field(int(purpose), int(hints)))

        def do_set_surrounding_text(self, text: Any, cursor: int, anchor: int) -> None:
            if self.client_capabilities & _SURROUNDING_TEXT:
                self._typing.say_text_before(text.get_text()[: min(cursor, anchor)])

        def do_candidate_clicked(self, place: int, button: int, state: int) -> None:
            self._typing.choose(place)

    return FedstillEngine


class _IBusScreen:
    """What an app and IBus's panel show."""

    def __init__(self, ibus: Any, engine: Any, count: int) -> None:
        self._ibus, self._engine = ibus, engine
        self._table = ibus.LookupTable.new(min(count, _TABLE_PAGE), 0, False, False)
        self._table.set_orientation(ibus.Orientation.VERTICAL)
        self._note = ""

    def commit(self, text: str) -> None:
        self._engine.commit_text(self._ibus.Text.new_from_string(text))

    def forward(self, key: Key) -> None:
        for state in (0, self._ibus.ModifierType.RELEASE_MASK):
            self._engine.forward_key_event(key.symbol, 0, state)

    def show_preedit(self, text: str, *, is_taken: bool) -> None:
        shown = self._ibus.Text.new_from_string(text)
        if text and not is_taken:
            line = self._ibus.attr_underline_new(self._ibus.AttrUnderline.SINGLE, 0, len(text))
            attributes = self._ibus.AttrList()
            attributes.append(line)
            shown.set_attributes(attributes)
        self._engine.update_preedit_text_with_mode(
            shown, len(text), bool(text), self._ibus.PreeditFocusMode.COMMIT
        )

    def show_table(self, suggestions: Sequence[Suggestion], cursor: int | None) -> None:
        if not suggestions:
            self._engine.hide_lookup_table()
            return
        self._table.clear()
        for suggestion in suggestions[:_TABLE_PAGE]:
            self._table.append_candidate(self._ibus.Text.new_from_string(suggestion.word))
        self._table.set_cursor_visible(cursor is not None)
        self._table.set_cursor_pos(cursor or 0)
        self._engine.update_lookup_table(self._table, True)

    def show_note(self, text: str) -> None:
        if text != self._note:
            self._note = text
            self._engine.update_auxiliary_text(self._ibus.Text.new_from_string(text), bool(text))


def _character(ibus: Any, symbol: int) -> str:
    """What a key symbol types; empty where it types nothing."""
    found = ibus.keyval_to_unicode(symbol)
    character = found if isinstance(found, str) else chr(found)
    return "" if character == "\0" else character


def _log(note: str) -> None:
    print(f"fedstill-ibus: {note}", file=sys.stderr, flush=True)
