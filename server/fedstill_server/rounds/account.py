"""The server's account of noised releases, in mode central: each is debited before anything is made of it.

<run>/server/account/000001.json, 000002.json, ...: one entry a release, never changed and never removed. An
entry names the run, the round, what the release costs each device that was asked (rho, in zCDP), those
devices, and the digest of the noised means themselves, which lie beside it as 000001.safetensors. Its own
digest covers all that, and the digest of the entry before it: a chain, whose newest digest is the account's
head. Every checkpoint names the head that it was made under. So

- a run that dies after the debit goes on with the very same noised means: noise is drawn once a round;
- a run whose checkpoints are older than its account does the same, for the rounds whose means are kept, and
  counts a round again, as a release of its own, where they are not;
- an account that is lost, or older than a checkpoint, is found out, and nothing is released under it.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.files import SHARED, replace_file
from fedstill_proto.system.sealed import BLANK, SEAL, DamagedFile, json_in, seal_of, sealed, sealed_json

from fedstill_server.config.codec import from_json
from fedstill_server.consensus.noised_mean import NoisedMean

KEPT_RELEASES = 8
"""How many of the newest releases are kept as they were; a run goes back by one round, as a rule."""
_START = BLANK  # stands for the entry before the first
_NEW_RUN = "restore server/account as it was last, or start a new run, whose cost adds to this one's"

log = logging.getLogger("fedstill.account")


class AccountError(FedstillError):
    """The account cannot be what was written: nothing is released under it."""


@dataclass(frozen=True, kw_only=True)
class Debit:
    """What one release costs.

    Attributes:
        number: Its place in the account, from 1.
        run: The run's name.
        round: The round whose consensus it is.
        rho: What it costs each device that was asked, in zCDP.
        asked: The devices that were asked, by name.
        released: The digest of the noised means, SHA-256.
        before: The digest of the entry before it.
    """

    number: int
    run: str
    round: int
    rho: float
    asked: tuple[str, ...]
    released: str
    before: str


@dataclass(frozen=True, kw_only=True)
class Head:
    """The account's newest entry: how many there are, and its digest."""

    entries: int = 0
    digest: str = _START


class Account:
    """The entries of one run, first to last; opening it checks every one."""

    def __init__(self, folder: Path, run: str, *, on_commit: Callable[[], None] = lambda: None) -> None:
        """Read an account.

        Args:
            folder: The folder of the entries; there need be none yet.
            run: The run's name.
            on_commit: Called when a release was written down, before anybody sees it.

        Raises:
            AccountError: An entry is damaged, missing, or of another run.
        """
        self.folder, self._run, self._on_commit = folder, run, on_commit
        self._debits: list[Debit] = []
        self._digests: list[str] = [_START]
        for debit, digest in self._read():
            self._debits.append(debit)
            self._digests.append(digest)

    @property
    def debits(self) -> Sequence[Debit]:
        """All entries, first to last."""
        return tuple(self._debits)

    @property
    def head(self) -> Head:
        """The newest entry."""
        return Head(entries=len(self._debits), digest=self._digests[-1])

    def check(self, named: Head, *, by: str) -> None:
        """Check that an entry that something else names is in the account.

        Args:
            named: The head as it was when that was written.
            by: What names it, for the error.

        Raises:
            AccountError: It is not: the account was lost, or is older.
        """
        if named.entries >= len(self._digests):
            have = f"holds {len(self._debits)} entries" if self._debits else "is empty or lost"
            raise AccountError(
                f"{self.folder}: {by} names entry {named.entries} of this account, which {have}. "
                f"Nothing more is released: {_NEW_RUN}."
            )
        if self._digests[named.entries] != named.digest:
            raise AccountError(
                f"{self.folder}: entry {named.entries} is not the one that {by} names "
                f"({named.digest[:12]}). Nothing more is released: {_NEW_RUN}."
            )

    def released(self, round_number: int) -> dict[str, NoisedMean] | None:
        """The noised means that were released for a round; None where none were, or they are not kept.

        Raises:
            AccountError: They are kept, and damaged.
        """
        debit = next((one for one in reversed(self._debits) if one.round == round_number), None)
        if debit is None:
            return None
        path = self._means_file(debit.number)
        if not path.exists():
            log.warning("%s: not kept; round %d is released anew, and counts again", path, round_number)
            return None
        remedy = f"delete it, and round {round_number} is released anew and counts again"
        try:
            blob = path.read_bytes()
            digest = seal_of(blob, where=path, remedy=remedy)
        except (OSError, DamagedFile) as error:
            raise AccountError(str(error)) from None
        if digest != debit.released:
            raise AccountError(f"{path}: not the means that entry {debit.number} names; {remedy}.")
        return _means_in(blob)

    def debit(
        self, round_number: int, means: Mapping[str, NoisedMean], *, rho: float, asked: Sequence[str]
    ) -> None:
        """Write a release down, with its means; on the disk when this returns, and before anybody sees them.

        Args:
            round_number: The round.
            means: What is about to be released, by part.
            rho: What it costs each device that was asked.
            asked: Those devices.

        Raises:
            AccountError: It cannot be written.
        """
        number = len(self._debits) + 1
        blob = _means_file(means)
        debit = Debit(
            number=number,
            run=self._run,
            round=round_number,
            rho=rho,
            asked=tuple(sorted(asked)),
            released=seal_of(blob, where="the means"),
            before=self._digests[-1],
        )
        entry = sealed_json(asdict(debit))
        try:
            replace_file(self._means_file(number), blob, mode=SHARED)
            replace_file(self._entry_file(number), entry, mode=SHARED)
        except OSError as error:
            raise AccountError(
                f"{self.folder}: cannot be written ({error.strerror}), so that round {round_number} is not "
                "released; make room, and start the run again."
            ) from None
        self._debits.append(debit)
        self._digests.append(seal_of(entry, where="the entry"))
        self._means_file(number - KEPT_RELEASES).unlink(missing_ok=True)
        self._on_commit()

    def forget_means_after(self, round_number: int) -> None:
        """Use no means again that were released for a later round: they are of a generation that is over.

        They stay debited, and the round is released anew.
        """
        for debit in self._debits:
            if debit.round > round_number:
                self._means_file(debit.number).unlink(missing_ok=True)

    def most_asked(self) -> int:
        """The releases of the device that was asked most often; a round released twice counts twice."""
        return max(Counter(name for one in self._debits for name in one.asked).values(), default=0)

    def rho(self) -> float:
        """What they cost that device, or one that is asked in each of these."""
        spent: Counter[str] = Counter()
        for debit in self._debits:
            spent.update(dict.fromkeys(debit.asked, debit.rho))
        return max(spent.values(), default=0.0)

    def _read(self) -> Iterator[tuple[Debit, str]]:
        """The entries and their digests, each held against the one before."""
        paths = sorted(self.folder.glob("[0-9]*.json"))
        before = _START
        for number, path in enumerate(paths, start=1):
            if path != self._entry_file(number):
                missing = self._entry_file(number)
                raise AccountError(f"{missing}: missing, and there is {path.name}. {_NEW_RUN.capitalize()}.")
            try:
                blob = path.read_bytes()
                digest = seal_of(blob, where=path, remedy=_NEW_RUN)
                debit = from_json(Debit, json_in(blob), where=str(path))
            except OSError as error:
                raise AccountError(f"{path}: cannot be read: {error.strerror}; {_NEW_RUN}.") from None
            except FedstillError as error:
                raise AccountError(str(error)) from None
            if (debit.number, debit.run, debit.before) != (number, self._run, before):
                raise AccountError(
                    f"{path}: entry {debit.number} of run {debit.run!r}, and not the one that follows "
                    f"{before[:12]}: an entry was exchanged. {_NEW_RUN.capitalize()}."
                )
            if not (math.isfinite(debit.rho) and debit.rho >= 0):
                raise AccountError(f"{path}: rho: {debit.rho} is not 0 or more.")
            before = digest
            yield debit, digest

    def _entry_file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.json"

    def _means_file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.safetensors"


def _means_file(means: Mapping[str, NoisedMean]) -> bytes:
    arrays = {}
    for part, mean in means.items():
        arrays[f"vector/{part}"] = np.ascontiguousarray(mean.vector, np.float64)
        arrays[f"noise/{part}"] = np.array([mean.noise, mean.devices], np.float64)
    return sealed(safetensors.numpy.save(arrays, metadata={SEAL: BLANK}))


def _means_in(blob: bytes) -> dict[str, NoisedMean]:
    arrays = safetensors.numpy.load(blob)
    parts = sorted(name.removeprefix("vector/") for name in arrays if name.startswith("vector/"))
    return {
        part: NoisedMean(
            arrays[f"vector/{part}"], float(arrays[f"noise/{part}"][0]), int(arrays[f"noise/{part}"][1])
        )
        for part in parts
    }
