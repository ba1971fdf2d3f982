"""fedstill-agent generate: a student of text writes on with a text."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from fedstill_proto.errors import FedstillError

from fedstill_client.agent_types import check_scope
from fedstill_client.commands.options import (
    AgentCommand,
    HomeOption,
    JsonOption,
    ScopeOption,
    StudentOption,
    from_dataclass,
)
from fedstill_client.commands.output import print_json
from fedstill_client.commands.paths import check_student_folder

if TYPE_CHECKING:
    from fedstill_client.generation.sampling import Sampling
    from fedstill_client.generation.writing import Written


def register(app: typer.Typer) -> None:
    """Add the command to fedstill-agent."""
    app.command(name="generate", cls=AgentCommand)(from_dataclass(WritingOptions)(generate_command))


def _option(help: str) -> Any:
    return field(default=None, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class WritingOptions:
    """How to write; the help of each field is that of its option."""

    tokens: int | None = _option("How many words or sub-words at most; 64.")
    temperature: float | None = _option(
        "Below 1 for likelier words, above for others; 0 takes the likeliest; 1."
    )
    top_k: int | None = _option("Draw among so many of the likeliest; 0 is all; 0.")
    top_p: float | None = _option("Draw among the fewest that are so likely together; 1 is all; 1.")
    seed: int | None = _option("Of the draws: the same one writes the same text; 0.")

    def sampling(self) -> Sampling:
        """How each token is chosen; raises InvalidValue."""
        from fedstill_client.generation.sampling import Sampling  # numpy, which --help does without

        given = {name: value for name, value in vars(self).items() if name != "tokens" and value is not None}
        return Sampling(**given)


def generate_command(
    prompt: Annotated[str, typer.Argument(help="The text to go on with.")] = "",
    options: WritingOptions | None = None,
    draft: Annotated[
        Path | None,
        typer.Option(
            help="The package of a small student of the same words, which drafts: the large one checks "
            "several words in one run. The text has the same chances."
        ),
    ] = None,
    home: HomeOption = None,
    student: StudentOption = None,
    scope: ScopeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write on with a text, by the device's own student of text or one of a package.

    It stops where the student ends the text. What the package's constraints suppress, and words that the
    device's owner has blocked, are never written.

    [bold]Examples[/bold]

      fedstill-agent generate "good morrow to"

      fedstill-agent generate "good morrow to" --temperature 0.8 --top-p 0.9 --seed 7 --tokens 40

      fedstill-agent generate --student students/ssm-64-128 --json

      fedstill-agent generate --student students/large --draft students/small --tokens 200
    """
    if student is not None and (home is not None or scope is not None):
        raise FedstillError("--student goes without --home and --scope: a package has one answer.")
    whom = check_scope(scope or "owner")
    if student is not None:
        check_student_folder(student)
    if draft is not None:
        check_student_folder(draft)
    options = options or WritingOptions()
    sampling, tokens = options.sampling(), 64 if options.tokens is None else options.tokens
    if student is not None:
        written = _by_package(student, prompt, tokens, sampling, draft)
    else:
        from fedstill_client.agent.agent import Agent
        from fedstill_client.home import AgentHome
        from fedstill_client.service.endpoint import check_private

        at = AgentHome.given(home)
        check_private(at)
        with Agent.open(at.folder) as agent:  # beside the service, where one runs: this may take a minute
            written = agent.generate(prompt, tokens=tokens, sampling=sampling, scope=whom, draft=draft)
    if as_json:
        print_json({"text": written.text, "numbers": list(written.numbers), "ended": written.ended})
    else:
        typer.echo(written.text)


def _by_package(folder: Path, prompt: str, tokens: int, sampling: Sampling, draft: Path | None) -> Written:
    from fedstill_proto.package.artifact import load_student

    from fedstill_client.generation.writing import TextWriter

    package = load_student(folder)
    if draft is not None:
        from fedstill_client.generation.speculation import SpeculativeWriter

        writer = SpeculativeWriter.of(package, load_student(draft))
        return writer.write(prompt, tokens=tokens, sampling=sampling)
    return TextWriter.of(package).write(prompt, tokens=tokens, sampling=sampling)
