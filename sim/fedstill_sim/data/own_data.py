"""Options of data of one's own that only a simulation has: who the devices are, and what is public."""

from __future__ import annotations

from dataclasses import dataclass

from fedstill_server.config.options import option
from fedstill_server.config.reading import OWN_DATA, ReadOptions

from fedstill_sim.data.pools import TEST_FRACTION


@dataclass(frozen=True, kw_only=True)
class OwnDataOptions(ReadOptions):
    """How one's own data are read, and become devices."""

    device_column: str = option(
        "",
        "Of a table: the column that names each row's device; the devices public and test are the public set "
        "and the test set. Without it, --devices deals the rows out.",
        panel=OWN_DATA,
        metavar="COLUMN",
    )
    family_column: str = option(
        "",
        "Of a table: the column that names the student family of each device; of folders there is a file "
        "families.csv (device,family).",
        panel=OWN_DATA,
        metavar="COLUMN",
    )
    public_share: float = option(
        0.0,
        "Share of the examples that becomes the public set, where the data have none.",
        least=0,
        below=1,
        panel=OWN_DATA,
    )
    held_out: float = option(
        TEST_FRACTION,
        "Share of a device's examples that it is tested on, where it brings no tests; 0 tests no device.",
        least=0,
        below=1,
        panel=OWN_DATA,
    )
