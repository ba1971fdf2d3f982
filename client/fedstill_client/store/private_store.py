"""The private store: all that a device must not lose and must not tell, in one SQLite database.

Several processes of a device use it at the same time: the agent that answers, and one for each round.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.checks import check_name
from fedstill_proto.errors import InvalidValue
from fedstill_proto.package.artifact import StudentManifest
from fedstill_proto.text.private_text import RULES, learnable, without_words
from fedstill_proto.text.vocabulary import normal

from fedstill_client.agent_types import Forgotten, OwnWord, WordsAnswer
from fedstill_client.home import AgentHome, Encryption
from fedstill_client.model.student_store import DeviceStoreError, OwnStudent
from fedstill_client.packages.installed import InstalledPackage, KeptStudent
from fedstill_client.store.database import Database, DiskFull
from fedstill_client.store.erasing import Erasing
from fedstill_client.store.examples import (
    ExampleCounts,
    Retention,
    StoredExamples,
    add_example,
    count_examples,
    next_id,
    note_last_id,
    prune_examples,
    read_examples,
)
from fedstill_client.store.keys import find_key, make_key
from fedstill_client.store.ledger import Ledger
from fedstill_client.store.memories import MemoryTable
from fedstill_client.store.sums import SumTable
from fedstill_client.store.texts import StoredText, add_text, count_texts, read_texts, rewrite_texts
from fedstill_client.store.unclear import StoredUtterance, add_unclear, drop_unclear, read_unclear
from fedstill_client.store.weights import StoredStudents, keep_students, put_student
from fedstill_client.store.words import WordTable

_RETENTION = "retention"
_FORGOTTEN = "forgotten"  # another number after each `forget`
_ERASING = "erasing"  # what is being forgotten, until none of its bytes is on the disk
_OWNERS = "owners"  # the version of the earlier package that still answers the owner
_RULES = "private text rules"  # under which the texts were looked through
_TOKENIZER = "tokenizer"  # what made the numbers of examples, where those are of sub-words
_ANSWERS_SINCE = "answers since"  # the count of `forget` that what is kept in answers/ came after


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What is to be forgotten: all examples up to an id, or those of them from before a time, or some."""

    up_to: int
    before: float | None
    ids: tuple[int, ...] | None

    @property
    def where(self) -> str:
        """The condition in SQL, over examples."""
        if self.ids is not None:
            return "id <= ? AND id IN (SELECT value FROM json_each(?))"
        return "id <= ?" if self.before is None else "id <= ? AND observed_at < ?"

    @property
    def values(self) -> tuple[Any, ...]:
        if self.ids is not None:
            return self.up_to, json.dumps(self.ids)
        return (self.up_to,) if self.before is None else (self.up_to, self.before)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> _Wanted | None:
        """None where an earlier release wrote it, which had deleted the examples by then."""
        if not text.startswith("{"):
            return None
        document = json.loads(text)
        ids = document["ids"]
        return cls(
            up_to=document["up_to"], before=document["before"], ids=None if ids is None else tuple(ids)
        )


class PrivateStore:
    """An open private store: examples, texts, memories, personal students, the ledger, and what is installed.

    What a method has kept is on the disk when it returns. All raise DeviceStoreError where the database
    cannot be read or written.
    """

    def __init__(self, home: AgentHome, database: Database) -> None:
        self.home = home
        self._database = database
        self._forgotten_before_training: int | None = None
        self.ledger = Ledger(database, check_not_forgotten=self._check_not_forgotten)
        self.sums = SumTable(database, check_not_forgotten=self._check_not_forgotten)
        self.words = WordTable(database)
        self.memories = MemoryTable(database, with_reserve=self._with_reserve)

    @classmethod
    def create(cls, home: AgentHome, *, encryption: Encryption = "off") -> PrivateStore:
        """Make a new, empty store in a home, which is made if it is not there."""
        home.create()
        if home.store.exists():
            raise DeviceStoreError(f"{home.store}: there is a private store already.")
        return cls(home, Database.create(home.store, make_key(home, encryption)))

    @classmethod
    def open(cls, home: AgentHome) -> PrivateStore:
        """Open the store of a home; what a killed `forget` has left is erased first.

        Texts that were kept by an agent that knew less of what is private are looked through once more.
        """
        if not home.store.exists():
            raise DeviceStoreError(f"{home.store}: there is no private store; enrol the device first.")
        store = cls(home, Database.open(home.store, find_key(home)))
        if store.setting(_ERASING) is not None:
            # Another process reads, perhaps the one that forgets: then the next one to open tries again.
            with suppress(DeviceStoreError):
                store._finish_erasing()
        with suppress(DeviceStoreError):
            store.memories.finish_erasing()
        store._clean_texts()
        return store

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> PrivateStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def observe(
        self,
        x: npt.NDArray[Any],
        labels: npt.NDArray[Any] | int,
        *,
        kind: str = "example",
        held_out: bool | None = None,
        observed_at: float | None = None,
    ) -> int:
        """Keep an example.

        Args:
            x: The example, as `check_example` gives it.
            labels: Its labels.
            kind: What it is; "text" is that of texts.
            held_out: Whether it is never trained on, only scored on; by default one in five by its id.
            observed_at: When, in seconds since 1970; now by default.

        Returns:
            Its id.
        """
        return self.observe_all([(x, labels)], kind=kind, held_out=held_out, observed_at=observed_at)[0]

    def observe_all(
        self,
        examples: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any] | int]],
        *,
        kind: str = "example",
        held_out: bool | None = None,
        observed_at: float | None = None,
    ) -> tuple[int, ...]:
        """Keep examples, all or none, as `observe` does; gives their ids."""
        check_name("kind", kind)
        when = time.time() if observed_at is None else observed_at
        with self._database.transaction():
            return tuple(
                add_example(
                    self._database,
                    np.asarray(x),
                    np.asarray(labels, np.int64),
                    kind=kind,
                    observed_at=when,
                    held_out=held_out,
                )
                for x, labels in examples
            )

    def observe_text(
        self, text: str, *, held_out: bool | None = None, observed_at: float | None = None
    ) -> int:
        """Keep a text without what must not be learned; gives its id, which no example has."""
        when = time.time() if observed_at is None else observed_at
        with self._database.transaction():
            text = without_words(text, self.words.blocked())
            return add_text(self._database, text, observed_at=when, held_out=held_out)

    def texts(self, *, after: int = 0) -> Iterator[StoredText]:
        """The texts whose id is above `after`, in the order in which they were typed; no blocked words."""
        blocked = self.words.blocked()
        for text in read_texts(self._database, after=after):
            yield replace(text, text=without_words(text.text, blocked)) if blocked else text

    def text_count(self) -> int:
        """How many texts are kept."""
        return count_texts(self._database)

    def keep_unclear(self, text: str, *, heard_at: float | None = None) -> int:
        """Keep an utterance that was not understood, for its owner to label; gives its id."""
        with self._database.transaction():
            return add_unclear(self._database, text, heard_at=time.time() if heard_at is None else heard_at)

    def unclear(self) -> list[StoredUtterance]:
        """The utterances that were not understood, the newest first."""
        return read_unclear(self._database)

    def label_unclear(self, number: int, x: npt.NDArray[Any], labels: npt.NDArray[Any]) -> int:
        """Keep the example that one of them has become in its place; gives the example's id."""
        with self._database.transaction():
            drop_unclear(self._database, number)
            return add_example(
                self._database, x, labels, kind="example", observed_at=time.time(), held_out=None
            )

    def drop_unclear(self, number: int) -> None:
        """Delete one of them. What was learned stays."""
        with self._database.transaction():
            drop_unclear(self._database, number)

    def examples(self, part: str = "training", *, kind: str = "example") -> StoredExamples:
        """The examples to train on ("training"), to score on ("held-out"), or "all"."""
        return read_examples(self._database, part, kind=kind)

    def counts(self) -> ExampleCounts:
        """Count all examples; a text is one."""
        return count_examples(self._database)

    @property
    def retention(self) -> Retention:
        """Which examples are kept, and for how long."""
        text = self.setting(_RETENTION)
        return Retention() if text is None else Retention.from_json(text)

    @retention.setter
    def retention(self, retention: Retention) -> None:
        self.set_setting(_RETENTION, retention.to_json())

    def prune(self, now: float | None = None) -> int:
        """Delete the examples that retention does not keep; gives how many."""
        retention = self.retention
        with self._database.transaction():
            return prune_examples(self._database, retention, time.time() if now is None else now)

    def forget(
        self, *, ids: Sequence[int] | None = None, before: float | None = None, everything: bool = False
    ) -> Forgotten:
        """Erase examples, and all personal students and learning that came from the store's examples.

        Memories go with them, except where examples are named by ids: memories have ids of their own.

        A training that is under way in another process cannot keep its student. The ledger stays: what has
        left the device has left it. It works on a full disk, too; and where it was cut off, whoever opens
        the store next brings it to its end.

        Args:
            ids: The examples to erase.
            before: Erase those observed before this time, in seconds since 1970.
            everything: Erase all of them.

        Raises:
            InvalidValue: Not exactly one of the three is given.
            DeviceStoreError: It is not finished; the next to open the store goes on with it.
        """
        if (ids is not None) + (before is not None) + everything != 1:
            raise InvalidValue("forget", "name examples by ids, by before, or say everything: one of them")
        wanted = _Wanted(
            up_to=int(self._database.value("SELECT MAX(id) FROM examples") or 0),
            before=before,
            ids=None if ids is None else tuple(ids),
        )
        forgotten = Forgotten(
            examples=self._count(wanted),
            students=int(self._database.value("SELECT COUNT(*) FROM students")),
            learning=self.learning() is not None,
        )
        self._with_reserve(partial(self._begin_erasing, wanted))
        self._finish_erasing()
        return forgotten

    def forget_words(self, words: Sequence[str]) -> WordsAnswer:
        """Take words out of all texts and of the personal dictionary, from the disk too.

        Where a text had one, all personal students are erased as by `forget`, for they may have learned it.
        """
        keys = frozenset(map(normal, words))
        students = int(self._database.value("SELECT COUNT(*) FROM students"))
        is_learning = self.learning() is not None
        with self._database.transaction():
            found: set[str] = set()
            texts = rewrite_texts(self._database, lambda text: without_words(text, keys, found=found))
            imported = {normal(word.word) for word in self.words.imported()} & keys
            self.words.drop(imported)
            if texts:
                self._erase_what_was_learned()
        if texts or imported:
            self._finish_erasing()
        return WordsAnswer(
            changed=len(found | imported),
            texts=texts,
            students=students if texts else 0,
            learning=is_learning and bool(texts),
        )

    def change_words(self, action: str, words: Sequence[OwnWord]) -> int:
        """ "import", "block" or "unblock" words, all or none; gives how many that changed."""
        now = time.time()
        with self._database.transaction():
            if action == "import":
                return self.words.add(words, at=now)
            written = [word.word for word in words]
            return self.words.block(written, at=now) if action == "block" else self.words.unblock(written)

    def _clean_texts(self) -> None:
        """Look through the texts that were kept under other rules of what must not be learned."""
        if self.setting(_RULES) == str(RULES):
            return
        with self._database.transaction():
            changed = rewrite_texts(self._database, lambda text: learnable(text).text)
            self._put_setting(_RULES, str(RULES))
            if changed:
                self._erase_what_was_learned()
        if changed:
            with suppress(DeviceStoreError):  # as above
                self._finish_erasing()

    def _erase_what_was_learned(self) -> None:
        """Write down, within a transaction, that what came of the texts as they were is to be erased."""
        self._put_setting(_FORGOTTEN, str(self.times_forgotten() + 1))
        if self.setting(_ERASING) is None:
            self._put_setting(_ERASING, _Wanted(up_to=0, before=None, ids=()).to_json())

    def _with_reserve(self, step: Callable[[], None]) -> None:
        """Do something that may be done again, with room from the reserve where there is none."""
        while True:
            try:
                step()
                return
            except DiskFull:
                if not self._database.use_reserve():
                    raise

    def _count(self, wanted: _Wanted) -> int:
        return int(self._database.value(f"SELECT COUNT(*) FROM examples WHERE {wanted.where}", wanted.values))

    def _begin_erasing(self, wanted: _Wanted) -> None:
        """Write down what is to be forgotten: from now on it will be, whoever is killed."""
        with self._database.transaction():
            self._put_setting(_FORGOTTEN, str(self.times_forgotten() + 1))
            self._put_setting(_ERASING, wanted.to_json())
            note_last_id(self._database, next_id(self._database) - 1)
            if wanted.ids is None:
                self.memories.note_forgetting(before=wanted.before)

    def _finish_erasing(self) -> None:
        """Erase what was written down; whoever is killed can begin it again."""
        self._with_reserve(self._erase)
        self._database.make_reserve(scarce=True)

    def _erase(self) -> None:
        text = self.setting(_ERASING)
        if text is None:
            return  # another process has done it
        wanted, erasing = _Wanted.from_json(text), Erasing(self._database)
        if wanted is not None:
            erasing.delete("examples", ("x", "labels"), wanted.where, wanted.values)
        self.memories.erase(erasing)
        erasing.delete("students", ("weights",), "TRUE")
        erasing.delete("learning", ("progress",), "TRUE")
        # Paid for, and perhaps not sent yet: what came from these examples is not to leave any more.
        erasing.clear("releases", "summary")
        self.sums.erase(erasing)
        # The tables came from what is forgotten; the next answer is whole.
        shutil.rmtree(self.home.answers, ignore_errors=True)
        self._database.erase_deleted()
        with self._database.transaction():
            # What began to learn while examples were still being erased is not kept, either.
            self._put_setting(_FORGOTTEN, str(self.times_forgotten() + 1))
            self._database.execute("DELETE FROM settings WHERE name = ?", (_ERASING,))

    def transaction(self) -> AbstractContextManager[None]:
        """All that happens within is on the disk after the end, or none of it."""
        return self._database.transaction()

    def times_forgotten(self) -> int:
        """Another number after each `forget`; see `students`."""
        return int(self.setting(_FORGOTTEN) or 0)

    def students(
        self, manifest: StudentManifest, package_version: int, *, read_after: int | None = None
    ) -> StoredStudents:
        """The personal students of a package version (see StudentHistory).

        A training keeps no student when something was forgotten since it began; or since `times_forgotten`
        was `read_after`, where its examples were read before it began.
        """
        return StoredStudents(
            self._database,
            manifest,
            package_version,
            locked=partial(self._training, read_after),
            check_not_forgotten=self._check_not_forgotten,
        )

    def student_of(self, package_version: int) -> str:
        """The run and round of a package version's personal student, as "run/round"; "" where it has none."""
        rows = self._database.rows(
            "SELECT run, round FROM students WHERE package_version = ? AND role = 'current'",
            (package_version,),
        )
        return f"{rows[0][0]}/{rows[0][1]}" if rows else ""

    def save_learning(self, blob: bytes) -> None:
        """Keep how far a learning has come."""
        with self._database.transaction():
            self._check_not_forgotten()
            self._database.execute("INSERT OR REPLACE INTO learning VALUES (1, ?)", (blob,))

    def learning(self) -> bytes | None:
        """What `save_learning` kept last; None when no learning is under way."""
        blob = self._database.value("SELECT progress FROM learning")
        return None if blob is None else bytes(blob)

    def finish_learning(self, package_version: int, student: OwnStudent | None) -> None:
        """End a learning: put its student, if any, in place of the package version's current one."""
        database = self._database
        with database.transaction():
            self._check_not_forgotten()
            if student is not None:
                database.execute(
                    "DELETE FROM students WHERE package_version = ? AND role = 'previous'",
                    (package_version,),
                )
                database.execute(
                    "UPDATE students SET role = 'previous' WHERE package_version = ? AND role = 'current'",
                    (package_version,),
                )
                put_student(database, package_version, "current", student)
            database.execute("DELETE FROM learning")

    def keep_soft_labels(self, package_version: int, run: str, round: int, blob: bytes) -> None:
        """Keep the fleet's newest soft labels for a package version."""
        with self._database.transaction():
            self._database.execute(
                "INSERT OR REPLACE INTO soft_labels VALUES (?, ?, ?, ?)", (package_version, run, round, blob)
            )

    def soft_labels(self, package_version: int) -> bytes | None:
        """What `keep_soft_labels` kept for a package version."""
        blob = self._database.value(
            "SELECT labels FROM soft_labels WHERE package_version = ?", (package_version,)
        )
        return None if blob is None else bytes(blob)

    def record_installation(
        self, installed: InstalledPackage, *, keeping: KeptStudent | None = None, owners: int = 0
    ) -> None:
        """Make this the package in use, and go on with the students of the one before; on disk when this
        returns.

        Args:
            installed: The package.
            keeping: What of the one before goes on under it.
            owners: The version of an earlier package that answers the owner for now, with what was learned
                under it; 0 is none.
        """
        with self._database.transaction():
            if keeping is not None and keeping.version != installed.version:
                keep_students(self._database, keeping, under=installed.version, beside=owners)
            if owners or self.setting(_OWNERS) is not None:
                self._put_setting(_OWNERS, str(owners))
            self._database.execute(
                "INSERT INTO installations (version, family, folder, manifest_sha256, installed_at) "
                "VALUES (?, ?, ?, ?, ?)",
                (
                    installed.version,
                    installed.family,
                    str(installed.folder),
                    installed.manifest_sha256,
                    time.time(),
                ),
            )
            self._use_examples_of(installed.tokenizer)

    def _use_examples_of(self, tokenizer: str) -> None:
        """Set examples aside whose numbers are of other sub-words, and take those up again that fit."""
        before = self.setting(_TOKENIZER) or ""
        if before == tokenizer:
            return
        move = "UPDATE examples SET kind = ? WHERE kind = ?"
        self._database.execute(move, (f"example of {before}", "example"))
        self._database.execute(move, ("example", f"example of {tokenizer}"))
        self._put_setting(_TOKENIZER, tokenizer)

    def forget_kept_answers(self) -> None:
        """Send no noised answer again that was sent before; it stays paid for."""
        with self._database.transaction():
            self._database.execute("UPDATE releases SET summary = NULL")

    def installed(self) -> InstalledPackage | None:
        """The package in use."""
        history = self.installations()
        return history[-1] if history else None

    def owners(self) -> InstalledPackage | None:
        """An earlier package that still answers the owner (see releases/); None where the one in use does."""
        version = int(self.setting(_OWNERS) or 0)
        if not version or not self.student_of(version):
            return None
        return next((one for one in reversed(self.installations()) if one.version == version), None)

    def set_owners(self, version: int) -> None:
        """Have the package of this version answer the owner, and keep it; 0 is the one in use."""
        self.set_setting(_OWNERS, str(version))

    def installations(self) -> list[InstalledPackage]:
        """All that were ever in use, first to last."""
        rows = self._database.rows(
            "SELECT version, family, folder, manifest_sha256 FROM installations ORDER BY id"
        )
        return [
            InstalledPackage(version, family, Path(folder), digest)
            for version, family, folder, digest in rows
        ]

    def installed_at(self) -> float:
        """When the package in use was installed, in seconds since 1970; 0 where there is none."""
        return float(self._database.value("SELECT installed_at FROM installations ORDER BY id DESC") or 0)

    def setting(self, name: str) -> str | None:
        value = self._database.value("SELECT value FROM settings WHERE name = ?", (name,))
        return None if value is None else str(value)

    def set_setting(self, name: str, value: str) -> None:
        with self._database.transaction():
            self._put_setting(name, value)

    def integrity(self) -> str:
        """ "ok", or what SQLite finds wrong with the database."""
        return str(self._database.value("PRAGMA integrity_check(1)"))

    def generation(self) -> int:
        """Another number after every committed write, of this process or another."""
        return self._database.generation

    def _put_setting(self, name: str, value: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    @contextmanager
    def _training(self, read_after: int | None) -> Iterator[None]:
        """One training at a time, over all processes; after a `forget` it cannot keep what it learned."""
        with (self.home.folder / "training.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._forgotten_before_training = self.times_forgotten() if read_after is None else read_after
            self._drop_stale_answers()
            try:
                yield
            finally:
                self._forgotten_before_training = None

    def _drop_stale_answers(self) -> None:
        """Remove answers of before the last `forget`: a round that was killed in it may have left some."""
        if self.setting(_ANSWERS_SINCE) != str(self.times_forgotten()):
            shutil.rmtree(self.home.answers, ignore_errors=True)
            self.set_setting(_ANSWERS_SINCE, str(self.times_forgotten()))

    def _check_not_forgotten(self) -> None:
        before = self._forgotten_before_training
        if before is not None and before != self.times_forgotten():
            raise DeviceStoreError(
                "examples were forgotten while this student learned from them; it is not kept. Learn again."
            )
