"""Tables of texts as rows of sub-words, by the tokenizer that a fleet's families share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import IntArray
from fedstill_proto.package.subwords import Subwords
from fedstill_proto.readers.given import GivenExamples
from fedstill_proto.readers.tables import Table
from fedstill_proto.subwords.packed import packed_rows

from fedstill_server.config.fleet import ConfigError
from fedstill_server.data.errors import ExamplesError
from fedstill_server.families import FAMILIES
from fedstill_server.hugging_face.configuration import places_at_most, read_configuration
from fedstill_server.hugging_face.errors import HubModelError
from fedstill_server.hugging_face.reference import HubReference
from fedstill_server.hugging_face.tokenizer import SubwordTokenizer

TOKENIZER_FILE = "tokenizer.json"
MOST_PLACES = 64
"""Sub-words of a row where nobody says; longer texts are cut."""
_TEXT_COLUMNS = ("text", "sentence", "review", "utterance", "message")


@dataclass(frozen=True, eq=False)
class FleetTokenizer:
    """The tokenizer of a fleet.

    Attributes:
        tokenizer: That of the families.
        size: How many sub-words the families know.
        most_places: How many of them a family reads at most; None for any number.
    """

    tokenizer: SubwordTokenizer
    size: int
    most_places: int | None

    def places(self, texts: Sequence[str], asked: int) -> int:
        """The numbers of a row: as asked, or, at 0, of the longest text, in eights.

        Raises:
            ConfigError: A family reads fewer than that.
        """
        most = self.most_places
        if asked and most is not None and asked > most:
            raise ConfigError(f"places: {asked}; the families read {most} sub-words at most")
        longest = -(-max(self.tokenizer.lengths(texts), default=1) // 8) * 8
        return asked or min(longest, MOST_PLACES, most or MOST_PLACES)

    def next_rows(self, texts: Sequence[str], *, places: int) -> tuple[IntArray, IntArray]:
        """Sub-words of texts that stand one after another, and those that come next, [n, places] each."""
        numbers = self.tokenizer.numbers(texts)
        return packed_rows(numbers, separator=self.tokenizer.pad, places=places)

    def packaged(self, *, places: int, answer: str) -> tuple[bytes, Subwords]:
        """tokenizer.json of packages, and what their manifests say of it."""
        return self.tokenizer.packaged(places=places, size=self.size, answer=answer)


def tokenizer_of(families: Sequence[str]) -> FleetTokenizer:
    """The tokenizer that all families share: devices read the same public rows, whatever their student is.

    Raises:
        ConfigError: A family is no model of Hugging Face, has no tokenizer, or another one.
        HubModelError: A family's files cannot be read.
    """
    first: SubwordTokenizer | None = None
    sizes, places = [], []
    for family in families:
        place = FAMILIES.place_of(family)
        if not place:
            raise ConfigError(f"families: {family!r} is no model of Hugging Face, such as hf:models/bert")
        reference = HubReference.of(place, where=f"families: {family}")
        folder = reference.folder(where=f"families: {family}")
        config = read_configuration(reference, folder)
        pad = config.pad_token_id
        found = SubwordTokenizer.of_folder(folder, pad=pad if isinstance(pad, int) and pad >= 0 else None)
        if found is None:
            raise HubModelError(f"families: {family}: {folder} has no tokenizer.json; put one beside it")
        if found.size > config.vocab_size:
            raise HubModelError(
                f"families: {family}: knows {config.vocab_size} sub-words, its tokenizer makes {found.size}"
            )
        if first is not None and (found.content, found.pad) != (first.content, first.pad):
            raise ConfigError(
                f"families: {family!r} has another tokenizer than {families[0]!r}; the families of a fleet "
                "read the same rows"
            )
        first = first or found
        sizes.append(int(config.vocab_size))
        most = places_at_most(config)
        places += [] if most is None else [most]
    if first is None:
        raise ConfigError("families: name at least one model of Hugging Face, such as hf:models/bert")
    return FleetTokenizer(first, min(sizes), min(places, default=None))


def text_column(table: Table, *, label: str) -> str:
    """The column of the texts: one that is called so, or the only one beside the labels.

    Raises:
        ExamplesError: No column can be meant, or several.
    """
    named = [name for name in table.columns if name.lower() in _TEXT_COLUMNS]
    others = named or [name for name in table.columns if name != label]
    if len(others) == 1 or (named and named[0]):
        return others[0]
    raise ExamplesError(
        f"{table.name}: which column holds the texts? There are {', '.join(table.columns)}; call it text, or "
        "leave the others out: --leave-out COLUMN,..."
    )


def texts_of(table: Table, *, label: str) -> list[str]:
    """The texts of a table.

    Raises:
        ExamplesError: Naming the row of an empty one.
    """
    column = text_column(table, label=label)
    texts = list(table.texts(column))
    empty = next((row for row, text in enumerate(texts) if not text.strip()), None)
    if empty is not None:
        raise ExamplesError(f"{table.where(empty, column)} is empty; give a text, or remove the row")
    return texts


def given_texts(table: Table, tokenizer: SubwordTokenizer, *, label: str, places: int) -> GivenExamples:
    """The rows of a table of texts as examples; with labels where it has their column."""
    y = np.array(table.texts(label), np.str_) if label in table.columns else None
    x = tokenizer.rows(texts_of(table, label=label), places=places)
    return GivenExamples(table.name, x, y, lambda row: f"{table.name}: {table.rows[row]}")
