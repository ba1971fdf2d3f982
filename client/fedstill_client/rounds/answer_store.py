"""What a device said in its last rounds, on its disk, so that the next answer can be coded against it.

One file a device, replaced whole: whatever moment the power fails at, it holds the old tables or the new
ones. A file that cannot be read is as good as none: the device then answers without a base.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from fedstill_proto.codec.base_table_file import HeldAnswer, decode_held, encode_held
from fedstill_proto.errors import FedstillError
from fedstill_proto.soft_labels.base_table import AnswerTable
from fedstill_proto.system.files import replace_file

# The server may not have got the last ones; so many lost in a row are made up for.
_KEPT_ROUNDS = 4

log = logging.getLogger("fedstill.device")


@dataclass(frozen=True)
class AnswerStore:
    """The folder that holds the tables of one device, or of many."""

    folder: Path

    def table(self, device: str, *, run: str, round: int) -> AnswerTable | None:
        """The table as this round left it; none where it is not there any more."""
        if round == 0:
            return None
        for held in self._read(device):
            if (held.run, held.round) == (run, round):
                return held.table
        return None

    def keep(self, device: str, table: AnswerTable, *, run: str, round: int) -> None:
        """Keep what this round made of the table, and the few before it."""
        before = [held for held in self._read(device) if held.run == run and held.round != round]
        recent = sorted(before, key=lambda held: held.round)[-(_KEPT_ROUNDS - 1) :]
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self._file(device), encode_held([*recent, HeldAnswer(run, device, round, table)]))

    def forget(self, device: str) -> None:
        """Keep nothing: the next answer is whole."""
        self._file(device).unlink(missing_ok=True)

    def _read(self, device: str) -> list[HeldAnswer]:
        file = self._file(device)
        try:
            return [held for held in decode_held(file.read_bytes()) if held.device == device]
        except FileNotFoundError:
            return []
        except (OSError, FedstillError) as error:
            log.warning("%s: what was said before cannot be read, the next answer is whole: %s", file, error)
            return []

    def _file(self, device: str) -> Path:
        # Names of devices are any printable text.
        return self.folder / f"{hashlib.sha256(device.encode()).hexdigest()[:32]}.answers"
