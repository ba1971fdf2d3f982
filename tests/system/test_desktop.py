"""The keyboard in a desktop of its own: a real widget, IBus, and a real agent process behind it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fedstill_client import AgentClient
from fedstill_client.home import AgentHome
from fedstill_client.ibus.bindings import BindingsMissing, load_bindings
from fedstill_client.ibus.component import SYSTEM_FOLDER
from fedstill_client.store import PrivateStore

from benchmarks.desktop_session import person
from benchmarks.desktop_session.person import Person, chunks
from benchmarks.desktop_session.session import Desktop, Seen, desktop, ended, missing_parts
from tests.client.keyboard_samples import keyboard_home
from tests.client.recording_agent import short_home

pytestmark = pytest.mark.skipif(missing_parts() != "", reason=f"no desktop here: {missing_parts()}")
IBUS = [sys.executable, "-m", "fedstill_client.ibus.cli"]
SECRET = "quietly the secret fox. "


def texts(home: AgentHome) -> list[str]:
    with PrivateStore.open(home) as store:
        return [each.text for each in store.texts()]


@dataclass
class AgentProcess:
    """An agent that can be ended and started again."""

    home: AgentHome
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self) -> None:
        command = [sys.executable, "-m", "fedstill_client.cli", "serve", "--home", str(self.home.folder)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        assert process.stderr is not None
        while (line := process.stderr.readline()) and "answering" not in line:
            pass

    def end(self) -> None:
        while self.processes:
            process = self.processes.pop()
            ended(process)
            if process.stderr is not None:
                process.stderr.close()


@pytest.fixture(scope="module")
def agent() -> Iterator[AgentProcess]:
    with short_home() as made:
        process = AgentProcess(keyboard_home(made.folder))
        process.start()
        yield process
        process.end()


@contextmanager
def installed(folder: Path, home: AgentHome, *options: str) -> Iterator[Desktop]:
    """A desktop with the keyboard installed for its user, and chosen."""
    data, config = folder / "data", folder / "config"
    environment = {**os.environ, "XDG_DATA_HOME": str(data), "XDG_CONFIG_HOME": str(config)}
    command = [*IBUS, "install", "--home", str(home.folder), *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "fedstill.xml" in done.stdout
    [line] = (config / "environment.d" / "60-fedstill-ibus.conf").read_text().splitlines()
    path = line.removeprefix("IBUS_COMPONENT_PATH=").partition(":")[0]
    with desktop(folder, more={"IBUS_COMPONENT_PATH": f"{path}:{SYSTEM_FOLDER}"}) as made:
        made.choose_engine("fedstill")
        yield made
    removed = subprocess.run(
        [*IBUS, "uninstall"], env=environment, capture_output=True, text=True, check=True
    )
    assert removed.stdout.count("removed: ") == 2
    assert not list(folder.rglob("fedstill.xml"))


@pytest.fixture(scope="module")
def screen(agent: AgentProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desktop]:
    with installed(tmp_path_factory.mktemp("desktop"), agent.home, "-k", "5") as made:
        yield made


@pytest.fixture
def line(screen: Desktop) -> Desktop:
    """The desktop with the focus in an empty line."""
    screen.ask_window("focus", "mail")
    screen.ask_window("clear")
    screen.ask_window("focus", "line")
    return screen


def text_is(text: str, name: str = "line") -> Callable[[Seen], bool]:
    return lambda seen: seen.texts[name] == text


def test_letters_bring_a_table_and_tab_takes_its_first_word(line: Desktop) -> None:
    line.type("the qu")
    seen = line.until_seen(lambda seen: len(seen.table) >= 3, "no lookup table")
    assert all(word.startswith("qu") for word in seen.table)
    assert seen.texts["line"] == "the "  # the letters are not committed yet

    line.press("Tab")
    line.until_seen(lambda seen: "fox" in seen.table or "brown" in seen.table, "no next words")
    line.type("fox")
    line.press("period")
    line.until_seen(text_is(f"the {seen.table[0]} fox."), "the suggestion was not taken")


def test_digits_arrows_and_the_mouse_choose(line: Desktop) -> None:
    line.type("qu")
    table = line.until_seen(lambda seen: len(seen.table) >= 3, "no lookup table").table
    line.press("2", "comma")
    line.until_seen(text_is(f"{table[1]},"), "the digit did not choose")

    line.ask_window("clear")
    line.type(" qu")
    line.until_seen(lambda seen: len(seen.table) >= 3, "no lookup table")
    line.press("Down", "Down", "Down")
    place = line.until_seen(lambda seen: seen.cursor == 2, "the arrows do not move").table[2]
    line.press("space", "comma")
    line.until_seen(lambda seen: seen.texts["line"].endswith(f"{place},"), "the arrows did not choose")

    line.ask_window("clear")
    line.type(" qu")
    table = line.until_seen(lambda seen: len(seen.table) >= 3, "no lookup table").table
    line.ask_window("click", "1")
    line.until_seen(lambda seen: seen.table != table, "the click was not heard")
    line.press("comma")
    line.until_seen(lambda seen: seen.texts["line"].endswith(f"{table[1]},"), "the click did not choose")


def test_backspace_undoes_a_suggestion_and_a_correction(line: Desktop) -> None:
    line.type("hpuse")
    line.until_seen(lambda seen: seen.table[:1] == ["house"], "no correction")
    line.press("Tab", "BackSpace", "space")
    line.until_seen(text_is("hpuse "), "the correction was not undone")
    line.type("qui")
    line.until_seen(lambda seen: "quick" in seen.table, "no suggestion")
    line.press("Tab", "BackSpace", "BackSpace", "BackSpace", "BackSpace", "BackSpace")
    line.until_seen(text_is("hpuse"), "the suggestion was not undone")


def test_plain_keys_and_shortcuts_are_the_app_s(line: Desktop) -> None:
    line.type("Zz 3.5 (the) x")
    line.press("ctrl+a", "ctrl+x")
    line.until_seen(text_is(""), "Ctrl-A and Ctrl-X did not reach the app")
    line.press("ctrl+v", "space", "Left", "Left", "BackSpace")
    line.until_seen(text_is("Zz 3.5 (the)x "), "Ctrl-V or the arrows did not reach the app")


def test_dead_keys_make_letters(line: Desktop) -> None:
    line.press("c", "a", "f", "dead_acute", "e", "space", "dead_diaeresis", "U", "b", "space")
    line.until_seen(text_is("café Üb "), "the dead keys did not join their letters")


def test_leaving_commits_and_sentences_are_learned_once(line: Desktop, agent: AgentProcess) -> None:
    line.ask_window("focus", "page")
    line.type("we meet at the old house! the fox")
    line.press("Return")
    line.type("and a dog")
    line.until_seen(lambda seen: seen.preedit == "dog", "keys were lost")  # before the focus goes
    line.ask_window("focus", "line")
    line.until_seen(text_is("we meet at the old house! the fox\nand a dog", "page"), "the rest is lost")
    learned = ["we meet at the old house!", "the fox", "and a dog"]
    line.until(lambda: texts(agent.home)[-3:] == learned, "the sentences were not learned")


def test_a_click_commits_and_ends_the_sentence(line: Desktop, agent: AgentProcess) -> None:
    line.type("the old fox qu")
    line.until_seen(lambda seen: "quick" in seen.table, "no suggestions")
    line.run("xdotool", "mousemove", "9", "15", "click", "1")
    line.until_seen(text_is("the old fox qu"), "the letters are lost")
    line.type("see ")
    line.until_seen(text_is("see the old fox qu"), "the click did not move the cursor")
    line.press("Return")
    line.until(lambda: texts(agent.home)[-2:] == ["the old fox qu", "see"], "they are one sentence")


def test_the_context_is_the_text_of_the_app(line: Desktop) -> None:
    line.ask_window("put", "line", "the_quick_brown_")
    line.press("End")
    line.type("f")
    line.until_seen(lambda seen: seen.table[:1] == ["fox"], "what the app holds is not the context")


@pytest.mark.parametrize("name", ["password", "pin", "hidden", "mail"])
def test_secret_fields_show_nothing_and_teach_nothing(line: Desktop, agent: AgentProcess, name: str) -> None:
    line.ask_window("focus", name)
    line.type(SECRET)
    seen = line.until_seen(text_is(SECRET, name), "keys were lost")
    assert (seen.table, seen.note) == ([], "")
    line.press("q", "u")
    seen = line.until_seen(text_is(f"{SECRET}qu", name), "letters wait in a preedit")
    assert seen.table == []
    line.ask_window("focus", "line")
    line.type(f"over {name}. ")  # what is learned behind it is learned in order
    line.until(lambda: texts(agent.home)[-1] == f"over {name}.", "what was written is not learned")
    for file in agent.home.folder.glob("store.db*"):
        assert b"secret" not in file.read_bytes()


def test_a_person_who_types_with_suggestions(line: Desktop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(person, "_PATIENCE_SECONDS", 0.4)
    line.ask_window("focus", "page")
    result = Person(line, "page").type(["The (quick) fox jumps, and  we quit."])
    assert result.typed == result.wanted == "The (quick) fox jumps, and we quit.\n"
    assert (result.words, result.keys) == (7, len(result.key_ms))
    assert 0 < result.saved < 1
    assert result.taken > 3


@pytest.mark.parametrize(
    ("line_of_text", "expected"),
    [
        ("a b", [("", "a", ""), ("", "b", "")]),
        ("“Don't,” he said...", [("“", "Don't", ",”"), ("", "he", ""), ("", "said", "...")]),
        ("-- (to-day);", [("--", "", ""), ("(", "to-day", ");")]),
        ("car.--Give 3.5 x", [("", "car.--Give", ""), ("", "3.5", ""), ("", "x", "")]),
        ("  ", []),
    ],
)
def test_what_stands_between_spaces(line_of_text: str, expected: list[tuple[str, str, str]]) -> None:
    assert list(chunks(line_of_text)) == expected


def test_without_an_agent_typing_goes_on(line: Desktop, agent: AgentProcess) -> None:
    agent.end()
    before = texts(agent.home)
    try:
        line.type("qu")
        line.until_seen(lambda seen: "no agent answers" in seen.note, "no note of it")
        line.press("Tab")
        line.until_seen(text_is("qu"), "letters were lost")
        line.ask_window("focus", "line")
        line.type(" fox. ")
        seen = line.until_seen(text_is("qu fox. "), "keys were lost")
        assert (seen.table, seen.note) == ([], "")
    finally:
        agent.start()
    assert texts(agent.home) == before

    def again(seen: Seen) -> bool:
        if not seen.table:
            line.press("BackSpace", "q")
        return len(seen.table) >= 3

    line.type("q")
    line.until_seen(again, "the agent is not found again")


def test_run_by_hand_corrects_and_ends_with_the_bus(agent: AgentProcess, tmp_path: Path) -> None:
    with desktop(tmp_path) as made, ExitStack() as stack:
        command = [*IBUS, "run", "--autocorrect", "--home", str(agent.home.folder)]
        running = subprocess.Popen(command, env=made.environment, stderr=subprocess.PIPE, text=True)
        stack.callback(ended, running)
        assert running.stderr is not None
        assert running.stderr.readline() == "fedstill-ibus: ready\n"
        made.choose_engine("fedstill")
        made.type("the hpuse")
        made.until_seen(lambda seen: seen.table[:1] == ["house"], "no correction")
        made.type(" x")
        made.until_seen(text_is("the house "), "it was not corrected")
        before = texts(agent.home)
        ended(made.daemon)
        assert running.wait(10) == 2
        assert running.stderr.read().splitlines()[-1].startswith("error: the IBus daemon has gone away")
        running.stderr.close()
        assert texts(agent.home) == before


def test_without_a_daemon(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "DISPLAY": ":4711"}
    environment.pop("IBUS_ADDRESS", None)
    done = subprocess.run([*IBUS, "run"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no IBus daemon answers in this session; start one")
    assert done.stderr.count("\n") == 1


def test_ended_by_a_signal_it_ends_well(agent: AgentProcess, screen: Desktop) -> None:
    with AgentClient(agent.home.folder) as client:
        client.suggest("the", "")
    command = [*IBUS, "run", "--home", str(agent.home.folder)]
    running = subprocess.Popen(command, env=screen.environment, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    running.stderr.readline()
    running.send_signal(signal.SIGTERM)
    assert running.wait(10) == 0
    running.stderr.close()


def test_bindings_that_are_not_there() -> None:
    with pytest.raises(BindingsMissing, match=r"sudo apt install ibus gir1\.2-ibus-1\.0 python3-gi"):
        load_bindings("NoSuchLibrary", "1.0")
