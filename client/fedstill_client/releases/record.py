"""What the device remembers of the package in use: how it came, what it was compared with, what went wrong.

It is a note in the private store. Until there is one of the package in use, it follows from the installations
alone: a device that is killed after an installation knows that its owner's student is still to be re-based.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from fedstill_client.store import PrivateStore

_NOTE = "release"
_MOST_SHUNNED, _MOST_COUNTED = 16, 1000


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Right answers to the same examples of the device's own, before the package came and with it.

    Attributes:
        examples: How many answers are counted.
        owner_before: Right ones of what the owner got before.
        owner_after: Of what the owner gets now.
        fleet_before: Of the fleet's student before, alone.
        fleet_after: Of the package's own student.
    """

    examples: int
    owner_before: int
    owner_after: int
    fleet_before: int
    fleet_after: int


@dataclass(frozen=True, kw_only=True)
class ReleaseRecord:
    """What is remembered of the package in use.

    Attributes:
        package_version: The package's.
        before_version: Of the package that answered the owner when it came; 0 where there was none, or it was
            newer.
        since: When the package came, in seconds since 1970.
        tried: Whether it has answered an example in a process of its own.
        counts: What was counted; None before.
        settled: Whether the owner's student has been re-based.
        judged: The owner's student under the new package that was judged last: its run and round.
        crashes: How often the package has ended a process.
        failures: How often a newer package could not be installed, or used.
        shunned: Versions of packages that have failed here, and are not installed again.
    """

    package_version: int
    before_version: int = 0
    since: float = 0.0
    tried: bool = False
    counts: Counts | None = None
    settled: bool = False
    judged: str = ""
    crashes: int = 0
    failures: int = 0
    shunned: tuple[int, ...] = ()

    def with_crash(self) -> ReleaseRecord:
        """With one more crash."""
        return replace(self, crashes=min(self.crashes + 1, _MOST_COUNTED))

    def with_failure(self) -> ReleaseRecord:
        """With one more package that could not be installed."""
        return replace(self, failures=min(self.failures + 1, _MOST_COUNTED))

    def shunning(self, version: int) -> ReleaseRecord:
        """With a version that is not installed again."""
        shunned = sorted({*self.shunned, version})[-_MOST_SHUNNED:]
        return replace(self.with_failure(), shunned=tuple(shunned))


def read_record(store: PrivateStore) -> ReleaseRecord:
    """What is remembered of the package in use."""
    return _of_package_in_use(store, store.ledger.noted(_NOTE))


def change_record(store: PrivateStore, change: Callable[[ReleaseRecord], ReleaseRecord]) -> ReleaseRecord:
    """Remember something else, all in one transaction; gives what is remembered then."""
    changed = []

    def changing(text: str) -> str:
        changed.append(change(_of_package_in_use(store, text)))
        return json.dumps(asdict(changed[-1]))

    store.ledger.change_note(_NOTE, changing)
    return changed[-1]


def rebase_is_due(store: PrivateStore) -> bool:
    """Whether the owner's student is to be re-based: it is not yet, or there is another to judge."""
    record = read_record(store)
    is_another = record.judged != store.student_of(record.package_version)
    return not record.settled or (is_another and store.owners() is not None)


def _of_package_in_use(store: PrivateStore, text: str) -> ReleaseRecord:
    kept, history, owners = _from_json(text), store.installations(), store.owners()
    version = history[-1].version if history else 0
    if kept is not None and kept.package_version == version:
        return kept
    earlier = [one for one in history[:-1] if one.family == history[-1].family and one.version != version]
    before = owners.version if owners is not None else earlier[-1].version if earlier else 0
    goes_on = 0 < before < version
    return ReleaseRecord(
        package_version=version,
        before_version=before if goes_on else 0,
        since=store.installed_at(),
        settled=not goes_on,
        failures=0 if kept is None or goes_on else kept.failures,
        shunned=() if kept is None else kept.shunned,
    )


def _from_json(text: str) -> ReleaseRecord | None:
    if not text:
        return None
    document = json.loads(text)
    counts = document.pop("counts")
    return ReleaseRecord(
        **{**document, "shunned": tuple(document["shunned"])},
        counts=None if counts is None else Counts(**counts),
    )
