"""The desktop: Xvfb, a session bus, the IBus daemon and the window of fields, each ended by its number."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAMS = ("Xvfb", "dbus-daemon", "ibus-daemon", "ibus", "xdotool")
_PATIENCE_SECONDS = 20.0
_LOOK_SECONDS = 0.01


def missing_parts() -> str:
    """What this machine lacks for a desktop; empty where it has everything."""
    from fedstill_client.ibus.bindings import BindingsMissing, load_bindings

    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    if lacking:
        return f"{', '.join(lacking)}: not installed"
    modules = Path("/usr/lib").glob("*/gtk-3.0/*/immodules/im-ibus.so")
    if not any(modules):
        return "ibus-gtk3 is not installed"
    try:
        load_bindings("IBus")
        load_bindings("GLib", "2.0")
    except BindingsMissing as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class Seen:
    """What the window and IBus's panel show.

    Attributes:
        texts: What stands in each field.
        table: The words of the lookup table.
        cursor: The place in it that is marked.
        note: The auxiliary text.
        preedit: What stands underlined at the cursor.
        updates: How often the lookup table has changed.
        key_ms: From the last key to the widget's answer, in milliseconds; None where there is none yet.
        table_ms: From the last key to the last change of the lookup table.
    """

    texts: dict[str, str]
    table: list[str]
    cursor: int | None
    note: str
    preedit: str
    updates: int
    key_ms: float | None
    table_ms: float | None


class Desktop:
    """A desktop that runs."""

    def __init__(self, environment: dict[str, str], daemon: subprocess.Popen[bytes]) -> None:
        self.environment, self.daemon = environment, daemon
        self._window: subprocess.Popen[str] | None = None

    def open_window(self) -> subprocess.Popen[str]:
        """Show the fields, and give them the keyboard."""
        self._window = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.desktop_session.typed_fields"],
            cwd=REPOSITORY,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.look()
        self.run("xdotool", "search", "--sync", "--onlyvisible", "--name", "typed fields", "windowfocus")
        return self._window

    def choose_engine(self, name: str) -> None:
        """Have IBus use an engine, which it starts."""
        self.until(lambda: self._engine_is(name), f"the engine {name} does not start")

    def _engine_is(self, name: str) -> bool:
        self.answers("ibus", "engine", name)  # which fails at times where it is done all the same
        return self.answers("ibus", "engine") == name

    def has_ibus(self) -> bool:
        """Whether the IBus daemon can be reached."""
        return (self.answers("ibus", "address") or "(null)") != "(null)"

    def answers(self, *command: str) -> str | None:
        """What a command says; None where it fails."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return None if done.returncode else done.stdout.strip()

    def ask_window(self, *command: str) -> Seen:
        """Give the window a command, and look."""
        window = self._window
        assert window is not None
        assert window.stdin is not None
        assert window.stdout is not None
        window.stdin.write(" ".join(command) + "\n")
        window.stdin.flush()
        line = window.stdout.readline()
        if not line:
            raise RuntimeError("the window of fields has gone away")
        return Seen(**json.loads(line))

    def look(self) -> Seen:
        """What is seen now."""
        return self.ask_window("look")

    def press(self, *keys: str) -> None:
        """Press keys, by X's names."""
        self.run("xdotool", "key", "--delay", "8", *keys)

    def press_one(self, key: str) -> None:
        """Press a key, by the character that it types or by X's name."""
        if len(key) == 1:
            self.run("xdotool", "type", "--delay", "0", "--", key)
        else:
            self.run("xdotool", "key", "--delay", "0", key)

    def type(self, text: str) -> None:
        """Type letters and marks, key by key."""
        self.run("xdotool", "type", "--delay", "8", "--", text)

    def run(self, *command: str) -> None:
        """Run a command on this desktop."""
        subprocess.run(
            command, env=self.environment, check=True, capture_output=True, timeout=_PATIENCE_SECONDS
        )

    def until(self, is_so: Callable[[], bool], problem: str) -> None:
        """Wait until something is so."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while not is_so():
            if time.monotonic() > end:
                raise TimeoutError(f"{problem}; seen: {self.look() if self._window else 'no window yet'}")
            time.sleep(_LOOK_SECONDS)

    def until_seen(self, is_so: Callable[[Seen], bool], problem: str) -> Seen:
        """Look until something is seen, and return it."""
        seen: list[Seen] = []

        def looked() -> bool:
            seen[:] = [self.look()]
            return is_so(seen[0])

        self.until(looked, problem)
        return seen[0]


@contextmanager
def desktop(folder: Path, *, more: dict[str, str] | None = None, log: Any = None) -> Iterator[Desktop]:
    """A desktop whose home is `folder`; everything of it has ended when this ends.

    Args:
        folder: An empty folder.
        more: Variables of its environment.
        log: A file for what its programs say; by default nobody hears it.
    """
    out = subprocess.DEVNULL if log is None else log
    with ExitStack() as stack:
        environment = {**os.environ, **_folders(folder), **_VARIABLES, **(more or {})}
        environment.pop("WAYLAND_DISPLAY", None)
        read, write = os.pipe()
        screen = ["Xvfb", "-displayfd", str(write), "-screen", "0", "800x600x24", "-nolisten", "tcp"]
        _start(stack, screen, environment, out, pass_fds=(write,))
        os.close(write)
        with os.fdopen(read) as numbers:
            environment["DISPLAY"] = f":{numbers.readline().strip()}"
        bus = ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1"]
        process = _start(stack, bus, environment, subprocess.PIPE, stderr=out)
        assert process.stdout is not None
        environment["DBUS_SESSION_BUS_ADDRESS"] = process.stdout.readline().decode().strip()
        daemon = ["ibus-daemon", "--panel=disable", "--emoji-extension=disable", "--config=disable"]
        made = Desktop(environment, _start(stack, [*daemon, "--cache=none"], environment, out))
        made.until(made.has_ibus, "the IBus daemon does not answer")
        window = made.open_window()
        stack.callback(ended, window)
        yield made


_VARIABLES = {
    "GTK_IM_MODULE": "ibus",
    "GDK_BACKEND": "x11",
    "NO_AT_BRIDGE": "1",
    "GTK_USE_PORTAL": "0",
    "GSETTINGS_BACKEND": "keyfile",
    "LC_ALL": "C.UTF-8",
}


def _folders(folder: Path) -> dict[str, str]:
    """The variables that make `folder` the home; its folders are made."""
    places = {
        "HOME": folder,
        "XDG_CONFIG_HOME": folder / "config",
        "XDG_DATA_HOME": folder / "data",
        "XDG_CACHE_HOME": folder / "cache",
        "XDG_STATE_HOME": folder / "state",
        "XDG_RUNTIME_DIR": folder / "run",
    }
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    return {name: str(place) for name, place in places.items()}


def _start(
    stack: ExitStack, command: list[str], environment: dict[str, str], out: Any, **more: Any
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, env=environment, stdout=out, **{"stderr": out, **more})
    stack.callback(ended, process)
    return process


def ended(process: subprocess.Popen[Any]) -> None:
    """End a process, by force where it does not end by itself."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
    if process.poll() is None:
        process.kill()
        process.wait()
