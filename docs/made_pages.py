"""Pages made when the site is built: of every program, and of the repository's texts (a hook of MkDocs)."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import click
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from rich.markup import render

# Shown on the site as they are, but for their links into docs/.
TEXTS = {"CONTRIBUTING.md": "contributing.md", "SECURITY.md": "reporting.md", "CHANGELOG.md": "changelog.md"}
CODE = ("cyan", "bold cyan")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the repository's texts, and reference/<program>.md for every program of the distribution."""
    for name, page in TEXTS.items():
        text = (Path(config.config_file_path).parent / name).read_text()
        files.append(File.generated(config, page, content=text.replace("](docs/", "](")))
    for script in entry_points(group="console_scripts"):
        if script.dist is not None and script.dist.name == "fedstill":
            app = the_app(importlib.import_module(script.module))
            page = "\n".join(help_page(script) if app is None else program_page(script.name, app))
            files.append(File.generated(config, f"reference/{script.name}.md", content=page))
    return files


def the_app(module: ModuleType) -> typer.Typer | None:
    """The one Typer app that a module with a program's main() holds; None for a program without one."""
    apps = {id(value): value for value in vars(module).values() if isinstance(value, typer.Typer)}
    return next(iter(apps.values())) if len(apps) == 1 else None


def help_page(script: EntryPoint) -> Iterator[str]:
    """The lines of the page of a program that is no Typer app: its --help as it is."""
    asked = [sys.executable, "-m", script.module, "--help"]
    shown = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    yield f"# {script.name}\n\n```text\n{shown.rstrip()}\n```"


def program_page(program: str, app: typer.Typer) -> Iterator[str]:
    """The lines of a program's page, in Markdown."""
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group)
    yield f"# {program}\n"
    yield from paragraphs(group.help)
    yield from paragraphs(group.epilog)
    for name, command in group.commands.items():
        if command.hidden:
            continue
        yield f"\n## {name}\n"
        yield from command_section(click.Context(command, info_name=f"{program} {name}"))
        for part, of_group in command.commands.items() if isinstance(command, click.Group) else ():
            yield f"\n### {name} {part}\n"
            yield from command_section(click.Context(of_group, info_name=f"{program} {name} {part}"))


def command_section(context: click.Context) -> Iterator[str]:
    """The lines of a command: usage, what it does, arguments, options by panel, examples."""
    command = context.command
    usage = command.collect_usage_pieces(context)
    yield f"```console\n$ {context.info_name} {' '.join(usage)}\n```\n"
    yield from paragraphs(command.help)
    panels: dict[str, list[click.Parameter]] = {"Arguments": [], "Options": []}
    for parameter in command.get_params(context):
        argument = isinstance(parameter, click.Argument)
        if getattr(parameter, "hidden", False) or "--help" in parameter.opts:
            continue
        if argument and not getattr(parameter, "help", None):
            continue  # the usage says all there is to say of it
        panel = getattr(parameter, "rich_help_panel", None)
        usual = "Arguments" if argument else "Options"
        panels.setdefault(panel if isinstance(panel, str) else usual, []).append(parameter)
    for panel, parameters in panels.items():
        if not parameters:
            continue
        yield f"\n| {panel} | |\n|---|---|"
        for parameter in parameters:
            yield f"| {label(parameter, context)} | {about(parameter)} |"
        yield ""
    yield from paragraphs(command.epilog)


def label(parameter: click.Parameter, context: click.Context) -> str:
    """A parameter's names and what it takes."""
    if isinstance(parameter, click.Argument):
        return f"`{parameter.make_metavar(context)}`"
    names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
    takes = "" if getattr(parameter, "is_flag", False) else f" `{parameter.make_metavar(context)}`"
    return names + escaped(takes)


def about(parameter: click.Parameter) -> str:
    """A parameter's help, with its default."""
    text = " ".join(as_markdown(getattr(parameter, "help", None) or "").split())
    default = parameter.default
    if parameter.required:
        text += " *Required.*"
    elif default is True and parameter.secondary_opts:
        text += f" *Default:* `{parameter.opts[0]}`."
    elif default not in (None, "", (), []) and not callable(default) and default is not False:
        text += f" *Default:* `{getattr(default, 'value', default)}`."
    return escaped(text.strip())


def escaped(cell: str) -> str:
    """A table's cell, in which a bar is no border."""
    return cell.replace("|", "\\|")


def paragraphs(text: str | None) -> Iterator[str]:
    """Help text as Markdown, its examples as blocks of code."""
    for paragraph in re.split(r"\n\s*\n", text or ""):
        plain = render(paragraph).plain.strip()
        example = plain.removeprefix("Example: ")
        if example.startswith("fedstill"):
            yield "```console"
            yield from (f"$ {line.strip()}" for line in example.splitlines())
            yield "```\n"
        elif plain:
            yield as_markdown(paragraph.strip()) + "\n"


def as_markdown(text: str) -> str:
    """Rich's markup as Markdown: what is cyan is code, what is bold is bold."""
    shown = render(text)
    pieces, end = [], 0
    for span in sorted(shown.spans):
        if span.start < end:
            continue
        inside = shown.plain[span.start : span.end]
        pieces.append(safe(shown.plain[end : span.start]))
        if str(span.style) in CODE:
            pieces.append(f"`{inside}`")
        else:
            pieces.append(f"**{safe(inside)}**" if "bold" in str(span.style) else safe(inside))
        end = span.end
    return "".join(pieces) + safe(shown.plain[end:])


def safe(text: str) -> str:
    """Text in which Markdown finds no emphasis, links or tags; what is between backticks stays as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part[:1] == "`" else _without_marks(part) for part in parts)


def _without_marks(text: str) -> str:
    """Text whose signs mean nothing to Markdown."""
    return re.sub(r"([\\*_\[\]])", r"\\\1", text).replace("<", "&lt;").replace(">", "&gt;")
