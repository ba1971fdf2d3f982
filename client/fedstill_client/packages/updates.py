"""Keeps a device's package as new as its fleet's."""

from __future__ import annotations

from fedstill_client.home import AgentHome
from fedstill_client.packages.install import held_part, install, is_whole
from fedstill_client.packages.installed import InstallationRecord, InstalledPackage
from fedstill_client.packages.source import PackageSource


def update(
    home: AgentHome, store: InstallationRecord, source: PackageSource, family: str
) -> InstalledPackage | None:
    """Install the family's newest package if it is newer than the one in use; None if it is not.

    Only the repository's metadata is read to find that out, and parts that stay as they are, such as frozen
    weights and the public set, are not downloaded again. Raises PackageError; the package in use stays. One
    whose files have been damaged on the disk is installed again.
    """
    before = store.installed()
    if (
        before is not None
        and before.family == family
        and source.newest_version(family) <= before.version
        and is_whole(home, store)
    ):
        return None
    newest = source.fetch(family, held=lambda part: held_part(home, store, part))
    return install(home, store, newest)
