"""Utterances at the command line: what they mean, and those that an owner says the meaning of."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from fedstill_proto.errors import FedstillError
from fedstill_proto.intents import Understanding
from rich.console import Console
from rich.table import Table

from fedstill_client.agent_output import print_json

_FILE_LIMIT_BYTES = 64 << 20


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


def read_said(file: Path) -> list[tuple[str, str]]:
    """The texts and labels of a .csv file; raises FedstillError with the line of what is wrong."""
    try:
        if file.stat().st_size > _FILE_LIMIT_BYTES:
            raise FedstillError(f"{file}: {file.stat().st_size} bytes; {_FILE_LIMIT_BYTES} at most")
        reader = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig")), strict=True)
        if not {"text", "label"} <= set(reader.fieldnames or ()):
            raise FedstillError(f"{file}: line 1: {reader.fieldnames!r:.80} are no columns text and label")
        said = []
        for row in reader:
            text, label = (row["text"] or "").strip(), (row["label"] or "").strip()
            if not text or not label:
                raise FedstillError(f"{file}: line {reader.line_num}: text or label is missing")
            said.append((text, label))
    except OSError as error:
        raise FedstillError(f"{file}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise FedstillError(f"{file}: is no table of text,label: {error}") from None
    return said
