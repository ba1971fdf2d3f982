"""fedstill-ibus beside ibus-typing-booster: a text typed into a real widget, by a script, in one run.

    python benchmarks/ibus.py                      # a keyboard of the shipped plays, 200 words of a speaker
    python benchmarks/ibus.py --folder texts/      # <user>.txt and public.txt, a text a line
    python benchmarks/ibus.py --home HOME --own own.txt --text typed.txt [--public public.txt]

Each engine has a desktop of its own (Xvfb, a session bus, IBus, a GTK 3 text view) and has learned the same
before: what its owner typed (all but the last fifth), and the public text that fedstill's student was made
of: the booster once without that, as it comes, and once with it. Then the held-out text is typed with three
suggestions in sight, before the first letter of a word, too: one key takes the word that is meant with the
space behind it. Characters saved are 1 - keys pressed / characters of the text. Both learn what is typed as
it is typed.

A key's time is from the program's receipt of it to the widget's change; the table's, to the last change of
the suggestions that it brought. A word typed into a password field is looked for in what each has learned.

The keyboard of the plays is made as `fedstill-server prepare` makes it, once ($FEDSTILL_CACHE), in --minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # it is started by its file's name

import numpy as np
from fedstill_client import AgentClient
from fedstill_client.home import AgentHome
from fedstill_client.ibus.component import ENGINE, SYSTEM_FOLDER, ComponentPlace
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_proto.errors import FedstillError
from fedstill_proto.package.artifact import StudentPackage
from fedstill_sim.folder import cache_folder
from fedstill_sim.tasks.text.data import Typist, load_keyboard

from benchmarks.desktop_session import typing_booster
from benchmarks.desktop_session.person import SHOWN, Person, TypedText
from benchmarks.desktop_session.session import Desktop, desktop, ended, missing_parts

FAMILY = "gru-80-224"
SECRET = "xylographer"
_PLACE = "page"


@dataclass(frozen=True)
class Texts:
    """What is typed, and what is learned before.

    Attributes:
        own: What the owner typed before.
        typed: What is typed in the desktop.
        public: What the student was made of.
    """

    own: list[str]
    typed: list[str]
    public: list[str]


@contextmanager
def agent_at(folder: Path) -> Iterator[AgentHome]:
    """An agent process that serves a home."""
    command = [sys.executable, "-m", "fedstill_client.cli", "serve", "--home", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        while (line := process.stderr.readline()) and "answering" not in line:
            pass
        yield AgentHome(folder)
    finally:
        ended(process)


def made_package(public: list[str], minutes: float) -> StudentPackage:
    """The package of a keyboard, as a fleet makes it of public texts."""
    from fedstill_server.publish.students import build_students

    digest = hashlib.sha256("\n".join([*public, str(minutes), FAMILY]).encode()).hexdigest()[:16]
    fleet = cache_folder() / "ibus" / digest
    if is_new := not (fleet / "made").is_file():
        fleet.parent.mkdir(parents=True, exist_ok=True)
        texts = fleet.parent / f"{digest}.txt"
        texts.write_text("\n".join(public) + "\n")
        server = [sys.executable, "-m", "fedstill_server.cli"]
        if not fleet.is_dir():
            init = [*server, "init", str(fleet), "--host", "127.0.0.1"]
            subprocess.run(init, check=True, stdout=sys.stderr)
        prepare = ["--public", str(texts), "--families", FAMILY, "--language", "en"]
        command = [*server, "prepare", str(fleet), *prepare, "--minutes", str(minutes)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        (fleet / "made").touch()
    try:
        [package] = build_students(fleet).packages
    except FedstillError:  # an earlier version of fedstill has made it
        if is_new:
            raise
        shutil.rmtree(fleet)
        return made_package(public, minutes)
    return package


def made_home(folder: Path, package: StudentPackage) -> None:
    """A home with a package installed, which belongs to no fleet."""
    home = AgentHome(folder)
    home.create()
    home.description.write_text(json.dumps({"name": "desktop", "family": package.manifest.family}))
    with PrivateStore.create(home) as store:
        install(home, store, package)


def typed_with_fedstill(folder: Path, home: Path, texts: Texts) -> dict[str, Any]:
    """Type with fedstill's keyboard, which learns the owner's texts first."""
    with agent_at(home) as agent, AgentClient(agent.folder) as client:
        for text in texts.own:
            client.observe_text(text)
        client.suggest("", "")  # counts them
        place = ComponentPlace(folder / "data" / "ibus" / "component" / "fedstill.xml", None)
        place.write(["--home", str(agent.folder), "-k", str(SHOWN)])
        more = {"IBUS_COMPONENT_PATH": f"{place.component.parent}:{SYSTEM_FOLDER}"}
        with desktop(folder, more=more) as made:
            result = typed_in(made, ENGINE, texts)
        with PrivateStore.open(agent) as store:
            learned = [text.text for text in store.texts()]
    return figures(result, any(SECRET in text for text in learned))


def typed_with_booster(folder: Path, texts: Texts, learned: list[str], dictionary: str) -> dict[str, Any]:
    """Type with ibus-typing-booster, which reads texts first."""
    count = typing_booster.set_up(folder, learned, dictionary=dictionary, shown=SHOWN)
    with desktop(folder) as made:
        result = typed_in(made, typing_booster.ENGINE, texts)
    found = figures(result, SECRET in typing_booster.phrases(folder))
    return {**found, "phrases_read": count}


def typed_in(made: Desktop, engine: str, texts: Texts) -> TypedText:
    made.choose_engine(engine)
    made.ask_window("focus", "password")
    time.sleep(0.5)  # an engine says that it is there before it is
    made.type(f"{SECRET} {SECRET} {SECRET}. ")
    made.ask_window("clear")
    made.ask_window("focus", _PLACE)
    time.sleep(0.5)
    return Person(made, _PLACE, joining="'’-" if engine == ENGINE else "").type(texts.typed)


def figures(result: TypedText, secret: bool) -> dict[str, Any]:
    """What is printed and written of a typed text."""
    return {
        "saved": result.saved,
        "keys": result.keys,
        "characters": len(result.wanted),
        "words": result.words,
        "before_a_letter": result.before_a_letter / max(result.words, 1),
        "taken": result.taken / max(result.words, 1),
        "as_wanted": result.typed == result.wanted,
        "first_difference": _first_difference(result),
        "key_ms": _times(result.key_ms),
        "table_ms": _times(result.table_ms),
        "learned_in_a_password_field": secret,
    }


def _first_difference(result: TypedText) -> list[str]:
    """What was wanted and what stands there, where they first differ."""
    pairs = enumerate(itertools.zip_longest(result.wanted, result.typed))
    place = next((place for place, (one, other) in pairs if one != other), None)
    around = slice(0) if place is None else slice(max(place - 10, 0), place + 10)
    return [] if place is None else [result.wanted[around], result.typed[around]]


def _times(times: list[float]) -> dict[str, float]:
    return {
        name: round(float(np.percentile(times or [0.0], share)), 2)
        for name, share in (("median", 50), ("p99", 99))
    }


def chosen_texts(arguments: argparse.Namespace) -> Texts:
    """The texts of a run, the last of them cut to the words that are typed."""
    if arguments.home is not None:
        own, typed, public = (_lines(file) for file in (arguments.own, arguments.text, arguments.public))
        return Texts(own, _cut(typed, arguments.words), public)
    data = load_keyboard(arguments.folder)
    words = {each.name: sum(len(text.split()) for text in each.test) for each in data.typists}
    enough = [each for each in data.typists if words[each.name] >= arguments.words]
    named = [each for each in data.typists if each.name == arguments.typist]
    chosen: Typist | None = next(iter(named if arguments.typist else enough), None)
    if chosen is None:
        raise FedstillError(f"--typist {arguments.typist}: nobody is called so, or holds out so many words.")
    print(f"typist {chosen.name}", file=sys.stderr)
    return Texts(list(chosen.train), _cut(list(chosen.test), arguments.words), list(data.public))


def _lines(file: Path | None) -> list[str]:
    return [] if file is None else [line for line in file.read_text().splitlines() if line.strip()]


def _cut(texts: list[str], words: int) -> list[str]:
    kept: list[str] = []
    for text in texts:
        there = text.split()[:words]
        words -= len(there)
        if there:
            kept.append(" ".join(there))
    return kept


def print_table(rows: dict[str, dict[str, Any]]) -> None:
    columns = ("saved", "keys / characters", "taken before a letter", "key ms p50, p99", "table ms p50, p99")
    print("\n| |", " | ".join((*columns, "text", "password field")), "|")
    print("|---" * (len(columns) + 3) + "|")
    for name, row in rows.items():
        key, table = row["key_ms"], row["table_ms"]
        cells = (
            f"{row['saved']:.1%}",
            f"{row['keys']} / {row['characters']}",
            f"{row['before_a_letter']:.1%}",
            f"{key['median']}, {key['p99']}",
            f"{table['median']}, {table['p99']}",
            "as wanted" if row["as_wanted"] else "NOT as wanted",
            "LEARNED" if row["learned_in_a_password_field"] else "nothing learned",
        )
        print(f"| {name} |", " | ".join(cells), "|")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, help="an agent's home; a copy of it is used")
    parser.add_argument("--own", type=Path, help="with --home: what its owner typed before, a text a line")
    parser.add_argument("--text", type=Path, help="with --home: what is typed, a text a line")
    parser.add_argument("--public", type=Path, help="with --home: what the student was made of")
    parser.add_argument("--folder", type=Path, help="<user>.txt and public.txt; the shipped plays")
    parser.add_argument("--typist", default="", help="whose texts; the first with words enough")
    parser.add_argument("--words", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=5.0, help="for making the keyboard")
    parser.add_argument("--dictionary", default="en_US", help="of the booster")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    arguments = parser.parse_args()
    if lacking := missing_parts():
        raise FedstillError(f"no desktop here: {lacking}")
    if arguments.home is not None and arguments.text is None:
        raise FedstillError("--home: give --text FILE, too: what is typed.")
    texts = chosen_texts(arguments)
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="fs") as name:
        folder = Path(name)
        if arguments.home is None:
            made_home(folder / "h", made_package(texts.public, arguments.minutes))
        else:
            shutil.copytree(arguments.home, folder / "h", ignore=shutil.ignore_patterns("*.sock", "*.lock"))
            os.chmod(folder / "h", 0o700)
        rows["fedstill-ibus"] = typed_with_fedstill(folder / "fedstill", folder / "h", texts)
        if typing_booster.is_installed():
            learned = {"own texts": texts.own, "own and public texts": [*texts.public, *texts.own]}
            for number, (what, read) in enumerate(learned.items()):
                row = typed_with_booster(folder / f"booster{number}", texts, read, arguments.dictionary)
                rows[f"ibus-typing-booster, {what}"] = row
    print_table(rows)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except FedstillError as error:
        raise SystemExit(f"error: {error}") from None
