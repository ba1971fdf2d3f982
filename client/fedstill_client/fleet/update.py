"""Looks for the package that the fleet wants this device to use, once, in a process of its own.

What verifies and installs packages takes 60 MB, which the device has for other things when this ends.

    python -P -m fedstill_client.fleet.update [--repair]      the home is named by FEDSTILL_DEVICE_FOLDER

Each line that it prints is news for the device's owner. The exit status is 1 where the fleet could not be
asked, and 2 where the home cannot be used. With --repair only a package that the disk has damaged is fetched
again: nothing would answer without it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from fedstill_proto.errors import FedstillError

from fedstill_client.device_description import DeviceDescription
from fedstill_client.fleet.enrol import source_of
from fedstill_client.fleet.membership import Membership
from fedstill_client.home import DEVICE_FOLDER_VARIABLE, AgentHome
from fedstill_client.packages import PackageError, PackageSource, load_installed, update
from fedstill_client.privacy.statement import newer_statement, pin_statement, read_statement
from fedstill_client.releases.record import ReleaseRecord, change_record, read_record
from fedstill_client.store import PrivateStore

_OF_THE_PACKAGE = {"manifest", "agent-version", "graph", "operator", "vocabulary", "intents", "slots"}
"""What a package may fail at that a release's server should hear of; see PackageError."""

NOT_ASKED, UNUSABLE = 1, 2


def look(home: AgentHome) -> Iterator[str]:
    """Use another package where the fleet has one for this device, and hold what it says it will ask.

    Yields:
        Lines of news for the owner.

    Raises:
        FedstillError: The fleet cannot be asked, or what it has cannot be used.
    """
    family, source = DeviceDescription.read(home.folder).family, source_of(home, Membership.read(home))
    with PrivateStore.open(home) as store:
        accepted, shunned = read_statement(home.folder), read_record(store).shunned
        try:
            installed = update(home, store, source, family, accepted=accepted, shunned=shunned)
        except PackageError as error:
            if error.check in _OF_THE_PACKAGE:
                change_record(store, ReleaseRecord.with_failure)
            raise
    if installed is not None:
        yield f"installed student package {installed.version} of {installed.family}"
        if installed.anew:
            yield f"the owner's student cannot go over as it is, and is re-based: {installed.anew}"
    if news := pinned(home, source, family):
        yield news


def repair(home: AgentHome) -> Iterator[str]:
    """Fetch the package in use again where the disk has damaged it.

    Yields:
        A line of news for the owner.

    Raises:
        FedstillError: It cannot be had, or the home cannot be used.
    """
    family = DeviceDescription.read(home.folder).family
    with PrivateStore.open(home) as store:
        try:
            load_installed(home, store)
        except PackageError as error:
            yield f"the installed student package cannot be used, and is fetched again: {error}"
            update(home, store, source_of(home, Membership.read(home)), family)


def pinned(home: AgentHome, source: PackageSource, family: str) -> str | None:
    """Hold what the fleet says now against what it said before; gives a line for the owner, if it is more."""
    waiting = newer_statement(home.folder)
    said = source.statement(family)
    beyond = pin_statement(home.folder, said)
    if not beyond or said == waiting:
        return None
    return (
        f"the fleet asks for more than it said before, and is refused: {'; '.join(map(str, beyond))}; "
        "if you want that: fedstill-agent policy --accept"
    )


def main() -> None:
    home = AgentHome(Path(os.environ[DEVICE_FOLDER_VARIABLE]))
    repairs = sys.argv[1:] == ["--repair"]
    try:
        for line in repair(home) if repairs else look(home):
            print(line, flush=True)
    except FedstillError as error:
        print(error if repairs else f"no news of student packages: {error}", flush=True)
        sys.exit(UNUSABLE if repairs else NOT_ASKED)


if __name__ == "__main__":
    main()
