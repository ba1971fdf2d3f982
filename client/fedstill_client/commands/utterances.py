"""What an utterance means, at the command line."""

from __future__ import annotations

from fedstill_proto.text.intents import Understanding
from rich.console import Console
from rich.table import Table

from fedstill_client.commands.output import print_json


def show_understanding(understood: Understanding, *, as_json: bool) -> None:
    """The likeliest intents, and whether the first is sure enough."""
    if as_json:
        scored = [vars(each) for each in understood.intents]
        print_json({"intent": understood.intent, "sure": understood.sure, "intents": scored})
        return
    table = Table("intent", "confidence", box=None)
    for each in understood.intents:
        table.add_row(each.name, f"{each.confidence:.1%}")
    console = Console(soft_wrap=True)
    console.print(table, highlight=False)
    if not understood.sure:
        console.print("Unsure: ask again, or say it differently.", highlight=False)
