"""What the fleet told a device in its last rounds: the next task's soft labels can be coded against it.

These are the fleet's soft labels of public examples, and no private example of the device has a part in them.
Where they are lost, the device refuses a task for its missing base, and gets it whole.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from fedstill_proto.codec.base_table_file import StoredTable, decode_tables, encode_tables
from fedstill_proto.codec.told_labels import KEPT_ROUNDS
from fedstill_proto.errors import FedstillError
from fedstill_proto.soft_labels.base_table import BaseTable
from fedstill_proto.system.files import replace_file

log = logging.getLogger("fedstill.device")


class ToldLabels(ABC):
    """The levels of the last few rounds of one run, as bytes kept somewhere."""

    @abstractmethod
    def _load(self) -> bytes | None:
        """The bytes that were kept last; None while there are none."""

    @abstractmethod
    def _keep(self, blob: bytes) -> None:
        """Keep these bytes, and no others."""

    def table(self, run: str, round: int) -> BaseTable | None:
        """What this round told; None where it is not there any more."""
        held = (stored.table for stored in self._stored(run) if stored.round == round)
        return next(held, None)

    def keep(self, run: str, round: int, table: BaseTable | None) -> None:
        """Keep what a round told, if anything, and what the few before it did."""
        if table is None:
            return
        before = [stored for stored in self._stored(run) if stored.round != round]
        self._keep(encode_tables([*before, StoredTable(run, "", round, table)][-KEPT_ROUNDS:]))

    def _stored(self, run: str) -> list[StoredTable]:
        """The tables of the run, those of the newest task last."""
        blob = self._load()
        try:
            return [] if blob is None else [one for one in decode_tables(blob) if one.run == run]
        except FedstillError as error:
            log.warning("what the fleet told before cannot be read, the next task is whole: %s", error)
            return []


@dataclass(frozen=True)
class ToldLabelsFile(ToldLabels):
    """Kept in a file that is replaced whole: whatever moment the power fails at, it is the old or the new."""

    file: Path

    def _load(self) -> bytes | None:
        try:
            return self.file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s: cannot be read, the next task is whole: %s", self.file, error)
            return None

    def _keep(self, blob: bytes) -> None:
        replace_file(self.file, blob)
