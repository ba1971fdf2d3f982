"""The documentation: it builds without a warning, needs nothing from elsewhere, and its commands exist."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
import typer
from fedstill_client.cli import app as agent_app
from fedstill_client.ibus.cli import app as ibus_app
from fedstill_server.cli import cli as server_app
from fedstill_sim.cli import app as sim_app
from rich.markup import render

REPOSITORY = Path(__file__).resolve().parents[2]
TEXTS = [path for at in ("*.md", "docs/**/*.md", "examples/**/*.md") for path in sorted(REPOSITORY.glob(at))]
APPS = {
    "fedstill-agent": agent_app,
    "fedstill-ibus": ibus_app,
    "fedstill-server": server_app,
    "fedstill-sim": sim_app,
}


class Assets(HTMLParser):
    """What a page makes a browser fetch without being asked."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "audio"):
            self.found.append(values.get("src") or "")
        if tag == "link" and values.get("rel") not in ("canonical", "prev", "next"):
            self.found.append(values.get("href") or "")


def is_elsewhere(asset: str) -> bool:
    return asset.startswith(("http:", "https:", "//"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it; a warning is an error there."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=REPOSITORY, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_the_site_is_whole_and_fetches_nothing_from_elsewhere(site: Path) -> None:
    pages = {str(path.relative_to(site)): path.read_text() for path in site.rglob("*.html")}
    assert {"index.html", "tutorials/operator.html", "changelog.html", "security.html"} <= set(pages)
    assets = {asset for page in pages.values() for asset in Assets(page).found}
    assert len(assets) > 5
    assert not [asset for asset in assets if is_elsewhere(asset)]
    assert not [name for name, page in pages.items() if 'class="mermaid"' in page]  # the theme would fetch it
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", styles)

    for program, app in APPS.items():
        page = pages[f"reference/{program}.html"]
        for command in commands_of(app):
            assert f'id="{command}"' in page
    assert "fedstill PART COMMAND" in pages["reference/fedstill.html"]
    assert "AgentClient" in pages["reference/agent-client.html"]
    assert "observe" in pages["reference/agent-client.html"]


# The commands in the texts


@cache
def commands_of(app: typer.Typer) -> dict[str, click.Command]:
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group)
    return group.commands


def shown_commands(text: str) -> Iterator[list[str]]:
    """The words of each of our programs' command lines that a text shows behind a prompt."""
    for line in re.findall(r"^\s*\$ (.*)$", re.sub(r"\\\n\s*", "", text), flags=re.M):
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        for is_between, part in itertools.groupby(words, lambda word: set(word) <= set("();<>|&")):
            command = list(part)
            command = command[3:] if command[:2] == ["sudo", "-u"] else command
            if command[0] == "fedstill" and f"fedstill-{command[1]}" in APPS:
                command = [f"fedstill-{command[1]}", *command[2:]]
            if not is_between and Path(command[0]).name in APPS:
                yield [Path(command[0]).name, *command[1:]]


def what_is_wrong(words: list[str]) -> str | None:
    """Why a command line would be refused before anything is done; None where it would not."""
    program, *rest = words
    if not rest or rest[0].startswith("-"):
        return None if set(rest) <= {"--help", "--version", "-h"} else f"{program} has no option {rest[0]}"
    command = commands_of(APPS[program]).get(rest[0])
    if command is None:
        return f"{program} has no command {rest[0]}"
    if isinstance(command, click.Group) and rest[1:2]:
        if rest[1] not in command.commands:
            return f"{program} {rest[0]} has no command {rest[1]}"
        command = command.commands[rest[1]]
    known = {name for parameter in command.params for name in parameter.opts + parameter.secondary_opts}
    options = {word.split("=")[0] for word in rest[1:] if re.match(r"--?[a-z]", word)}
    unknown = options - known - {"--help", "-h"}
    return f"{program} {rest[0]} has no option {', '.join(sorted(unknown))}" if unknown else None


def test_every_command_that_a_text_shows_exists() -> None:
    wrong, found = {}, 0
    for path in TEXTS:
        for words in shown_commands(path.read_text()):
            found += 1
            if problem := what_is_wrong(words):
                wrong[f"{path.relative_to(REPOSITORY)}: {shlex.join(words)}"] = problem
    assert found > 80
    assert not wrong


def test_no_help_loses_what_it_has_in_brackets() -> None:
    styles = {"bold", "cyan", "bold cyan", "dim"}
    texts = [
        (f"{program} {name}", text)
        for program, app in APPS.items()
        for name, command in {"": typer.main.get_command(app), **commands_of(app)}.items()
        for text in [command.help, command.epilog, *(getattr(one, "help", "") for one in command.params)]
    ]
    # Rich takes them for the name of a style, and shows nothing: write \\[ for a bracket.
    lost = [
        (name, span.style)
        for name, text in texts
        for span in render(text or "").spans
        if span.style not in styles
    ]
    assert not lost


# The checks can fail


def test_a_command_line_is_read_as_a_shell_reads_it() -> None:
    text = """
$ cd x && sudo -u fleet bin/fedstill-server unit kitchen --user f | sudo tee y.service
$ fedstill-agent serve --home ~/.x &     # here; fedstill-agent starts
    $ fedstill-agent suggest "a | b" \\
        -k 3 > z
$ fedstill sim run
fedstill-agent is no command here
"""
    assert list(shown_commands(text)) == [
        ["fedstill-server", "unit", "kitchen", "--user", "f"],
        ["fedstill-agent", "serve", "--home", "~/.x"],
        ["fedstill-agent", "suggest", "a | b", "-k", "3"],
        ["fedstill-sim", "run"],
    ]


def test_what_does_not_exist_is_found() -> None:
    assert what_is_wrong(["fedstill-sim", "walk"]) == "fedstill-sim has no command walk"
    assert what_is_wrong(["fedstill-sim", "run", "--speed=1"]) == "fedstill-sim run has no option --speed"
    assert what_is_wrong(["fedstill-sim", "--pace"]) == "fedstill-sim has no option --pace"
    assert what_is_wrong(["fedstill-sim", "run", "digits", "-o", "x", "--rounds", "-1"]) is None


def test_an_asset_from_elsewhere_is_found() -> None:
    page = '<link rel="stylesheet" href="//fonts.example/x.css"><a href="https://y"></a><script src="z.js">'
    assert [asset for asset in Assets(page).found if is_elsewhere(asset)] == ["//fonts.example/x.css"]
