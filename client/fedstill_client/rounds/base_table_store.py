"""What a device sent in its last rounds, on its disk, so that the next answer can be coded against it.

One file a device, replaced whole: whatever moment the power fails at, it holds the old tables or the new
ones. A file that cannot be read is as good as none: the device then answers without a base.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from fedstill_proto.codec.base_table_file import StoredTable, decode_tables, encode_tables
from fedstill_proto.errors import FedstillError
from fedstill_proto.soft_labels.base_table import BaseTable
from fedstill_proto.system.files import replace_file

# The server may not have got the last ones; so many lost in a row are made up for.
_KEPT_ROUNDS = 4

log = logging.getLogger("fedstill.device")


@dataclass(frozen=True)
class BaseTableStore:
    """The folder that holds the tables of one device, or of many."""

    folder: Path

    def table(self, device: str, *, run: str, round: int) -> BaseTable | None:
        """The table as this round left it; None where it is not there any more."""
        if round == 0:
            return None
        for stored in self._read(device):
            if (stored.run, stored.round) == (run, round):
                return stored.table
        return None

    def keep(self, device: str, table: BaseTable, *, run: str, round: int) -> None:
        """Keep what this round made of the table, and the few before it."""
        before = [stored for stored in self._read(device) if stored.run == run and stored.round != round]
        recent = sorted(before, key=lambda stored: stored.round)[-(_KEPT_ROUNDS - 1) :]
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.file(device), encode_tables([*recent, StoredTable(run, device, round, table)]))

    def forget(self, device: str) -> None:
        """Keep nothing: the next answer is whole."""
        self.file(device).unlink(missing_ok=True)

    def _read(self, device: str) -> list[StoredTable]:
        file = self.file(device)
        try:
            return [stored for stored in decode_tables(file.read_bytes()) if stored.device == device]
        except FileNotFoundError:
            return []
        except (OSError, FedstillError) as error:
            log.warning("%s: what was sent before cannot be read, the next answer is whole: %s", file, error)
            return []

    def file(self, device: str) -> Path:
        """Where the tables of a device lie."""
        # Names of devices are any printable text.
        return self.folder / f"{hashlib.sha256(device.encode()).hexdigest()[:32]}.answers"
