"""A fleet of texts of one's own: who has which rows of sub-words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedstill_proto.package.subwords import CLASSES
from fedstill_proto.readers.given import GivenExamples, is_table
from fedstill_proto.readers.tables import Table
from fedstill_server.tasks.subwords.rows import FleetTokenizer, given_texts, texts_of, tokenizer_of
from fedstill_server.tasks.subwords.task import TOKENIZER_FILE

from fedstill_sim.data.dealing import Dealing
from fedstill_sim.data.fleet import FleetData, FleetDataError
from fedstill_sim.data.given import fleet_of
from fedstill_sim.data.table_fleets import PUBLIC, fleet_of_tables, read_tables
from fedstill_sim.folder import DATA_FOLDER
from fedstill_sim.tasks.interface import DataRequest

SUBWORDS_FILE = "subwords.json"


def load_text_fleet(path: Path, wanted: DataRequest, *, public_share: float) -> FleetData:
    """The fleet of a table of texts and labels, or of a folder of tables.

    Args:
        path: The table, or the folder.
        wanted: The families, whose tokenizer makes the rows, and how rows are dealt out.
        public_share: Of the texts, what becomes the public set where there is none and nobody says.

    Raises:
        FedstillError: Naming the file, and the row or column that does not fit.
    """
    reading = wanted.reading
    if path.is_file() and not is_table(path):
        raise FleetDataError(f"{path}: is no table of texts; give a .csv, .tsv or .parquet file")
    tables, whole = read_tables(path)
    read = tokenizer_of(wanted.families)
    label = reading.label_column
    beside = [column for column in (reading.device_column, reading.family_column) if column]

    def own_columns(table: Table) -> Table:
        return reading.checked(table, without=tuple(name for name in beside if name in table.columns))

    spoken = [text for table in tables.values() for text in texts_of(own_columns(table), label=label)]
    places = read.places(spoken, 0)

    def rows(table: Table) -> GivenExamples:
        return given_texts(table, read.tokenizer, label=label, places=places)

    dealing = Dealing.asked(
        reading,
        devices=wanted.devices,
        dirichlet=wanted.dirichlet,
        seed=wanted.seed,
        examples=wanted.examples_per_device,
    )
    if PUBLIC not in tables and not dealing.public_share:
        dealing = replace(dealing, public_share=public_share)
    given = fleet_of_tables(path.name, tables, reading, dealing, whole=whole, examples_of=rows)
    data = fleet_of(given, families=wanted.families, normalize="none", channels="first")
    return replace(data, files=tokenizer_files(read, places=places, answer=CLASSES))


def tokenizer_files(read: FleetTokenizer, *, places: int, answer: str) -> dict[str, bytes]:
    """What is kept of a tokenizer beside the rows that it made."""
    content, subwords = read.packaged(places=places, answer=answer)
    described = {"pad": subwords.pad, "size": subwords.size, "library": subwords.library}
    return {TOKENIZER_FILE: content, SUBWORDS_FILE: json.dumps(described).encode()}


def described_tokenizer(data: FleetData) -> dict[str, Any]:
    """The options of the server's task that follow from a fleet's tokenizer."""
    described: dict[str, Any] = json.loads(data.files[SUBWORDS_FILE])
    return described | {"places": data.input_shape[0], "tokenizer": f"{DATA_FOLDER}/{TOKENIZER_FILE}"}
