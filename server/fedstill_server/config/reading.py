"""How files of one's own are read: tables with named columns, and folders of pictures or windows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedstill_proto.errors import FedstillError, InvalidValue, unknown_name
from fedstill_proto.readers.columns import FILL, REFUSE
from fedstill_proto.readers.example_files import COLOURS, PictureRule, size_of
from fedstill_proto.readers.tables import Table, read_table

from fedstill_server.config.codec import ConfigError
from fedstill_server.config.options import check_options, option

OWN_DATA = "Your own data"
USUAL_LABEL = "label"


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How tables and pictures are read; what only one kind of data has is left alone by the others."""

    label: str = option("", "Of a table: the column of the labels; label.", panel=OWN_DATA, metavar="COLUMN")
    leave_out: tuple[str, ...] = option(
        (), "Of a table: columns that are not read.", panel=OWN_DATA, metavar="COLUMN,..."
    )
    missing: str = option(
        REFUSE,
        "Of a table: what a missing value means, and a text that the public set has not: refuse, an error; "
        "fill, the public set's mean, or of texts a category of its own.",
        choices=(REFUSE, FILL),
        panel=OWN_DATA,
    )
    image_size: str = option(
        "",
        "Of pictures: what each is resized to, such as 32x32; without it, all have to be of one size.",
        panel=OWN_DATA,
        metavar="WIDTHxHEIGHT",
    )
    image_colour: str = option(
        "",
        "Of pictures: grey or rgb converts each; without it, they are taken as they are.",
        choices=("", "grey", "rgb"),
        panel=OWN_DATA,
        metavar="grey|rgb",
    )

    def __post_init__(self) -> None:
        check_options(self)
        _ = self.pictures

    @property
    def pictures(self) -> PictureRule:
        """What is made of pictures."""
        try:
            return PictureRule(size=size_of(self.image_size), colour=self.image_colour or COLOURS[0])
        except InvalidValue as error:
            raise ConfigError(f"--image-size: {error.problem}") from None

    def table(self, file: Path, *, without: tuple[str, ...] = ()) -> Table:
        """A table without the columns that are left out.

        Raises:
            FedstillError: Naming the file, and what does not fit.
        """
        return self.checked(read_table(file), without=without)

    def checked(self, table: Table, *, without: tuple[str, ...] = ()) -> Table:
        """The same of a table that is read; it has to have the column of the labels."""
        label = self.label_column
        if label not in table.columns:
            if not self.label:
                names = ", ".join(table.columns)
                raise FedstillError(
                    f"{table.name}: say which column holds the labels: --label COLUMN; there are {names}"
                )
            raise unknown_name(f"{table.name}: --label: column", label, table.columns)
        return table.without((*self.leave_out, *without))

    @property
    def label_column(self) -> str:
        """The column of a table's labels."""
        return self.label or USUAL_LABEL
