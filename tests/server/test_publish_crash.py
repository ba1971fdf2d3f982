"""A server that dies while it publishes: devices find the release before, or the new one, whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fedstill_proto.system import folder_digests, sealed
from fedstill_server.publish import metadata_files, target_files
from fedstill_server.publish.repository import Repository

from tests.client.package_samples import Fleet, full_package
from tests.client.samples import FAMILY

WRITERS = (folder_digests, sealed, metadata_files, target_files)


class PowerCut(BaseException):
    """The power fails."""


def cut_after(writes: int, patched: pytest.MonkeyPatch) -> None:
    """Let the power fail instead of the next write after this many."""
    write, done = sealed.replace_file, iter(range(writes))

    def failing(path: Path, content: bytes, *, mode: int = 0o600) -> None:
        if next(done, None) is None:
            raise PowerCut
        write(path, content, mode=mode)

    for module in WRITERS:
        patched.setattr(module, "replace_file", failing)


def publish(repository: Repository) -> None:
    repository.publish([full_package(2)])


def rotate(repository: Repository) -> None:
    for role in ("root", "targets", "timestamp"):
        repository.rotate(role)


@pytest.mark.parametrize("work", [publish, rotate, Repository.refresh])
def test_every_write_can_be_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[Repository], object]
) -> None:
    fleet = Fleet.at(tmp_path)
    fresh = tmp_path / "fresh"
    fleet.folder.joinpath("fleet").rename(fresh)
    finished = False
    writes = 0
    while not finished:
        shutil.rmtree(fleet.folder / "fleet", ignore_errors=True)
        shutil.rmtree(fleet.home.trust / "metadata")
        shutil.copytree(fresh, fleet.folder / "fleet")
        with monkeypatch.context() as patched:
            cut_after(writes, patched)
            try:
                work(fleet.repository)
                finished = True
            except PowerCut:
                writes += 1
        assert fleet.source.fetch(FAMILY).manifest.package_version in (1, 2)
        if fleet.repository.next_version() == 2:
            publish(fleet.repository)
        assert fleet.source.fetch(FAMILY).manifest.package_version == 2
    assert writes >= 2
