"""fedstill-agent names: what the rooms and things of this home are called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from fedstill_proto.errors import FedstillError

from fedstill_client.commands.options import AgentCommand, HomeOption, JsonOption
from fedstill_client.commands.output import print_json, print_line
from fedstill_client.home import AgentHome


def register(app: typer.Typer) -> None:
    """Add the command to fedstill-agent."""
    app.command(name="names", cls=AgentCommand)(names_command)


def names_command(
    areas: Annotated[list[str] | None, typer.Option("--area", help="A room, by its name; repeat it.")] = None,
    things: Annotated[
        list[str] | None, typer.Option("--thing", help="A thing, by its name; repeat it.")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", help="A name that is forgotten; repeat it.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--input", help='All names anew: {"areas": [...], "things": [...]}.')
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="All names are forgotten.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what the rooms and things of this home are called, so that they are found in what people say.

    The names stay on this device, in names.json of its home, and nothing learns them. Without an option, they
    are shown.

    [bold]Examples[/bold]

      fedstill-agent names --area Sauna --thing Rosie --thing "Opa's lamp"

      fedstill-agent names --remove Rosie

      fedstill-agent names --input names.json
    """
    from fedstill_proto.system.files import replace_file
    from fedstill_proto.text.slots import HomeNames

    from fedstill_client.agent.slots import HomeNamesError, read_home_names

    if clear and (areas or things or remove or file):
        raise FedstillError("--clear: takes all names away; leave the other options out.")
    folder = AgentHome.given(home)
    if not folder.folder.is_dir():
        raise FedstillError(f"{folder.folder}: is no agent's home; enrol the device, or give --home.")
    if file is not None and not file.is_file():
        raise FedstillError(f"{file}: there is no such file.")
    known = HomeNames() if clear else read_home_names(file or folder.names)
    gone = set(remove or ())
    for name in gone - {*known.areas, *known.things}:
        raise FedstillError(f"--remove: {name!r:.60} is none of the names; fedstill-agent names shows them.")

    def joined(before: tuple[str, ...], added: list[str] | None) -> list[str]:
        names = [*before, *(added or ())]
        return [name for name in dict.fromkeys(names) if name not in gone]

    names = HomeNames.of_lists(joined(known.areas, areas), joined(known.things, things))
    if clear or areas or things or gone or file is not None:
        try:
            replace_file(folder.names, names.to_json())
        except OSError as error:
            raise HomeNamesError(f"{folder.names}: cannot be written: {error.strerror}") from None
    if as_json:
        print_json({"areas": list(names.areas), "things": list(names.things)})
        return
    print_line(f"rooms: {', '.join(names.areas) or 'none'}")
    print_line(f"things: {', '.join(names.things) or 'none'}")
