"""An agent's home: one folder that holds all that a device of a fleet is, private to its owner's user.

device.json     who the device is (see device_description.py)
fleet.json      the fleet it belongs to: where its server is, and which certificates it trusts
keys/           the device's own key, which its server knows it by
trust/          the fleet's signed metadata on its student packages (TUF), and its release plan
packages/       installed student packages, <version>-<family>/ each
store.db        private examples, personal weights and the privacy ledger (see store/)
store.db.reserve  room that is set aside, so that `forget` works on a full disk
connection.json how the device stands with its server (see fleet/connection.py)
node            the Flower node that the device is, once its server has let it in
names.json      what rooms and things are called here, where its owner has said so (see commands/names.py)
policy.json     what the device ever does for its fleet: its owner's rules (see privacy/)
enrolled.json   the fleet's signed list of devices, as of the last sum (see secure_sums/)
statement.json  what the fleet said, signed, that it would ask (see privacy/statement.py)
answers/        what the device sent in its last rounds (see rounds/base_table_store.py)
answer-times    how long answers take (see releases/watch.py)
release-wanted  there while a newer release is to be looked for at once
told            what the fleet told it in its last rounds (see rounds/told_labels.py)
run.lock        locked by the process that takes part in the fleet
agent.sock      the socket at which apps of the same user call the agent (see service/)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedstill_proto.errors import FedstillError, unknown_name

HOME_VARIABLE = "FEDSTILL_HOME"
DEVICE_FOLDER_VARIABLE = "FEDSTILL_DEVICE_FOLDER"  # which folder a Flower node answers for
DEFAULT_HOME = Path("/var/lib/fedstill")


Encryption = Literal["off", "key-file", "keyring"]
ENCRYPTIONS: tuple[Encryption, ...] = ("off", "key-file", "keyring")


class HomeError(FedstillError):
    """An agent's home is missing, or open to others."""


def check_encryption(encryption: str) -> Encryption:
    """The encryption of this name; raises UnknownName where there is none."""
    for known in ENCRYPTIONS:
        if encryption == known:
            return known
    raise unknown_name("encryption", encryption, ENCRYPTIONS)


@dataclass(frozen=True)
class AgentHome:
    """The folder, and where each thing is in it."""

    folder: Path

    @classmethod
    def given(cls, folder: Path | None = None) -> AgentHome:
        """`folder`, or what FEDSTILL_HOME names, or /var/lib/fedstill."""
        return cls(folder or Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME))

    @classmethod
    def is_at(cls, folder: Path) -> bool:
        """Whether an agent has its home there (and it is not a plain device folder of .npz files)."""
        return cls(folder).store.exists()

    @property
    def description(self) -> Path:
        return self.folder / "device.json"

    @property
    def fleet(self) -> Path:
        return self.folder / "fleet.json"

    @property
    def node(self) -> Path:
        return self.folder / "node"

    @property
    def connection(self) -> Path:
        return self.folder / "connection.json"

    @property
    def run_lock(self) -> Path:
        return self.folder / "run.lock"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def device_key(self) -> Path:
        return self.keys / "device"

    @property
    def enrolled(self) -> Path:
        return self.folder / "enrolled.json"

    @property
    def trust(self) -> Path:
        return self.folder / "trust"

    @property
    def release_plan(self) -> Path:
        return self.trust / "release-plan.json"

    @property
    def packages(self) -> Path:
        return self.folder / "packages"

    @property
    def store(self) -> Path:
        return self.folder / "store.db"

    @property
    def names(self) -> Path:
        return self.folder / "names.json"

    @property
    def answers(self) -> Path:
        return self.folder / "answers"

    @property
    def told(self) -> Path:
        return self.folder / "told"

    @property
    def answer_times(self) -> Path:
        return self.folder / "answer-times"

    @property
    def release_wanted(self) -> Path:
        return self.folder / "release-wanted"

    def look_for_release(self) -> None:
        """Have whoever keeps the device in its fleet look for a newer package at once."""
        self.release_wanted.touch(mode=0o600)

    @property
    def socket(self) -> Path:
        return self.folder / "agent.sock"

    def create(self) -> None:
        """Make the folder, for the owner's user alone; refuse one that others can look into."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            mode = self.folder.stat().st_mode
        except OSError as error:
            raise HomeError(f"{self.folder}: cannot be made: {error.strerror}.") from None
        if mode & 0o077:
            raise HomeError(
                f"{self.folder}: others may look into it (mode {mode & 0o777:o}); "
                f"run: chmod 700 {self.folder}"
            )
