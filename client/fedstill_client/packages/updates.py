"""Keeps a device's package the one that its fleet wants it to use."""

from __future__ import annotations

from collections.abc import Collection

from fedstill_proto.task_bounds import TaskBounds

from fedstill_client.home import AgentHome
from fedstill_client.packages.errors import PackageError
from fedstill_client.packages.install import go_back, held_part, install, installed_manifest, is_whole
from fedstill_client.packages.installed import InstallationRecord, InstalledPackage
from fedstill_client.packages.plan import keep_plan, own_public_key
from fedstill_client.packages.source import FleetNews, PackageSource


def update(
    home: AgentHome,
    store: InstallationRecord,
    source: PackageSource,
    family: str,
    *,
    accepted: TaskBounds | None = None,
    shunned: Collection[int] = (),
) -> InstalledPackage | None:
    """Use the package that the fleet has for this device, if that is another one; None if it is not.

    That is the newest stable one, or the candidate of a release in whose stage the device is. One that the
    fleet has withdrawn gives way to the one before it, which is still on the disk, with what the device had
    learned by then; else, to the stable one. Nothing but a signed withdrawal leads to an older package.

    Where another generation of the fleet asks for more than is `accepted`, which the fleet has said before,
    the package of the one before stays until the device's owner accepts that, too.

    Only the repository's metadata is read to find that out, and parts that stay as they are, such as frozen
    weights and the public set, are not downloaded again. Raises PackageError; the package in use stays. One
    whose files have been damaged on the disk is installed again.

    Args:
        home: The agent's home.
        store: Remembers what is installed.
        source: The fleet's repository.
        family: Of the device's student.
        accepted: What the owner has accepted that rounds ask.
        shunned: Versions that have failed on this device, and are not installed again.
    """
    news, before = source.news(family, own_public_key(home)), store.installed()
    if news.plan is not None:
        keep_plan(home, news.plan)
    is_withdrawn = before is not None and _is_withdrawn(before.version, news)
    if (
        before is not None
        and before.family == family
        and not is_withdrawn
        and (news.version <= before.version or news.version in shunned)
        and is_whole(home, store)
    ):
        return None
    if _is_withdrawn(news.version, news):
        raise PackageError("withdrawn", f"package {news.version} is offered, and the fleet has withdrawn it")
    if is_withdrawn and (earlier := _earlier(store, family, news)) is not None:
        try:
            return go_back(home, store, earlier)
        except PackageError:
            pass  # its files are gone, or damaged: it is fetched
    if not is_withdrawn and accepted is not None and _is_beyond(accepted, home, store, source, family, news):
        return None
    newest = source.fetch(family, path=news.path, held=lambda part: held_part(home, store, part))
    return install(home, store, newest, may_be_older=is_withdrawn)


def _is_beyond(
    accepted: TaskBounds,
    home: AgentHome,
    store: InstallationRecord,
    source: PackageSource,
    family: str,
    news: FleetNews,
) -> bool:
    """Whether the package is of another generation than the one in use, and asks for more than accepted."""
    try:
        manifest, _ = installed_manifest(home, store)
    except PackageError:
        return False  # there is no package that could stay
    if manifest.generation == news.generation:
        return False
    said = source.statement(family, path=news.path)
    return said is not None and bool(list(accepted.excess(said)))


def _earlier(store: InstallationRecord, family: str, news: FleetNews) -> InstalledPackage | None:
    """The newest package that was in use, and is what the fleet offers now."""
    for installed in reversed(store.installations()):
        if installed.family == family and installed.version == news.version:
            return installed
    return None


def _is_withdrawn(version: int, news: FleetNews) -> bool:
    return news.plan is not None and version in news.plan.withdrawn
