"""The run's memory on disk: after each round its state, its record, and the questions that are open.

<run>/server/rounds/round-000001.json is a round's record, and names the digests of its checkpoint: it is
written last, whole and synced, so that a run that dies at any moment finds its last committed round, bit for
bit. checkpoints/ holds what a run goes on from: the state (safetensors), who has a student and what is open
(JSON), and what is held of the devices. Every file has the digest of its own bytes in it, or in the record:
whatever a bit changed is found on reading, and named. The checkpoint before is kept: if the newest one is
damaged, the run goes on from there.

Each record names the digest of the one before it and, in mode central, the head of the account of noised
releases (rounds/account.py).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy
from fedstill_proto.errors import FedstillError
from fedstill_proto.generation import FIRST_GENERATION
from fedstill_proto.system.files import SHARED, replace_file
from fedstill_proto.system.sealed import (
    BLANK,
    SEAL,
    DamagedFile,
    json_in,
    read_sealed_json,
    seal_of,
    sealed,
    write_sealed_json,
)

from fedstill_server.config.codec import from_json
from fedstill_server.rounds.account import Account, Head
from fedstill_server.rounds.base_tables import BaseTables
from fedstill_server.rounds.oort import UtilityState
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.told_labels import LastTold
from fedstill_server.state import Arrays, FleetState

_KEPT_FILES = 2
_GO_BACK = "delete it, and the run does this round again"
_NEW_RUN = "restore it from a backup, or start a new run"

log = logging.getLogger("fedstill.checkpoint")


class RunStoreError(FedstillError):
    """The run's folder cannot be read or does not belong to this run."""


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A task without an answer; `overdue` where nobody waits for the answer any more."""

    message_id: str
    device: str
    family: str
    node: int
    round: int
    newcomer: bool
    asked_s: float
    overdue: bool


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a run goes on from.

    Attributes:
        round: The last committed round.
        state: The state after it.
        installed: The devices that have a student.
        pending: Questions that were open.
        clock_s: The time of a Grid that has a clock of its own; else 0.
        base_tables: What is held of the devices for delta coding.
        generation: Of the fleet's configuration, whose rounds go on from here.
        selection: What selection by utility remembers; None where devices are drawn at random.
    """

    round: int
    state: FleetState
    installed: frozenset[str]
    pending: tuple[Pending, ...] = ()
    clock_s: float = 0.0
    base_tables: BaseTables = field(default_factory=BaseTables)
    generation: int = FIRST_GENERATION
    selection: UtilityState | None = None


@dataclass(frozen=True, kw_only=True)
class _Committed:
    """A committed round, as its file in rounds/ has it; round 0 is the preparation and has no record."""

    round: int
    state: str  # the file's name
    state_sha256: str
    tables_sha256: str | None
    before: str  # the digest of the round before, or BLANK
    account: Head | None  # the head of the account of noised releases, in mode central
    record: Any = None
    generation: int = FIRST_GENERATION  # whose rounds go on from the state


@dataclass(frozen=True, kw_only=True)
class _Devices:
    """Who has a student and was told what, what is open, and the account's head: a checkpoint's JSON."""

    round: int
    account: Head | None
    installed: tuple[str, ...]
    pending: tuple[Pending, ...]
    last_told: Mapping[str, LastTold] = field(default_factory=dict)
    selection: UtilityState | None = None


class RunStore:
    """The rounds of a run on disk, in <run>/server: rounds/, checkpoints/, account/, final/."""

    def __init__(self, folder: Path, *, on_commit: Callable[[], None] = lambda: None) -> None:
        """Open the store of a run, which changes nothing that was committed.

        Args:
            folder: The run's folder.
            on_commit: Called whenever something was committed, before anybody learns of it: what keeps a copy
                elsewhere returns when it has one.

        Raises:
            RunStoreError: An earlier release has written it.
        """
        self.folder = Path(folder) / "server"
        self._kept, self._on_commit, self._generation = _KEPT_FILES, on_commit, FIRST_GENERATION
        self._rounds, self._checkpoints = self.folder / "rounds", self.folder / "checkpoints"
        if (self.folder / "state.db").exists() and not self._rounds.exists():
            raise RunStoreError(
                f"{self.folder / 'state.db'}: an earlier release of fedstill has written this run; finish it "
                "with that release, or start it anew in a new folder"
            )
        self._rounds.mkdir(parents=True, exist_ok=True)
        self._checkpoints.mkdir(parents=True, exist_ok=True)

    @classmethod
    def is_at(cls, folder: Path) -> bool:
        """Whether a run was started, or a fleet prepared, in a folder."""
        return any((folder / "server" / name).exists() for name in ("rounds", "state.db"))

    def close(self) -> None:
        """Nothing is held open; whoever has done with the store says so all the same."""

    def keep_states(self, rounds: int) -> None:
        """Keep the states of so many rounds before the last two: slow devices still answer their tasks."""
        self._kept = _KEPT_FILES + rounds

    def commit_of(self, generation: int) -> None:
        """Commit rounds of this generation of the fleet from now on."""
        self._generation = generation

    def account(self, run: str) -> Account:
        """The account of noised releases, held against every round and checkpoint that names its head.

        Args:
            run: The run's name.

        Raises:
            AccountError: It is damaged, or older than what names it.
        """
        account = Account(self.folder / "account", run, on_commit=self._on_commit)
        for by, head in self._named_heads():
            account.check(head, by=by)
        return account

    def state_after(self, round_number: int) -> FleetState | None:
        """The state after a round, as long as it is kept and intact."""
        try:
            return self._state_of(self._committed(round_number))
        except (DamagedFile, FileNotFoundError) as error:
            if isinstance(error, DamagedFile):
                log.warning("%s", error)
            return None

    def commit(
        self,
        round_number: int,
        state: FleetState,
        *,
        record: RoundRecord | None = None,
        installed: Iterable[str] = (),
        pending: Iterable[Pending] = (),
        base_tables: BaseTables | None = None,
        account: Head | None = None,
        selection: UtilityState | None = None,
    ) -> None:
        """Make `state` the state after a round; when this returns, a crash cannot undo it.

        Args:
            round_number: The round; 0 is the preparation.
            state: What the server has learned.
            record: What happened; None for the preparation.
            installed: The devices that have a student.
            pending: Questions that are still open.
            base_tables: What is held of the devices for delta coding.
            account: The head of the account of noised releases, where there is one.
            selection: What selection by utility remembers.
        """
        name, tables_sha256 = _name_of(round_number), None
        base_tables = base_tables or BaseTables()
        if not base_tables.empty:
            tables = base_tables.to_bytes()
            tables_sha256 = hashlib.sha256(tables).hexdigest()
            replace_file(self._checkpoints / f"{name}.tables", tables, mode=SHARED)
        state_file = f"{name}.safetensors"
        digest = _write_arrays(self._checkpoints / state_file, state.flat())
        devices = _Devices(
            round=round_number,
            account=account,
            installed=tuple(sorted(installed)),
            pending=tuple(pending),
            last_told=base_tables.told.devices,
            selection=selection,
        )
        write_sealed_json(self._checkpoints / f"{name}.json", asdict(devices))
        committed = _Committed(
            round=round_number,
            state=state_file,
            state_sha256=digest,
            tables_sha256=tables_sha256,
            before=self._digest_before(round_number),
            account=account,
            record=None if record is None else record.to_json(),
            generation=self._generation,
        )
        write_sealed_json(self._file(round_number), asdict(committed))
        self._remove_files_before(round_number)
        self._on_commit()

    def forget_devices(self) -> None:
        """Take no device to have a student any more: each gets one with its next task, if it needs one."""
        number = self.last_round()
        devices = self._devices(number)
        write_sealed_json(
            self._checkpoints / f"{_name_of(number)}.json", asdict(replace(devices, installed=()))
        )
        self._on_commit()

    def replace_state(self, round_number: int, state: FleetState) -> None:
        """Make another state the one after the newest round; a crash leaves the old one or the new one.

        Raises:
            RunStoreError: There is no such round.
        """
        if round_number != self.last_round() or not self._file(round_number).exists():
            raise RunStoreError(f"{self.folder}: there is no round {round_number} to replace the state of")
        committed, arrays = self._committed(round_number), state.flat()
        file = f"{_name_of(round_number)}.{_digest_of(arrays)[:8]}.safetensors"
        digest = _write_arrays(self._checkpoints / file, arrays)
        changed = replace(committed, state=file, state_sha256=digest)
        write_sealed_json(self._file(round_number), asdict(changed))
        self._on_commit()

    def begin_generation(self, state: FleetState, generation: int, *, installed: Iterable[str]) -> None:
        """Have another generation go on after the newest round; whoever is killed can begin it again.

        Open questions are dropped, and what is held of devices: nobody's answer is coded against it any more.

        Args:
            state: What the generation begins with.
            generation: Its number.
            installed: The devices whose students go on.

        Raises:
            RunStoreError: There is no round to go on after.
        """
        number = self.last_round()
        if not self._file(number).exists():
            raise RunStoreError(f"{self.folder}: there is no round that a generation could go on after")
        committed, arrays, name = self._committed(number), state.flat(), _name_of(number)
        devices = _Devices(
            round=number, account=committed.account, installed=tuple(sorted(installed)), pending=()
        )
        write_sealed_json(self._checkpoints / f"{name}.json", asdict(devices))
        file = f"{name}.{_digest_of(arrays)[:8]}.safetensors"
        digest = _write_arrays(self._checkpoints / file, arrays)
        changed = replace(
            committed, state=file, state_sha256=digest, tables_sha256=None, generation=generation
        )
        write_sealed_json(self._file(number), asdict(changed))
        self._on_commit()

    def latest(self) -> Checkpoint | None:
        """The newest round whose files are intact; later rounds, whose files are not, are forgotten.

        Raises:
            RunStoreError: None of the last two is, or the one before is of another generation.
        """
        numbers = self._numbers()[::-1]
        if not numbers:
            return None
        damage, newest = "", 0
        for number in numbers[:_KEPT_FILES]:
            try:
                committed = self._committed(number)
                newest = newest or committed.generation
                if committed.generation != newest:
                    raise RunStoreError(
                        f"{damage} The round before is of generation {committed.generation}, and the fleet's "
                        f"is {newest}: restore it from a backup."
                    )
                devices = self._devices(number)
                state = self._state_of(committed)
            except (DamagedFile, FileNotFoundError) as error:
                damage = str(error)
                log.warning("round %d: %s; the run goes on from the round before", number, damage)
                continue
            for later in numbers[: numbers.index(number)]:
                self._file(later).unlink()
            return Checkpoint(
                number,
                state,
                frozenset(devices.installed),
                devices.pending,
                (committed.record or {}).get("clock_s") or 0.0,
                self._base_tables(committed, devices),
                committed.generation,
                devices.selection,
            )
        raise RunStoreError(
            f"{self._checkpoints}: none of the last {_KEPT_FILES} checkpoints is intact ({damage}); "
            "start the run again in a new folder"
        )

    def last_round(self) -> int:
        """The newest committed round; 0 is the preparation, and nothing at all."""
        return max(self._numbers(), default=0)

    def records(self, *, after: int = 0) -> list[RoundRecord]:
        """The committed rounds, first to last.

        Args:
            after: Only those after this round, which was read before.

        Raises:
            RunStoreError: One is missing, or was exchanged.
            DamagedFile: One is damaged.
        """
        numbers = self._numbers()
        records, before = [], self._read(after)[1] if after in numbers else BLANK
        for number in numbers:
            if number <= after in numbers:
                continue
            committed, digest = self._read(number)
            if (committed.round, committed.before) != (number, before):
                raise RunStoreError(
                    f"{self._file(number)}: does not follow the round before it: a file is missing or was "
                    f"exchanged; {_NEW_RUN}"
                )
            before = digest
            if committed.record is not None:
                records.append(RoundRecord.from_json(committed.record, where=f"{self._file(number)}: record"))
        return records

    def last_records(self, count: int) -> list[RoundRecord]:
        """The newest rounds, newest first; what is damaged among them is left out, as `check` names it."""
        records = []
        for number in self._numbers()[::-1][:count]:
            try:
                committed = self._committed(number)
            except (DamagedFile, FileNotFoundError):
                continue
            if committed.record is not None:
                records.append(RoundRecord.from_json(committed.record, where=f"{self._file(number)}: record"))
        return records

    def committed_at(self, round_number: int) -> float:
        """When a round was committed, in seconds since 1970, as its file's time says."""
        return self._file(round_number).stat().st_mtime

    def write_final(self, state: FleetState) -> Path:
        """<run>/server/final: teacher.safetensors and students/<family>.safetensors."""
        final = self.folder / "final"
        (final / "students").mkdir(parents=True, exist_ok=True)
        _write_arrays(final / "teacher.safetensors", dict(state.teacher))
        for family, student in state.students.items():
            _write_arrays(final / "students" / f"{family}.safetensors", dict(student))
        return final

    def check(self) -> list[str]:
        """What is damaged of all that the store keeps, in words; the account is checked by `account`."""
        problems: list[str] = []
        try:
            self.records()
        except FedstillError as error:
            problems.append(str(error))
        for number in self._numbers()[-self._kept :]:
            try:
                committed = self._committed(number)
                self._state_of(committed)
                self._tables_of(committed, self._devices(number))
            except (DamagedFile, FileNotFoundError) as error:
                problems.append(str(error))
        for path in sorted((self.folder / "final").rglob("*.safetensors")):
            try:
                load_parameters_file(path)
            except FedstillError as error:
                problems.append(str(error))
        return list(dict.fromkeys(problems))

    def _read(self, number: int) -> tuple[_Committed, str]:
        """A round's file, and its digest."""
        path = self._file(number)
        remedy = _GO_BACK if number == self.last_round() else _NEW_RUN
        blob = path.read_bytes()
        digest = seal_of(blob, where=path, remedy=remedy)
        return from_json(_Committed, json_in(blob), where=str(path)), digest

    def _committed(self, number: int) -> _Committed:
        return self._read(number)[0]

    def _digest_before(self, number: int) -> str:
        earlier = [one for one in self._numbers() if one < number]
        return self._read(earlier[-1])[1] if earlier else BLANK

    def _devices(self, number: int) -> _Devices:
        path = self._checkpoints / f"{_name_of(number)}.json"
        return from_json(_Devices, read_sealed_json(path, remedy=_GO_BACK), where=str(path))

    def _state_of(self, committed: _Committed) -> FleetState:
        path = self._checkpoints / committed.state
        arrays, digest = _read_arrays(path, remedy=_GO_BACK)
        if digest != committed.state_sha256:
            raise DamagedFile(f"{path}: not the state that round {committed.round} names; {_GO_BACK}.")
        return FleetState.from_flat(arrays)

    def _tables_of(self, committed: _Committed, devices: _Devices) -> BaseTables:
        """What is held of the devices after a round; raises DamagedFile."""
        if committed.tables_sha256 is None:
            return BaseTables()
        path = self._checkpoints / f"{_name_of(committed.round)}.tables"
        remedy = "delete it, and devices answer whole"
        try:
            blob = path.read_bytes()
        except FileNotFoundError:
            return BaseTables()
        if hashlib.sha256(blob).hexdigest() != committed.tables_sha256:
            raise DamagedFile(f"{path}: damaged: its bytes are not those that were written; {remedy}.")
        return BaseTables.from_bytes(blob, devices.last_told)

    def _base_tables(self, committed: _Committed, devices: _Devices) -> BaseTables:
        """The answers held after a round; nothing where they are damaged, so that devices answer whole."""
        try:
            return self._tables_of(committed, devices)
        except FedstillError as error:
            log.warning("%s Devices answer whole.", error)
            return BaseTables()

    def _named_heads(self) -> Iterator[tuple[str, Head]]:
        """Every head of the account that a round or a checkpoint names; what is damaged names none."""
        for path in (*sorted(self._rounds.glob("round-*.json")), *self._checkpoints.glob("round-*.json")):
            try:
                named = read_sealed_json(path).get("account")
            except (DamagedFile, FileNotFoundError):
                continue
            if named is not None:
                yield str(path), from_json(Head, named, where=f"{path}: account")

    def _numbers(self) -> list[int]:
        """The committed rounds, in order."""
        return sorted(int(path.stem.removeprefix("round-")) for path in self._rounds.glob("round-*.json"))

    def _file(self, number: int) -> Path:
        return self._rounds / f"{_name_of(number)}.json"

    def _remove_files_before(self, round_number: int) -> None:
        kept = {
            self._committed(number).state for number in self._numbers() if number > round_number - self._kept
        }
        for number in range(round_number - _KEPT_FILES + 1, round_number + 1):
            kept |= {f"{_name_of(number)}.tables", f"{_name_of(number)}.json"}
        for path in self._checkpoints.iterdir():
            if path.name not in kept:
                path.unlink(missing_ok=True)


def load_parameters_file(path: Path) -> Arrays:
    """The arrays of a file that a RunStore wrote, in the order of the model.

    Raises:
        RunStoreError: There is no such file, or it is damaged.
    """
    try:
        return _read_arrays(path, remedy="delete it, and end the run once more, which writes it anew")[0]
    except FileNotFoundError:
        raise RunStoreError(f"{path}: no such file") from None
    except DamagedFile as error:
        raise RunStoreError(str(error)) from None


def _name_of(round_number: int) -> str:
    return f"round-{round_number:06d}"


def _digest_of(arrays: Arrays) -> str:
    return hashlib.sha256(safetensors.numpy.save(arrays)).hexdigest()


def _write_arrays(path: Path, arrays: Arrays) -> str:
    """Write arrays with their order, which safetensors does not keep; gives the file's digest."""
    blob = sealed(safetensors.numpy.save(arrays, metadata={SEAL: BLANK, "order": json.dumps(list(arrays))}))
    replace_file(path, blob, mode=SHARED)
    return seal_of(blob, where=path)


def _read_arrays(path: Path, *, remedy: str) -> tuple[Arrays, str]:
    """What `_write_arrays` wrote, in its order, and the digest.

    Raises:
        DamagedFile: The bytes are others.
        FileNotFoundError: There is no such file.
    """
    blob = path.read_bytes()
    digest = seal_of(blob, where=path, remedy=remedy)
    arrays = safetensors.numpy.load(blob)
    header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
    return {name: arrays[name] for name in json.loads(header["__metadata__"]["order"])}, digest
