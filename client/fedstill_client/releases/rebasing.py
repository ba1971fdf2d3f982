"""Tries a package that was installed, and re-bases the owner's student on it, in a process of its own.

    python -P -m fedstill_client.releases.rebasing      the home is named by FEDSTILL_DEVICE_FOLDER

It gives way to all other processes. A package that ends this process, or fails in it, has ended nothing that
anybody waits for. Whatever moment it is killed at, the student that answers the owner is the old one or the
new one.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from fedstill_proto.errors import FedstillError
from fedstill_proto.package.artifact import StudentPackage

from fedstill_client.agent_types import Stop
from fedstill_client.device_description import DeviceDescription
from fedstill_client.eligibility import Eligibility
from fedstill_client.home import DEVICE_FOLDER_VARIABLE, AgentHome
from fedstill_client.model.answering_student import AnsweringStudent
from fedstill_client.model.limits import limit_memory
from fedstill_client.model.student_store import OwnStudent
from fedstill_client.packages.errors import PackageError
from fedstill_client.packages.install import load_installed, load_package
from fedstill_client.privacy.policy import DevicePolicy
from fedstill_client.releases.rebase import PackageSide, Rebased, rebase
from fedstill_client.releases.record import (
    change_record,
    read_record,
    rebase_is_due,
)
from fedstill_client.rounds.round import Interrupted
from fedstill_client.rounds.round_limits import memory_limited, stopping_after
from fedstill_client.store import PrivateStore

FAILED = 4  # the exit status where the package cannot be used
_LOWEST_PRIORITY = 19


class PackageFailed(FedstillError):
    """The package in use cannot answer."""


def rebase_home(home: AgentHome, *, stop: Stop = lambda: None, may_learn: bool = True) -> str:
    """Try the package in use, and re-base the owner's student if that is due.

    Args:
        home: The agent's home.
        stop: Asked before each step; a reason ends it, and it is done another time.
        may_learn: Whether the device may spend time on learning now.

    Returns:
        What came of it, for the owner; "" where nothing was due.

    Raises:
        PackageFailed: The package in use cannot answer.
        Interrupted: `stop` gave a reason.
        DeviceStoreError: Examples were forgotten meanwhile; it is done another time.
    """
    policy = DevicePolicy.read(home.folder)
    with PrivateStore.open(home) as store, memory_limited(policy.most_memory_mb):
        package = _tried(home, store)
        if not read_record(store).tried:
            change_record(store, lambda record: replace(record, tried=True))
        if not rebase_is_due(store):
            return ""
        stop = stopping_after(policy.most_seconds, stop)
        return _rebase(home, store, package, stop=stop, most_steps=policy.most_steps if may_learn else 0)


def _rebase(
    home: AgentHome, store: PrivateStore, package: StudentPackage, *, stop: Stop, most_steps: int
) -> str:
    forgotten, version = store.times_forgotten(), package.manifest.package_version
    share = DeviceDescription.read(home.folder).owner_share
    old = _before(home, store, owner_share=share)
    result = None
    if old is not None:
        new = PackageSide(store, package, owner_share=share)
        result = rebase(old, new, stop=stop, may_learn=most_steps > 0, most_steps=most_steps)
    if old is None or result is None:
        if store.owners() is not None:
            store.set_owners(0)
        change_record(store, lambda record: replace(record, settled=True))
        return f"package {version}: nothing of before can be compared with it"
    history = store.students(package.manifest, version, read_after=forgotten)
    with history.locked():
        now, seen = history.latest(), new.own
        if (now is None) != (seen is None) or (
            now and seen and (now.run, now.round) != (seen.run, seen.round)
        ):
            raise Interrupted("a round has come in between")
        if result.student is not None and result.source != "kept" and old.own is not None:
            named = now or old.own
            own = OwnStudent(named.run, named.round, result.student)
            before = None if now is None else history.before(now.run, now.round)
            history.save(own, before=before, fleet=history.fleet())
        _answer_from(store, 0 if result.source or old.own is None else old.package.manifest.package_version)
        judged = store.student_of(version)
        change_record(
            store,
            lambda record: replace(record, counts=result.counts, settled=result.complete, judged=judged),
        )
    return _in_words(version, result, old)


def _tried(home: AgentHome, store: PrivateStore) -> StudentPackage:
    """The package in use, once it has answered an example of zeros."""
    package = load_installed(home, store)
    manifest = package.manifest
    try:
        AnsweringStudent(package).probabilities(np.zeros((1, *manifest.given_shape), manifest.input_type))
    except Exception as error:
        raise PackageFailed(f"package {manifest.package_version}: {error}") from error
    return package


def _before(home: AgentHome, store: PrivateStore, *, owner_share: float) -> PackageSide | None:
    """The package that answered the owner before this one came; None where none is whole."""
    owners = store.owners()
    wanted = read_record(store).before_version if owners is None else owners.version
    earlier = next((one for one in reversed(store.installations()) if one.version == wanted), None)
    if earlier is None:
        return None
    with suppress(PackageError):
        return PackageSide(store, load_package(home, earlier), owner_share=owner_share)
    return None


def _answer_from(store: PrivateStore, version: int) -> None:
    """Have an earlier package answer the owner, or with 0 the one in use."""
    now = store.owners()
    if version != (0 if now is None else now.version):
        store.set_owners(version)


def _in_words(version: int, result: Rebased, old: PackageSide) -> str:
    counts = result.counts
    figures = f"{counts.owner_after} of {counts.examples} right, {counts.owner_before} before"
    if not result.source:
        before = old.package.manifest.package_version
        return f"package {before} goes on answering the owner: under package {version} fewer are right"
    words = {"distilled": "re-based on", "package": "that of", "kept": "kept under"}
    return f"the owner's student is {words[result.source]} package {version} ({figures})"


def main() -> None:
    home = AgentHome(Path(os.environ[DEVICE_FOLDER_VARIABLE]))
    parent = os.getppid()
    os.nice(_LOWEST_PRIORITY)
    limit_memory()
    eligibility = Eligibility(home.folder)
    may_learn = eligibility() is None

    def stop() -> str | None:
        if os.getppid() != parent:
            return "the agent has ended"
        return eligibility() if may_learn else None

    try:
        print(rebase_home(home, stop=stop, may_learn=may_learn), flush=True)
    except PackageFailed as error:
        print(error, flush=True)
        sys.exit(FAILED)
    except FedstillError as error:
        print(error, flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
