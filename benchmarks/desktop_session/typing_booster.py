"""ibus-typing-booster, as Debian packages it, set up for a comparison: it learns by its own reader."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from pathlib import Path

ENGINE = "typing-booster"
_PROGRAM = Path("/usr/share/ibus-typing-booster/engine")
_DATABASE = ".local/share/ibus-typing-booster/user.db"
_SETTINGS = """[org/freedesktop/ibus/engine/typing-booster]
dictionary='{dictionary}'
inputmethod='NoIME'
mincharcomplete=0
pagesize={shown}
emojipredictions=false
"""
_READ = (
    "import sys; sys.path.insert(0, sys.argv[1]); import tabsqlitedb; "
    "tabsqlitedb.TabSqliteDb().read_training_data_from_file(sys.argv[2])"
)


def is_installed() -> bool:
    """Whether this machine has it."""
    return (_PROGRAM / "tabsqlitedb.py").is_file()


def set_up(home: Path, texts: list[str], *, dictionary: str, shown: int) -> int:
    """Write its settings, and have it read texts; returns how many phrases it has learned.

    Suggestions before the first letter are switched on, which they are not by default; everything else that
    matters is as it comes.

    Args:
        home: The home of a desktop.
        texts: What it reads, by its own reader of training texts.
        dictionary: The name of a hunspell dictionary.
        shown: Suggestions on a page.
    """
    settings = home / "config" / "glib-2.0" / "settings"
    settings.mkdir(parents=True)
    (settings / "keyfile").write_text(_SETTINGS.format(dictionary=dictionary, shown=shown))
    training = home / "training.txt"
    training.write_text("\n".join(texts) + "\n")
    environment = {**os.environ, "HOME": str(home)}
    for name in ("PYTHONPATH", "XDG_DATA_HOME"):
        environment.pop(name, None)
    command = ["/usr/bin/python3", "-c", _READ, str(_PROGRAM), str(training)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return len(phrases(home))


def phrases(home: Path) -> list[str]:
    """What it has learned."""
    with sqlite3.connect(home / _DATABASE) as database:
        return [str(row[0]) for row in database.execute("SELECT phrase FROM phrases")]
